"""Files that packages on PyPI carry: found without importing the package, checked before they are read."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path


class PackagedFileError(ValueError):
    """A file that a package should carry is missing or damaged: which one, and what to install."""


@dataclass(frozen=True)
class PackagedFile:
    """A file that an installed package carries, with the SHA-256 it must have."""

    package: str
    path: str
    sha256: str

    def locate(self) -> Path | None:
        """Where it is; None when the package is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.path

    def verified(self) -> Path:
        """Where it is, once its bytes were checked.

        Raises:
            PackagedFileError: it is not there, or it has other bytes.
        """
        path = self.locate()
        if path is None or not path.is_file():
            raise PackagedFileError(f"the package {self.package} is not installed, or lacks its {self.path}")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self.sha256:
            raise PackagedFileError(
                f"{path} has SHA-256 {found}, where {self.sha256} is known to be good: "
                f"install the package {self.package} again"
            )
        return path
