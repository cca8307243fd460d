"""Copies of downloads: small ones in memory, large ones on disk, without filling the disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
from time import monotonic
from types import TracebackType
from typing import BinaryIO, Self, cast

from transforms.core.cancellation import CHECK_S, Check, check_stop
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits

STEP_BYTES = 64 << 20
"""Bytes reserved at a time if the length is not known in advance."""


class NoRoomError(AudioError):
    """The disk has no space for a copy at the moment.

    Attributes:
        n_bytes: space that was requested.
    """

    def __init__(self, message: str, n_bytes: int) -> None:
        super().__init__("fetch", "no_room", message, retryable=True)
        self.n_bytes = n_bytes


class Disk:
    """Disk space that the copies of a process have reserved."""

    def __init__(self) -> None:
        self._reserved = 0
        self._unwritten = 0  # of these: not yet written to the disk
        self._changed = threading.Condition()

    def reserve(self, n_bytes: int, limits: Limits) -> None:
        """Reserves disk space.

        Raises:
            NoRoomError: the copies of the process would be too large, or the disk too full.
        """
        with self._changed:
            if not self._fits(n_bytes, limits):
                free = shutil.disk_usage(tempfile.gettempdir()).free
                message = (
                    f"no disk space for a copy of {n_bytes} bytes in {tempfile.gettempdir()}: {free} are "
                    f"free, of which {limits.bytes_left_free} must stay free, and {self._reserved} of "
                    f"{limits.bytes_total} are taken; point TMPDIR to a larger disk"
                )
                raise NoRoomError(message, n_bytes)
            self._reserved += n_bytes
            self._unwritten += n_bytes

    def written(self, n_bytes: int) -> None:
        """Records that reserved bytes are on the disk, and no longer counted as free there."""
        with self._changed:
            self._unwritten -= n_bytes

    def release(self, n_bytes: int, n_unwritten: int) -> None:
        """Releases reserved bytes, of which `n_unwritten` were never written."""
        with self._changed:
            self._reserved -= n_bytes
            self._unwritten -= n_unwritten
            self._changed.notify_all()

    def wait(self, n_bytes: int, limits: Limits, until: float, check: Check = check_stop) -> bool:
        """Waits while other copies hold the space needed; returns whether there is space now.

        Raises:
            Exception: raised by `check`.
        """
        with self._changed:
            while not self._fits(n_bytes, limits):
                check()
                left_s = until - monotonic()
                if not self._reserved or left_s <= 0:
                    return False
                self._changed.wait(min(left_s, CHECK_S))
            return True

    def _fits(self, n_bytes: int, limits: Limits) -> bool:
        if self._reserved + n_bytes > limits.bytes_total:
            return False
        free = shutil.disk_usage(tempfile.gettempdir()).free - self._unwritten
        return free - n_bytes >= limits.bytes_left_free


DISK = Disk()
"""The reserved disk space of this process."""


class Spool:
    """A copy that grows, may be restarted, and is deleted when it is closed.

    Attributes:
        file: seekable; positioned at its end while it grows.
        n_bytes: its length.
        peak_bytes: its maximum length so far.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._reserved = self._written = 0  # on the disk
        self.n_bytes = self.peak_bytes = 0
        spooled = tempfile.SpooledTemporaryFile(max_size=limits.bytes_in_memory)  # noqa: SIM115  # see close
        self.file = cast(BinaryIO, spooled)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def expect(self, n_bytes: int) -> None:
        """Reserves space for a copy of this length before it is fetched.

        Raises:
            AudioError: `too_large`, or `no_room` (`NoRoomError`).
        """
        if n_bytes > self._limits.bytes_each:
            message = f"{n_bytes} bytes; at most {self._limits.bytes_each} are fetched of a recording"
            raise AudioError("fetch", "too_large", message)
        if n_bytes > max(self._limits.bytes_in_memory, self._reserved):
            DISK.reserve(n_bytes - self._reserved, self._limits)
            self._reserved = n_bytes

    def write(self, block: bytes) -> None:
        """Appends a block.

        Raises:
            AudioError: `too_large`, or `no_room`.
        """
        n_bytes = self.n_bytes + len(block)
        limit = max(self._reserved, self._limits.bytes_in_memory)
        if n_bytes > min(limit, self._limits.bytes_each):
            self.expect(max(n_bytes, min(n_bytes + STEP_BYTES, self._limits.bytes_each)))
        try:
            self.file.write(block)
        except OSError as error:
            message = f"no disk space for a copy in {tempfile.gettempdir()}: {error}; point TMPDIR elsewhere"
            raise AudioError("fetch", "no_room", message, retryable=True) from error
        self.n_bytes = n_bytes
        self.peak_bytes = max(self.peak_bytes, n_bytes)
        if self._reserved:
            DISK.written(n_bytes - self._written)
            self._written = n_bytes

    def restart(self) -> None:
        """Discards the copy, to start again."""
        self.file.seek(0)
        self.file.truncate()
        self.n_bytes = 0
        self._release()

    def close(self) -> None:
        """Deletes the copy."""
        self.file.close()
        self._release()

    def _release(self) -> None:
        DISK.release(self._reserved, self._reserved - self._written)
        self._reserved = self._written = 0
