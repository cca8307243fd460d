"""Splits of a dataset that its layout declares: by the names of its folders or files.

`datasets` takes any file whose name contains `train` or `test` for a part of that split, and leaves out all
others. This holds here for files of rows and archives; but `train-station.wav` is a recording.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from transforms.core.uris import suffix
from transforms.sources.file_types import is_archive
from transforms.sources.parquet import TABLE_SUFFIXES

DEFAULT_SPLIT = "train"
"""The split of a dataset without splits, as in `datasets`."""

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Names of folders and files, and the splits that they stand for, as in `datasets` and in its order."""

_ORDER = list(SPLIT_NAMES)
_KEYWORD = re.compile(rf"(?:^|[-._ 0-9])({'|'.join(SPLIT_NAMES)})(?=[-._ 0-9]|$)")
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?(?:\.[A-Za-z]\w*)+")
_SHARD_FOLDER = "data/"  # of what `push_to_hub` writes, where the shards have the names of any splits

Splits = dict[str | None, list[str]]
"""The files of each split, and of None those that are in none."""

logger = logging.getLogger(__name__)


class _Match(NamedTuple):
    """A split in the name of a folder or file; they sort in the order in which `datasets` lists files."""

    keyword: int
    is_inside: bool  # not at the start of the name
    is_followed: bool  # not at its end
    split: str


def by_split(root: str, files: Iterable[str]) -> Splits:
    """Returns the files of each split; logs which files of `train` are named by another one.

    Args:
        root: folder or URL of the dataset.
        files: paths or URLs below it.

    Examples:
        >>> by_split("/d", ["/d/train/a.wav", "/d/test/b.wav", "/d/c.wav"])
        {'train': ['/d/train/a.wav'], 'test': ['/d/test/b.wav'], None: ['/d/c.wav']}
        >>> by_split("/d", ["/d/train-clean-100.parquet", "/d/test-clean.parquet"]).keys()
        dict_keys(['train', 'test'])
        >>> by_split("/d", ["/d/train-station.wav", "/d/wind-test.wav"])
        {'train': ['/d/train-station.wav', '/d/wind-test.wav']}
    """
    paths = {file: file.removeprefix(root).lstrip("/") for file in files}
    if not paths:
        return {}
    if not all(map(_is_of_rows, paths)):
        folders = {file: _of_folder(path, exactly=True) for file, path in paths.items()}
        is_layout = _is_layout(folders.values(), by_folder=True)
        return _grouped(folders) if is_layout else {DEFAULT_SPLIT: list(paths)}
    if shards := _of_shards(paths):
        return shards
    folders = {file: _of_folder(path) for file, path in paths.items()}
    names = _of_names(paths)
    if _is_layout(folders.values(), by_folder=True):
        return _grouped(folders)
    if _is_layout(names.values(), by_folder=False):
        return _grouped(names)
    splits = {file: match.split for file in paths if (match := folders[file] or names[file])}
    _log_others(root, [paths[file] for file, split in splits.items() if split != DEFAULT_SPLIT])
    # Files named `train` keep the indices that they have in `datasets`, which leaves out the others.
    return {DEFAULT_SPLIT: sorted(paths, key=lambda file: splits.get(file) != DEFAULT_SPLIT)}


def _is_of_rows(path: str) -> bool:
    return suffix(path) in TABLE_SUFFIXES or is_archive(path)


def _is_layout(matches: Collection[_Match | None], *, by_folder: bool) -> bool:
    """Whether files are laid out in splits: none is outside, or there are several splits or a folder `train`.

    Beside a lone split that is not `train`, other files show that its name is none: of a lone folder `test`,
    or of a file `wind-test.parquet`.
    """
    found = [match for match in matches if match is not None]
    if len({match.split for match in found}) > 1:
        return True
    if by_folder and any(_is_exact(match) and match.split == DEFAULT_SPLIT for match in found):
        return True
    return bool(found) and len(found) == len(matches) and not any(match.is_inside for match in found)


def _grouped(matches: Mapping[str, _Match | None]) -> Splits:
    found: dict[str | None, list[tuple[_Match | None, str]]] = {}
    for file, match in matches.items():
        found.setdefault(match.split if match else None, []).append((match, file))
    return {
        split: [file for _, file in sorted(pairs, key=lambda pair: pair[0] or ())]
        for split, pairs in found.items()
    }


def _of_shards(paths: Mapping[str, str]) -> Splits:
    """Returns the files of each split where there are shards in the folder `data`; else nothing."""
    found: Splits = {}
    for file, path in paths.items():
        is_in_folder = posixpath.dirname(path) + "/" == _SHARD_FOLDER
        shard = _SHARD.fullmatch(posixpath.basename(path)) if is_in_folder else None
        found.setdefault(shard[1] if shard else None, []).append(file)
    return found if found.keys() - {None} else {}


def _of_folder(path: str, *, exactly: bool = False) -> _Match | None:
    """Returns the split of a file by a folder that is named by one: the first with exactly that name, if any.

    Args:
        path: path of the file below the dataset.
        exactly: whether the folder may have no other name.
    """
    matches = [match for folder in posixpath.dirname(path).split("/") if (match := _match(folder))]
    if exactly:
        matches = [match for match in matches if _is_exact(match)]
    return min(matches, key=lambda match: (match.is_inside, match.is_followed), default=None)


def _of_names(paths: Mapping[str, str]) -> dict[str, _Match | None]:
    """Returns the splits of files by their names.

    Beside a file that is named by a usual split, shards may be of any: `random-00000-of-00001.parquet`.
    Alone, `part-00000-of-00001.parquet` is only a shard.
    """
    found = {file: _match(posixpath.basename(path)) for file, path in paths.items()}
    if any(found.values()):
        for file, path in paths.items():
            shard = _SHARD.fullmatch(posixpath.basename(path))
            if found[file] is None and shard:
                found[file] = _Match(len(_ORDER), False, True, shard[1])
    return found


def _match(name: str) -> _Match | None:
    """Returns the first split in the name of a folder or file."""
    found = _KEYWORD.search(name.lower())
    if found is None:
        return None
    keyword = found[1]
    return _Match(_ORDER.index(keyword), found.start(1) > 0, found.end() < len(name), SPLIT_NAMES[keyword])


def _is_exact(match: _Match) -> bool:
    return not match.is_inside and not match.is_followed


def _log_others(root: str, others: Collection[str]) -> None:
    if others:
        names = ", ".join(list(others)[:3]) + ", ..." * (len(others) > 3)
        logger.warning(
            "%s: no splits, as other files are named by none: the split %r has all files, also %s",
            root, DEFAULT_SPLIT, names,
        )  # fmt: skip
