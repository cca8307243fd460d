"""From what the user names to recordings: files, folders, globs, URLs and manifests."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

import fsspec
from fsspec.spec import AbstractFileSystem

from transforms.errors import InputError, NoInputError
from transforms.manifests import is_manifest, read_manifest
from transforms.types import AudioSource
from transforms.uris import audio_source, is_http, is_url, plain, suffix

AUDIO_SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".flac",
    ".flv", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg",
    ".ogv", ".opus", ".rf64", ".snd", ".sph", ".ts", ".voc", ".w64", ".wav", ".webm", ".wma", ".wmv", ".wv",
})  # fmt: skip
"""What is taken from a folder; what is named, or matches a glob, is taken whatever its extension."""


def expand_all(
    patterns: Sequence[str], audio_column: str | None = None, text_column: str | None = None
) -> Iterator[AudioSource]:
    """Lists the recordings of all patterns, each once, where it is named first; see `expand`."""
    seen = set()
    for pattern in patterns:
        for source in expand(pattern, audio_column, text_column):
            if source.audio_id not in seen:
                seen.add(source.audio_id)
                yield source


def expand(
    pattern: str, audio_column: str | None = None, text_column: str | None = None
) -> Iterator[AudioSource]:
    """Lists the recordings that a pattern names, in the same order every time.

    Args:
        pattern: a file; a folder, taken with its subfolders but without hidden files; a glob, where `**` is
            any number of folders; a URL, with folders and globs where its file system can list them, which
            `http(s)` cannot; or any of these for manifests, known by their extension (`.jsonl`, `.csv`,
            `.tsv`, `.txt`). A name that exists is no glob, whatever its characters.
        audio_column: the manifest's column with the path or URL, when it has no usual name.
        text_column: the manifest's column with the reference, when it has no usual name.

    Raises:
        NoInputError: nothing matches.
        InputError: it cannot be listed, or a manifest has a bad line.
    """
    is_empty = True
    for uri in _matches(plain(pattern)):
        is_list = is_manifest(pattern) and is_manifest(uri)
        sources = read_manifest(uri, audio_column, text_column) if is_list else [audio_source(uri)]
        for source in sources:
            is_empty = False
            yield source
    if is_empty:
        raise NoInputError(
            f"no recordings match {pattern!r}: check the spelling; a folder is searched for files with an "
            "audio extension, and a glob needs ** to look into subfolders"
        )


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


def _local(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        yield from _folder(path)
    elif os.path.lexists(path):
        yield path
    else:
        matches = glob.iglob(_escape_existing(path), recursive=True)
        yield from sorted(match for match in matches if not os.path.isdir(match))


def _folder(path: str) -> Iterator[str]:
    """Audio files of a folder and its subfolders; symbolic links to folders are not followed."""
    with os.scandir(path) as entries:
        shown = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    for entry in shown:
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(entry.path)
        elif suffix(entry.name) in AUDIO_SUFFIXES and not os.path.isdir(entry.path):
            yield entry.path  # also a link that leads nowhere: a failure of its own, not of the folder


def _escape_existing(pattern: str) -> str:
    """Escapes the leading folders of a glob that exist as they are written, such as `talks [2024]`."""
    parts = pattern.split("/")
    n_existing = 1
    while n_existing < len(parts) and os.path.lexists("/".join(parts[: n_existing + 1])):
        n_existing += 1
    return "/".join([*map(glob.escape, parts[:n_existing]), *parts[n_existing:]])


def _remote(url: str) -> Iterator[str]:
    try:
        system, path = fsspec.core.url_to_fs(url)
        paths = _remote_paths(system, path)
    except OSError:
        raise
    except Exception as error:  # each file system raises errors of its own: no credentials, no such bucket
        raise InputError(f"cannot list {url!r}: {type(error).__name__}: {error}") from error
    if not url.endswith(path):
        url = url.rstrip("/")
    if not url.endswith(path):  # an archive's inside, for example: its files' URLs cannot be told from here
        raise InputError(f"cannot list {url!r}: name its files one by one, or in a manifest")
    root = url.removesuffix(path)  # with the host, and the credentials that are needed to fetch
    for match in paths:
        yield root + match


def _remote_paths(system: AbstractFileSystem, path: str) -> list[str]:
    """Paths of the files that a path of a file system names, without the URL's beginning, sorted."""
    if system.isdir(path):
        return sorted(name for name in system.find(path) if _is_shown(name, path))
    if system.exists(path):
        return [path]
    found = system.glob(path, detail=True)
    return sorted(name for name, info in found.items() if info["type"] == "file")


def _is_shown(name: str, folder: str) -> bool:
    inside = name[len(folder) :].strip("/")
    return suffix(name) in AUDIO_SUFFIXES and not any(part.startswith(".") for part in inside.split("/"))
