"""Lists local files by folder or glob: each file once, folder by folder, and then behind links to folders."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from unicodedata import normalize

from transforms.core.uris import existing_path
from transforms.sources.output_folder import OutputFolder

ANY_FOLDERS = "**"

Matcher = Callable[[str], object]


def list_files(
    folder: str, is_wanted: Callable[[str], bool], output: OutputFolder | None = None
) -> Iterator[str]:
    """Yields the files of a folder and its subfolders that are wanted, without hidden ones.

    Links to folders are followed after all other folders, unless they lead to a folder that is searched
    anyway: so each file is listed once, and a cycle of links ends. A broken link is listed if it is wanted,
    and becomes a failure later.

    Args:
        folder: the folder to search.
        is_wanted: whether a file is listed, by its path. It is also called with hidden files and folders,
            which are never listed.
        output: the folder that the run writes to, which is left out.

    Raises:
        OSError: a folder cannot be read.
    """
    yield from _Search([ANY_FOLDERS], folder, output, is_wanted).files()


def match_files(pattern: str, output: OutputFolder | None = None) -> Iterator[str]:
    """Yields the files that an absolute glob matches, where `**` is any number of folders.

    Leading folders that exist literally, such as `talks [2024]`, are not patterns. A pattern matches hidden
    names only if it starts with a dot. Links to folders are followed as by `list_files`. Folders that cannot
    be read match nothing.

    Args:
        pattern: the glob. Its characters match composed and decomposed ones (Unicode NFC and NFD).
        output: the folder that the run writes to, which is left out.
    """
    parts = pattern.split("/")
    n_plain = 1
    while n_plain < len(parts) and (
        os.path.lexists("/".join(parts[: n_plain + 1])) or not glob.has_magic(parts[n_plain])
    ):
        n_plain += 1
    rest = [part for part in parts[n_plain:] if part]
    if rest:
        root = existing_path("/".join(parts[:n_plain]) or "/")
        yield from _Search(rest, root, output).files()


class _Search:
    """A search for files by the components of a glob.

    They are matched as a nondeterministic automaton, which is in several states at once: the indices of the
    components that a name may match.
    """

    def __init__(
        self,
        parts: Sequence[str],
        root: str,
        output: OutputFolder | None,
        is_wanted: Callable[[str], bool] | None = None,
    ) -> None:
        """Sets up a search.

        Args:
            parts: components of the glob, at least one.
            root: the folder to search.
            output: the folder that is left out.
            is_wanted: see `list_files`; None for all files that match, and no errors.
        """
        self._matchers = [_matcher(part) for part in parts]
        self._dotted = [part.startswith(".") for part in parts]
        self._ends = frozenset({len(parts)})  # all components have matched
        # `**` at the end matches files, too.
        self._file_ends = self._ends | ({len(parts) - 1} if parts[-1] == ANY_FOLDERS else frozenset())
        self._is_wanted = is_wanted
        self._output = output
        self._root = os.path.realpath(root)
        self._is_in_output = output is not None and output.holds(self._root)
        self._links = deque([(root, frozenset({0}))])
        self._searched: dict[str, frozenset[int]] = {}  # where searches began, with their states

    def files(self) -> Iterator[str]:
        """Yields the matching files below the root, then those behind links that lead elsewhere."""
        while self._links:
            path, states = self._links.popleft()
            place = os.path.realpath(path)
            earlier = self._states_at(place)
            states = self._with_next(states) - earlier
            if states - self._ends and not self._is_left_out(place):
                self._searched[place] = self._searched.get(place, frozenset()) | states
                yield from self._below(path, place, states, earlier)

    def _below(
        self, folder: str, place: str, states: frozenset[int], earlier: frozenset[int]
    ) -> Iterator[str]:
        """Yields the matching files below a folder.

        Args:
            folder: its path.
            place: its path without links.
            states: what a name in it may match, not empty.
            earlier: the states in which other searches list the folder, none of them in `states`.
        """

        def states_after(name: str, is_folder: bool) -> frozenset[int]:
            after = self._states_after(folder, place, name, is_folder, states)
            is_listed = not is_folder and self._after(name, earlier) & self._file_ends
            return frozenset() if is_listed else after

        try:
            entries = _entries(folder, states_after)
        except OSError:
            if self._is_wanted is not None:
                raise
            return
        for name, is_folder, after in entries:
            path = os.path.join(folder, name)
            if not is_folder:
                yield path
            elif os.path.islink(path):
                self._links.append((path, after))
            else:
                inner = os.path.join(place, name)
                others = self._with_next(self._after(name, earlier)) | self._searched.get(inner, frozenset())
                after = self._with_next(after) - others
                if after - self._ends and not self._is_left_out(inner):
                    yield from self._below(path, inner, after, others)

    def _states_after(
        self, folder: str, place: str, name: str, is_folder: bool, states: frozenset[int]
    ) -> frozenset[int]:
        """Returns the states after an entry of a folder; none if it is neither searched nor listed."""
        if self._is_in_output and self._is_left_out(os.path.join(place, name)):
            return frozenset()
        after = self._after(name, states)
        if is_folder and after:
            return after
        is_wanted = self._is_wanted is None or self._is_wanted(os.path.join(folder, name))
        return after if is_wanted and after & self._file_ends else frozenset()

    def _is_left_out(self, place: str) -> bool:
        return self._output is not None and self._output.excludes(place, self._root)

    def _states_at(self, place: str) -> frozenset[int]:
        """Returns the states in which a folder is searched where it is reached without links."""
        states, start = self._searched.get("/", frozenset()), ""
        for name in filter(None, place.split("/")):
            start = f"{start}/{name}"
            states = self._with_next(self._after(name, states)) | self._searched.get(start, frozenset())
        return states

    def _with_next(self, states: frozenset[int]) -> frozenset[int]:
        """Adds the states after `**`, which may match no folder."""
        found = set(states)
        for state in sorted(states):
            while self._is_any(state):
                state += 1
                found.add(state)
        return frozenset(found)

    def _after(self, name: str, states: frozenset[int]) -> frozenset[int]:
        """Returns the states after a name."""
        is_hidden = name.startswith(".")
        found = set()
        for state in states - self._ends:
            matcher = self._matchers[state]
            if matcher is None and not is_hidden:
                found.add(state)
            elif matcher is not None and (self._dotted[state] or not is_hidden) and matcher(name):
                found.add(state + 1)
        return frozenset(found)

    def _is_any(self, state: int) -> bool:
        return state < len(self._matchers) and self._matchers[state] is None


def _matcher(part: str) -> Matcher | None:
    """Returns whether a component of a glob matches a name; None for `**`."""
    if part == ANY_FOLDERS:
        return None
    as_given, composed = (re.compile(translate(form)).match for form in (part, normalize("NFC", part)))
    return lambda name: as_given(name) or (not name.isascii() and composed(normalize("NFC", name)))


def _entries(
    folder: str, states_after: Callable[[str, bool], frozenset[int]]
) -> list[tuple[str, bool, frozenset[int]]]:
    """Returns the names in a folder, sorted, whether each is a folder, and its states, if there are any."""
    with os.scandir(folder) as entries:
        kinds = ((entry.name, _is_folder(entry)) for entry in entries)
        found = ((name, is_folder, states_after(name, is_folder)) for name, is_folder in kinds)
        return sorted(entry for entry in found if entry[2])  # of a million names, few may be kept


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # False for a cycle of links, for which the entry raises
    return entry.is_dir(follow_symlinks=False)
