"""Expands the inputs of a run into work items: files, folders, globs, URLs, archives and manifests."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

import fsspec
from fsspec.spec import AbstractFileSystem

from transforms.core.errors import InputError, NoInputError
from transforms.core.uris import audio_id_of, is_http, is_url, plain
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import grouped, to_work
from transforms.sources.file_types import is_archive, is_audio, is_hidden, is_manifest
from transforms.sources.local_files import list_files, match_files
from transforms.sources.manifests import manifest_shards
from transforms.sources.work_items import Work


def expand_all(
    patterns: Sequence[str],
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
) -> Iterator[Work]:
    """Yields the work items of all patterns, each file once, at its first match; see `expand`.

    Recordings that manifests list again are detected later, when they are merged.
    """
    seen: set[int] | None = set() if len(patterns) > 1 else None  # one pattern matches no file twice
    for pattern in patterns:
        yield from expand(pattern, audio_column, text_column, policy, seen)


def expand(
    pattern: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    seen: set[int] | None = None,
) -> Iterator[Work]:
    """Yields the work items of a pattern, always in the same order.

    Args:
        pattern: a file; a folder, searched with its subfolders but without hidden files; a glob, where `**`
            is any number of folders; or a URL, where folders and globs need a file system that can list them,
            which `http(s)` cannot. Any of these may match archives, by their extension. A file, URL or glob
            that itself has the extension of a manifest matches manifests. An existing path is not a glob,
            whatever its characters.
        audio_column: the manifest's column with the path or URL, if it has no usual name.
        text_column: the manifest's column with the reference, if it has no usual name.
        policy: which URIs may be fetched.
        seen: hashes of the files that were listed before, which are skipped; new ones are added.

    Raises:
        NoInputError: nothing matches.
        InputError: it cannot be listed, or is not a valid manifest.
    """
    is_empty = True
    for group in grouped(_matches(plain(pattern)), len):
        new = group if seen is None else [uri for uri in group if _is_new(uri, seen)]
        is_empty = is_empty and len(new) == len(group)
        lists = [uri for uri in new if is_manifest(pattern) and is_manifest(uri)]
        for work in _work(new, lists, audio_column, text_column, policy):
            is_empty = False
            yield work
    if is_empty:
        raise NoInputError(
            f"no recordings match {pattern!r}: check the spelling; a folder is searched for files with an "
            "audio or archive extension, and a glob needs ** to look into subfolders"
        )


def _work(
    uris: Sequence[str],
    lists: Sequence[str],
    audio_column: str | None,
    text_column: str | None,
    policy: FetchPolicy,
) -> Iterator[Work]:
    files = [uri for uri in uris if uri not in lists and not is_archive(uri)]
    if files:
        yield to_work(files)
    for uri in uris:
        if uri in lists:
            yield from manifest_shards(uri, audio_column, text_column, policy)
        elif is_archive(uri):
            yield ArchiveShard(uri, text_column)


def _is_new(uri: str, seen: set[int]) -> bool:
    """Whether a file is new; adds 64 bits of its id and not its name: a million files take 80 MB."""
    key = int(audio_id_of(uri), 16)
    is_new = key not in seen
    seen.add(key)
    return is_new


def _matches(pattern: str) -> Iterator[str]:
    try:
        if is_http(pattern):
            yield pattern
        elif is_url(pattern) and not os.path.lexists(pattern):
            yield from _remote(pattern)
        else:
            yield from _local(os.path.abspath(os.path.expanduser(pattern)))
    except OSError as error:
        raise InputError(f"cannot list {pattern!r}: {error}") from error


def _local(path: str) -> Iterable[str]:
    if os.path.isdir(path):
        return list_files(path, _is_input)
    if os.path.lexists(path):
        return [path]
    return match_files(path) if glob.has_magic(path) else []


def _is_input(name: str) -> bool:
    return is_audio(name) or is_archive(name)


def _remote(url: str) -> Iterator[str]:
    try:
        system, path = fsspec.core.url_to_fs(url)
        paths = _remote_paths(system, path)
    except OSError:
        raise
    except Exception as error:  # each file system has its own errors: no credentials, no such bucket
        raise InputError(f"cannot list {url!r}: {type(error).__name__}: {error}") from error
    if not url.endswith(path):
        url = url.rstrip("/")
    if not url.endswith(path):  # the inside of an archive, for example: the URLs of its files are unknown
        raise InputError(f"cannot list {url!r}: name its files one by one, or in a manifest")
    root = url.removesuffix(path)  # with the host, and the credentials that are needed to fetch
    for match in paths:
        yield root + match


def _remote_paths(system: AbstractFileSystem, path: str) -> list[str]:
    """Returns the files that a path of a file system matches, sorted, without the beginning of the URL."""
    if system.isdir(path):
        return sorted(name for name in system.find(path) if _is_shown(name, path))
    if system.exists(path):
        return [path]
    found = system.glob(path, detail=True)
    return sorted(name for name, info in found.items() if info["type"] == "file")


def _is_shown(name: str, folder: str) -> bool:
    return (is_audio(name) or is_archive(name)) and not is_hidden(name[len(folder) :].strip("/"))
