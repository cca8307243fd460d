"""A file of weights, memory-mapped: every read is checked against its size before memory is taken."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray


class FormatError(ValueError):
    """The bytes are not a Whisper model in the format that was expected."""


class MappedFile:
    """The bytes of a file, with a position to read from.

    Attributes:
        size: bytes in the file.
        position: where the next read begins.

    Raises:
        FormatError: the file is empty.
    """

    def __init__(self, path: Path) -> None:
        if not path.stat().st_size:
            raise FormatError(f"{path.name} is empty")
        self._bytes = np.memmap(path, np.uint8, mode="r")
        self.size = len(self._bytes)
        self.position = 0

    def read(self, n_bytes: int) -> bytes:
        """Reads bytes from the position on, and moves it behind them.

        Raises:
            FormatError: the file ends before.
        """
        return self.slice(n_bytes).tobytes()

    def slice(self, n_bytes: int) -> NDArray[np.uint8]:
        """Like `read`, as uint8[n_bytes] that is not copied."""
        stop = self.position + n_bytes
        if n_bytes < 0 or stop > self.size:
            raise FormatError(
                f"the file ends at byte {self.size}, in the middle of {n_bytes} bytes "
                f"that start at {self.position}: it is cut short or damaged"
            )
        found = self._bytes[self.position : stop]
        self.position = stop
        return np.asarray(found)

    def unpack(self, form: str) -> tuple[int, ...]:
        """Reads numbers, in a format of `struct`, little endian."""
        return struct.unpack(f"<{form}", self.read(struct.calcsize(f"<{form}")))

    def array(self, offset: int, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[np.generic]:
        """Returns an array that begins at a byte of the file; it is not copied.

        Raises:
            FormatError: it does not lie within the file.
        """
        dtype = np.dtype(dtype)
        if offset < 0:
            raise FormatError(f"an array of it begins at byte {offset}")
        self.position = offset
        content = self.slice(math.prod(shape) * dtype.itemsize)
        return np.ndarray(shape, dtype, content) if content.size else np.zeros(shape, dtype)
