"""The folder that a run writes to, which is no input of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable

import fsspec
from fsspec.spec import AbstractFileSystem

from transforms.core.redaction import redact
from transforms.core.uris import is_url, plain

_LOGGER = logging.getLogger(__name__)


class OutputFolder:
    """Excludes what a run writes from what it reads.

    A search that starts outside leaves out the whole folder. One that starts in it, where recordings and
    transcripts lie in one folder, leaves out the files that runs write.

    Args:
        url: a local path or a URL; it need not exist.
        is_run_file: whether a path relative to the folder is one of a file that runs write.

    Attributes:
        n_named: number of files and folders that were left out of searches that start in the folder, as where
            a shell has expanded a glob.
    """

    def __init__(self, url: str, is_run_file: Callable[[str], bool]) -> None:
        self.n_named = 0
        self._is_logged = False
        self._url, self._is_run_file = url, is_run_file
        local = plain(url)
        self._path = None if is_url(local) else os.path.realpath(os.path.expanduser(local))

    def excludes(self, path: str, root: str) -> bool:
        """Whether a local file or folder is no input. The first one is logged.

        Args:
            path: its path, without links to folders.
            root: the folder or file that the search starts at, without links.
        """
        return self._path is not None and self._excludes(self._path, path, root)

    def without_output(self, system: AbstractFileSystem, paths: Iterable[str], root: str) -> list[str]:
        """Returns the files of a remote file system that are inputs; for `root` see `excludes`."""
        place = self._path_on(system)
        return [path for path in paths if place is None or not self._excludes(place, path, root)]

    def holds(self, path: str) -> bool:
        """Whether a local path, without links, is the folder or lies in it."""
        return self._path is not None and _is_within(path, self._path)

    def _excludes(self, place: str, path: str, root: str) -> bool:
        if not _is_within(path, place):
            return False
        is_named = _is_within(root.rstrip("/"), place)
        if is_named and not self._is_run_file(path[len(place) :].strip("/")):
            return False
        self.n_named += is_named
        if not self._is_logged:
            left_out = "the files that runs write there are" if is_named else "it is"
            _LOGGER.warning("%s is the output folder: %s not read as input", redact(self._url), left_out)
            self._is_logged = True
        return True

    def _path_on(self, system: AbstractFileSystem) -> str | None:
        """Returns the folder's path on a file system; None if it is on another one."""
        if self._path is not None:
            return None
        try:
            own, path = fsspec.core.url_to_fs(self._url)
        except Exception:  # of any file system; whatever it is, the run cannot write there, which it reports
            return None
        return str(path).rstrip("/") if own == system else None


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
