"""Local files by folder and by glob: each file once, folder by folder, and no link leads in circles."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from fnmatch import translate

ANY_FOLDERS = "**"


def files_of(folder: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """The files of a folder and its subfolders whose names are wanted, but no hidden ones.

    Symbolic links to folders are not followed. One that leads nowhere is listed, as a failure of its own.

    Raises:
        OSError: a folder cannot be read.
    """
    for name, is_folder in _entries(folder, lambda name, is_folder: is_folder or is_wanted(name)):
        if name.startswith("."):
            continue
        path = os.path.join(folder, name)
        if not is_folder:
            yield path
        elif not os.path.islink(path):
            yield from files_of(path, is_wanted)


def files_matching(pattern: str) -> Iterator[str]:
    """The files that an absolute glob matches, where `**` is any number of folders.

    Leading folders that exist as they are written, such as `talks [2024]`, are no patterns. Wildcards match
    no hidden names, unless they begin with a dot, and `**` follows no symbolic link to a folder. What cannot
    be read matches nothing.
    """
    parts = pattern.split("/")
    n_plain = 1
    while n_plain < len(parts) and (
        os.path.lexists("/".join(parts[: n_plain + 1])) or not glob.has_magic(parts[n_plain])
    ):
        n_plain += 1
    rest = [part for part in parts[n_plain:] if part]
    if rest:
        steps: list[Callable[[str], object] | None] = [
            None if part == ANY_FOLDERS else re.compile(translate(part)).match for part in rest
        ]
        dotted = [part.startswith(".") for part in rest]
        yield from _Glob(steps, dotted).files("/".join(parts[:n_plain]) or "/", frozenset({0}))


class _Glob:
    """A glob's parts, of which several may be the next one: all are followed at the same time."""

    def __init__(self, steps: list[Callable[[str], object] | None], dotted: list[bool]) -> None:
        self._steps, self._dotted = steps, dotted

    def files(self, folder: str, places: frozenset[int]) -> Iterator[str]:
        """The files below a folder.

        Args:
            folder: to be searched.
            places: the parts that a name in it may match.
        """
        places = self._with_next(places)
        try:
            entries = _entries(folder, lambda name, _: bool(self._after(name, places)))
        except OSError:
            return
        for name, is_folder in entries:
            path = os.path.join(folder, name)
            after = self._after(name, places)
            if not is_folder:
                if after & {len(self._steps), *self._last()}:
                    yield path
                continue
            if os.path.islink(path):  # a part that names it may follow a link, `**` may not
                after = frozenset(place for place in after if self._leads_to(place, name, places))
            if after - {len(self._steps)}:
                yield from self.files(path, after)

    def _with_next(self, places: frozenset[int]) -> frozenset[int]:
        """`**` may also be no folder at all."""
        found = set(places)
        for place in sorted(places):
            while place < len(self._steps) and self._steps[place] is None:
                place += 1
                found.add(place)
        return frozenset(found)

    def _after(self, name: str, places: frozenset[int]) -> frozenset[int]:
        """The parts that may come after a name."""
        stay = {place for place in places if self._is_any(place) and not name.startswith(".")}
        return frozenset(stay | {place + 1 for place in places if self._matches(place, name)})

    def _leads_to(self, place: int, name: str, places: frozenset[int]) -> bool:
        return place - 1 in places and self._matches(place - 1, name)

    def _matches(self, place: int, name: str) -> bool:
        step = self._steps[place] if place < len(self._steps) else None
        return step is not None and (self._dotted[place] or name[0] != ".") and bool(step(name))

    def _is_any(self, place: int) -> bool:
        return place < len(self._steps) and self._steps[place] is None

    def _last(self) -> set[int]:
        """A `**` at the end stands for files, too."""
        return {len(self._steps) - 1} if self._steps[-1] is None else set()


def _entries(folder: str, is_wanted: Callable[[str, bool], bool]) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, and whether each is a folder; names alone, for there may be a million."""
    with os.scandir(folder) as entries:
        kinds = ((entry.name, _is_folder(entry)) for entry in entries)
        return sorted((name, is_folder) for name, is_folder in kinds if is_wanted(name, is_folder))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # unlike the entry, it takes a loop of links for no folder
    return entry.is_dir(follow_symlinks=False)
