"""The work item of a single URI, which a worker can make as it lists nothing."""

from __future__ import annotations

import glob
import os

from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source, existing_path, is_http, is_url, plain
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_types import is_archive, is_manifest


def work_of_uri(uri: str) -> AudioSource | ArchiveShard:
    """Returns the work item of a URI: a recording, or an archive of recordings by its extension.

    The ids are those of `transforms.sources.listing.expand`: a local path is made absolute.

    Args:
        uri: a local path or a URL.

    Raises:
        AudioError: with stage `list` and kind `not_one_recording`: the URI names a folder, a glob or a
            manifest, which only `expand` reads.
    """
    uri = plain(uri)
    found = _description(uri)
    if found is not None:
        raise AudioError(
            "list",
            "not_one_recording",
            f"{found}, where a recording or an archive was expected; expand it where the pipeline is built: "
            "beam.Create(list(expand(...))), with `expand` of transforms.sources.listing",
        )
    name = absolute(uri)
    return ArchiveShard(name) if is_archive(name) else audio_source(name)


def absolute(uri: str) -> str:
    """Returns the absolute path of a local file, as its name is stored; a URL unchanged."""
    return uri if is_url(uri) else existing_path(os.path.abspath(os.path.expanduser(uri)))


def _description(uri: str) -> str | None:
    """Returns what the URI names; None for a recording or an archive."""
    if not uri:
        return "an empty text"
    if is_url(uri):
        is_folder, is_glob = uri.endswith("/") and not is_http(uri), "*" in uri and not is_http(uri)
    else:
        path = absolute(uri)
        is_folder, is_glob = os.path.isdir(path), glob.has_magic(path) and not os.path.lexists(path)
    if is_folder:
        return "a folder"
    if is_glob:
        return "a glob"
    return "a manifest" if is_manifest(uri) else None
