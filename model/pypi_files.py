"""Data files in installed PyPI packages: located without an import, verified by SHA-256."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from model.file_digests import sha256_of


class PackagedFileError(ValueError):
    """A file of a package is missing or damaged; the message names it and the package to install."""


@dataclass(frozen=True)
class PackagedFile:
    """A file in an installed package, with its expected SHA-256."""

    package: str
    path: str
    sha256: str

    def locate(self) -> Path | None:
        """Returns the path of the file; None if the package is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.path

    def verified(self) -> Path:
        """Returns the path of the file after verifying its SHA-256.

        Raises:
            PackagedFileError: the file is missing, or has another SHA-256.
        """
        path = self.locate()
        if path is None or not path.is_file():
            raise PackagedFileError(f"the package {self.package} is not installed, or lacks its {self.path}")
        found = sha256_of(path)
        if found != self.sha256:
            raise PackagedFileError(
                f"{path} has SHA-256 {found}, expected {self.sha256}: "
                f"install the package {self.package} again"
            )
        return path
