"""Packages that libraries import where they are installed, although this program has no use for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _LeftOut(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self._packages:
            raise ModuleNotFoundError(f"{name} is left out", name=name)
        return None


@contextmanager
def leaving_out(*packages: str) -> Iterator[None]:
    """Makes imports of packages fail within a block, in all threads, as if they were not installed.

    Packages that are imported already stay as they are.

    Args:
        packages: names of packages without which the libraries imported in the block work.
    """
    finder = _LeftOut(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
