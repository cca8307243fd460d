"""Finds the files that a list names, where they are not those beside the list of the very name.

A line that is not UTF-8 may name a file by bytes, or by characters of Windows-1252. The lists of Common Voice
name the files in the folder `clips` beside them. `transforms.core.uris.existing_path` has further spellings.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator
from contextlib import suppress

from transforms.core.uris import is_url, join
from transforms.sources.manifest_records import LEGACY_ENCODING

CLIPS = "clips"
_COMMON_VOICE = frozenset({"client_id", "path"})


def find_listed(name: str, base: str, columns: Collection[str], *, is_legacy: bool = False) -> str:
    """Returns the name under which a listed file exists, to be joined with the list's.

    Nothing is looked up for a list that is not a local file: its backslashes are slashes, as URLs have none,
    and the columns of Common Voice tell the folder.

    Args:
        name: the name in the list, or a URL.
        base: the path or URL of the list.
        columns: the names of the list's columns.
        is_legacy: whether the name was decoded as Windows-1252, while the file's may be the very bytes.
    """
    if is_url(name):
        return name
    usual = CLIPS if _COMMON_VOICE.issubset(columns) else ""
    if is_url(base):
        return posixpath.join(usual, name.replace("\\", "/"))
    spellings = list(_spellings(name, is_legacy=is_legacy))
    names = (posixpath.join(folder, spelling) for folder in ("", CLIPS) for spelling in spellings)
    existing = (one for one in names if os.path.lexists(join(base, one)))
    return next(existing, posixpath.join(usual, spellings[0]))


def _spellings(name: str, *, is_legacy: bool) -> Iterator[str]:
    if is_legacy:
        with suppress(UnicodeEncodeError):  # an escape in JSON may be any character
            yield name.encode(LEGACY_ENCODING).decode("utf-8", "surrogateescape")
    yield name
