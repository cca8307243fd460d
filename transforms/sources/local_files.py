"""Lists local files by folder or glob: each file once, folder by folder, without following cyclic links."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from fnmatch import translate

ANY_FOLDERS = "**"


def list_files(folder: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """Yields the files of a folder and its subfolders whose names are wanted, without hidden ones.

    Symbolic links to folders are not followed. A broken link is listed, and becomes a failure later.

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
            yield from list_files(path, is_wanted)


def match_files(pattern: str) -> Iterator[str]:
    """Yields the files that an absolute glob matches, where `**` is any number of folders.

    Leading folders that exist literally, such as `talks [2024]`, are not patterns. A pattern matches hidden
    names only if it starts with a dot, and `**` does not follow symbolic links to folders. Folders that
    cannot be read match nothing.
    """
    parts = pattern.split("/")
    n_plain = 1
    while n_plain < len(parts) and (
        os.path.lexists("/".join(parts[: n_plain + 1])) or not glob.has_magic(parts[n_plain])
    ):
        n_plain += 1
    rest = [part for part in parts[n_plain:] if part]
    if rest:
        matchers: list[Callable[[str], object] | None] = [
            None if part == ANY_FOLDERS else re.compile(translate(part)).match for part in rest
        ]
        dotted = [part.startswith(".") for part in rest]
        yield from _Glob(matchers, dotted).files("/".join(parts[:n_plain]) or "/", frozenset({0}))


class _Glob:
    """Components of a glob, matched as a nondeterministic automaton, which is in several states at once."""

    def __init__(self, matchers: list[Callable[[str], object] | None], dotted: list[bool]) -> None:
        self._matchers, self._dotted = matchers, dotted

    def files(self, folder: str, states: frozenset[int]) -> Iterator[str]:
        """Yields the matching files below a folder.

        Args:
            folder: the folder to search.
            states: indices of the components that a name in it may match.
        """
        states = self._with_next(states)
        try:
            entries = _entries(folder, lambda name, _: bool(self._after(name, states)))
        except OSError:
            return
        for name, is_folder in entries:
            path = os.path.join(folder, name)
            after = self._after(name, states)
            if not is_folder:
                if after & {len(self._matchers), *self._last()}:
                    yield path
                continue
            if os.path.islink(path):  # a component that matches its name may follow a link, `**` may not
                after = frozenset(state for state in after if self._leads_to(state, name, states))
            if after - {len(self._matchers)}:
                yield from self.files(path, after)

    def _with_next(self, states: frozenset[int]) -> frozenset[int]:
        """Adds the states after `**`, which may match no folder."""
        found = set(states)
        for state in sorted(states):
            while state < len(self._matchers) and self._matchers[state] is None:
                state += 1
                found.add(state)
        return frozenset(found)

    def _after(self, name: str, states: frozenset[int]) -> frozenset[int]:
        """Returns the states after a name."""
        stay = {state for state in states if self._is_any(state) and not name.startswith(".")}
        return frozenset(stay | {state + 1 for state in states if self._matches(state, name)})

    def _leads_to(self, state: int, name: str, states: frozenset[int]) -> bool:
        return state - 1 in states and self._matches(state - 1, name)

    def _matches(self, state: int, name: str) -> bool:
        matcher = self._matchers[state] if state < len(self._matchers) else None
        return matcher is not None and (self._dotted[state] or name[0] != ".") and bool(matcher(name))

    def _is_any(self, state: int) -> bool:
        return state < len(self._matchers) and self._matchers[state] is None

    def _last(self) -> set[int]:
        """Returns the index of a `**` at the end, which matches files too."""
        return {len(self._matchers) - 1} if self._matchers[-1] is None else set()


def _entries(folder: str, is_wanted: Callable[[str, bool], bool]) -> list[tuple[str, bool]]:
    """Returns the names in a folder, sorted, and whether each is a folder; there may be a million."""
    with os.scandir(folder) as entries:
        kinds = ((entry.name, _is_folder(entry)) for entry in entries)
        return sorted((name, is_folder) for name, is_folder in kinds if is_wanted(name, is_folder))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # False for a cycle of links, for which the entry raises
    return entry.is_dir(follow_symlinks=False)
