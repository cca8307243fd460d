"""Splits of a dataset that its layout declares: folders of splits, or files that are all named by splits.

`datasets` takes any file whose name contains `train` or `test` for a part of that split, and leaves out all
others; here, `train-station.wav` is a recording.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from transforms.sources.file_types import is_audio

DEFAULT_SPLIT = "train"
"""The split of a dataset without splits, as in `datasets`."""

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Names of folders and files, and the splits that they stand for, as in `datasets`."""

_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?")
_NUMBERED = re.compile(r"([a-z]+?)(?:[-._ ]?\d+)?(?:-of-\d+)?")

Splits = dict[str | None, list[str]]
"""The files of each split, and of None those that are in none."""


def by_split(root: str, files: Iterable[str]) -> Splits:
    """Returns the files of each split.

    Args:
        root: folder or URL of the dataset.
        files: paths or URLs below it.

    Examples:
        >>> by_split("/d", ["/d/train/a.wav", "/d/test/b.wav", "/d/c.wav"])
        {'train': ['/d/train/a.wav'], 'test': ['/d/test/b.wav'], None: ['/d/c.wav']}
        >>> by_split("/d", ["/d/train-00000-of-00001.parquet", "/d/test-00000-of-00001.parquet"]).keys()
        dict_keys(['train', 'test'])
        >>> by_split("/d", ["/d/train-station.wav", "/d/wind-test.wav"])
        {'train': ['/d/train-station.wav', '/d/wind-test.wav']}
    """
    files = list(files)
    for split_of in (_of_folder, _of_name):
        found: Splits = {}
        for file in files:
            found.setdefault(split_of(file.removeprefix(root).lstrip("/")), []).append(file)
        if _is_layout(found, by_name=split_of is _of_name):
            return found
    return {DEFAULT_SPLIT: files} if files else {}


def _is_layout(found: Splits, *, by_name: bool) -> bool:
    """Whether files are laid out in splits: none is outside, or it is one of several folders that are splits.

    One file of another name shows that the names of files are no splits, and a recording beside a lone folder
    `test` that this is none. Beside `train`, there may be files that belong to no split.
    """
    splits = found.keys() - {None}
    is_partial = not by_name and (len(splits) > 1 or DEFAULT_SPLIT in splits)
    return bool(splits) and (None not in found or is_partial)


def _of_folder(path: str) -> str | None:
    """Returns the split of a file in a folder with exactly the name of one."""
    folders = posixpath.dirname(path).lower().split("/")
    return next((SPLIT_NAMES[folder] for folder in folders if folder in SPLIT_NAMES), None)


def _of_name(path: str) -> str | None:
    """Returns the split of a file of rows or an archive that is named by nothing but its split and number."""
    name = posixpath.basename(path)
    if is_audio(name):
        return None
    stem = re.sub(r"(\.[A-Za-z]\w*)+$", "", name)
    if shard := _SHARD.fullmatch(stem):
        return shard[1]
    numbered = _NUMBERED.fullmatch(stem.lower())
    return SPLIT_NAMES.get(numbered[1]) if numbered else None
