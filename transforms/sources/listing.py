"""Expands the inputs of a run into work items: files, folders, globs, URLs, archives and manifests."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

import fsspec
from fsspec.spec import AbstractFileSystem

from transforms.core.errors import InputError, NoInputError
from transforms.core.uris import audio_id_of, existing_path, is_http, is_url, plain
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import grouped, to_work
from transforms.sources.file_types import is_archive, is_manifest
from transforms.sources.folder_filter import FolderFilter
from transforms.sources.local_files import list_files, match_files
from transforms.sources.manifests import manifest_shards
from transforms.sources.passed_over import format_counts
from transforms.sources.work_items import Work


def expand_all(
    patterns: Sequence[str],
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    folders: FolderFilter | None = None,
) -> Iterator[Work]:
    """Yields the work items of all patterns, each file once, at its first match; see `expand`.

    Recordings that manifests list again are detected later, when they are merged.

    Raises:
        NoInputError: a pattern matches nothing, or all of them only what is in the output folder.
        InputError: see `expand`.
    """
    seen: set[int] | None = set() if len(patterns) > 1 else None  # one pattern matches no file twice
    folders = folders or FolderFilter()
    is_empty = True
    for pattern in patterns:
        for work in expand(pattern, audio_column, text_column, policy, seen, folders):
            is_empty = False
            yield work
    if is_empty and patterns:
        raise NoInputError("no recordings but what is in the output folder: give another --input or --output")


def expand(
    pattern: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    seen: set[int] | None = None,
    folders: FolderFilter | None = None,
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
        folders: which files of folders are inputs; it counts the others.

    Raises:
        NoInputError: nothing matches.
        InputError: it cannot be listed, or is not a valid manifest.
    """
    folders = folders or FolderFilter()
    n_named = _n_named(folders)
    is_empty = True
    for group in grouped(_matches(plain(pattern), folders), len):
        new = group if seen is None else [uri for uri in group if _is_new(uri, seen)]
        is_empty = is_empty and len(new) == len(group)
        lists = [uri for uri in new if is_manifest(pattern) and is_manifest(uri)]
        for work in _work(new, lists, audio_column, text_column, policy):
            is_empty = False
            yield work
    if is_empty and _n_named(folders) == n_named:
        raise NoInputError(_nothing_matches(pattern, folders))


def _n_named(folders: FolderFilter) -> int:
    return 0 if folders.output is None else folders.output.n_named


def _nothing_matches(pattern: str, folders: FolderFilter) -> str:
    found = format_counts(folders.passed_over.counts)
    return (
        f"no recordings match {pattern!r}: check the spelling; a folder is searched for audio files and "
        "archives, and a glob needs ** to look into subfolders" + (f"; passed over: {found}" if found else "")
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


def _matches(pattern: str, folders: FolderFilter) -> Iterator[str]:
    try:
        if is_http(pattern):
            yield pattern
        elif is_url(pattern) and not os.path.lexists(pattern):
            yield from _remote(pattern, folders)
        else:
            yield from _local(os.path.abspath(os.path.expanduser(pattern)), folders)
    except OSError as error:
        raise InputError(f"cannot list {pattern!r}: {error}") from error


def _local(path: str, folders: FolderFilter) -> Iterator[str]:
    path = existing_path(path)
    output = folders.output
    if os.path.isdir(path):
        yield from list_files(path, folders.takes_file, output)
    elif os.path.lexists(path):
        place = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if output is None or not output.excludes(place, place):
            yield path
    elif glob.has_magic(path):
        yield from match_files(path, output)


def _remote(url: str, folders: FolderFilter) -> Iterator[str]:
    try:
        system, path = fsspec.core.url_to_fs(url)
        paths = _remote_paths(system, path, folders)
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


def _remote_paths(system: AbstractFileSystem, path: str, folders: FolderFilter) -> list[str]:
    """Returns the files that a path of a file system matches, sorted, without the beginning of the URL."""
    if system.isdir(path):
        found = _without_output(system, system.find(path), path, folders)
        return sorted(name for name in found if folders.takes_name(name[len(path) :].strip("/")))
    if system.exists(path):
        return _without_output(system, [path], path, folders)
    matches = system.glob(path, detail=True)
    files = [name for name, info in matches.items() if info["type"] == "file"]
    return sorted(_without_output(system, files, _plain_part(path), folders))


def _without_output(
    system: AbstractFileSystem, paths: Iterable[str], root: str, folders: FolderFilter
) -> list[str]:
    output = folders.output
    return list(paths) if output is None else output.without_output(system, paths, root)


def _plain_part(pattern: str) -> str:
    """Returns the folder that a glob searches: its components before the first with a special character."""
    parts = pattern.split("/")
    n_plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:n_plain])
