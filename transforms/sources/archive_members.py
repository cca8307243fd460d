"""Members of archives, one after the other and never by name on a disk: of `zip`, of `tar`, however packed.

What a header says of a size is not believed: bytes are counted as they come, and may be no more than a
hundred times what they were packed in, as a few kilobytes can stand for terabytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, BinaryIO, Protocol, Self, cast

from transforms.core.errors import AudioError

MAX_MEMBER_BYTES = 2 << 30
FREE_BYTES = 32 << 20
"""Of what is unpacked, so much is never too much."""

MAX_RATIO = 100
"""Of unpacked to packed bytes, beyond the free ones: digital silence has up to 1,000, sound 3."""

_MAX_TAR_HEADER = 1 << 20  # bytes; of a long name, with attributes
_HELD_TYPES = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_BLOCK_BYTES = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip
"""What the standard library raises for archives that are damaged, or made to do damage."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: as the archive has it; it is never used as a path.
        open: opens its bytes, which is to be done before the next member is asked for; raises `AudioError`
            where they cannot be read.
        max_bytes: how many may come.
        declared_bytes: how many must come; None where reading them tells.
    """

    name: str
    open: Callable[[], IO[bytes]]
    max_bytes: int = MAX_MEMBER_BYTES
    declared_bytes: int | None = None

    def read(self, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
        """All of its bytes.

        Raises:
            AudioError: with stage `fetch`: more than may be, or none that can be read.
        """
        limit = min(max_bytes, self.max_bytes)
        copy = io.BytesIO()
        try:
            with self.open() as file:
                while block := file.read(min(_BLOCK_BYTES, limit + 1 - copy.tell())):
                    copy.write(block)
                    if copy.tell() > limit:
                        raise AudioError("fetch", "too_large", f"more than {limit} bytes when unpacked")
        except _DAMAGE as error:
            raise AudioError("fetch", "corrupt", f"cannot be unpacked: {error}") from error
        if self.declared_bytes not in (None, copy.tell()):
            message = f"{copy.tell()} bytes came of {self.declared_bytes} declared"
            raise AudioError("fetch", "corrupt", message)
        return copy.getvalue()


def sample_of(name: str) -> str:
    """What the names of a sample have in common (WebDataset): all up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def members_of(file: BinaryIO) -> Iterator[Member]:
    """The files in an archive, in order; what it is is decided by its content.

    Args:
        file: seekable, at its start.

    Raises:
        AudioError: with stage `list`: it is no archive, or cannot be read on, or unpacks to too much.
    """
    head = file.read(6)
    file.seek(0)
    try:
        yield from _zip_members(file) if head.startswith(b"PK") else _tar_members(_unpacked(file, head))
    except _DAMAGE as error:
        message = f"cannot be read as an archive, or not to its end: {error}; it begins with {head!r}"
        raise AudioError("list", "corrupt", message) from error


def _zip_members(file: BinaryIO) -> Iterator[Member]:
    """Those of its directory, the members of a sample one after the other."""
    size = file.seek(0, os.SEEK_END)
    budget = _Budget(FREE_BYTES + MAX_RATIO * size)
    with zipfile.ZipFile(file) as archive:
        samples: dict[str, list[zipfile.ZipInfo]] = {}
        for info in archive.infolist():
            if not info.filename.endswith("/"):  # its own is_dir() fails for no name at all
                samples.setdefault(sample_of(info.filename), []).append(info)
        for info in chain.from_iterable(samples.values()):
            packed = min(info.compress_size, size)  # no more is read than its header says
            limit = FREE_BYTES + MAX_RATIO * packed
            yield Member(info.filename, _zip_opener(archive, info, budget), limit, info.file_size)


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if info.flag_bits & 0x1:
            raise AudioError("fetch", "encrypted", "it is encrypted; unpack the archive with its password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            message = f"packed by method {info.compress_type}; 0 (stored) and 8 (deflated) are read"
            raise AudioError("fetch", "unsupported", message)  # others unpack without a limit on memory
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _no_file("a symbolic link")
        budget.spend(info.file_size)  # no more than it says comes of it
        return archive.open(info)

    return opened


class _Budget:
    """What may come of all members of a zip together: they may share what they are packed in."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = self._n_left = n_bytes

    def spend(self, n_bytes: int) -> None:
        if n_bytes > self._n_left:
            message = f"with the members before it, more than {self._n_bytes} bytes, as of a bomb"
            raise AudioError("fetch", "too_large", message)
        self._n_left -= n_bytes


def _no_file(what: str) -> AudioError:
    return AudioError("fetch", "not_a_file", f"{what}, where a file was expected")


def _tar_members(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        while (header := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or it would remember all of them
            if not header.isdir():
                yield Member(header.name, _tar_opener(archive, header))


def _tar_opener(archive: tarfile.TarFile, header: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if header.issym() or header.islnk():
            raise _no_file("a link")
        if header.issparse():  # its holes are bytes that come of nothing
            raise AudioError("fetch", "unsupported", "a sparse file; pack it without --sparse")
        file = archive.extractfile(header)
        if file is None:
            raise _no_file("a device")
        return file

    return opened


class _Header(tarfile.TarInfo):
    """A header that ends an archive only where its end is marked: the library takes damage for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises what marks the end
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            cut = "its end is missing, it was cut short" if not buf else str(error)
            raise tarfile.ReadError(cut) from error
        if header.size < 0 or (header.type in _HELD_TYPES and header.size > _MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _unpacked(file: BinaryIO, head: bytes) -> IO[bytes]:
    openers: dict[bytes, Callable[[BinaryIO], SupportsRead]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\x00": lzma.open,
    }
    for signature, opener in openers.items():
        if head.startswith(signature):
            return cast(IO[bytes], _InProportion(opener(file), file))
    return file


class SupportsRead(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes:
        """Some of them, at most `size`; none at the end."""


class _InProportion:
    """What is unpacked of a stream, as long as it is in proportion to what was read of the packed one."""

    def __init__(self, unpacked: SupportsRead, packed: BinaryIO) -> None:
        self._unpacked, self._packed = unpacked, packed
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        block = self._unpacked.read(size)
        self._n_bytes += len(block)
        limit = FREE_BYTES + MAX_RATIO * self._packed.tell()
        if self._n_bytes > limit:
            message = f"more than {limit} bytes come of {self._packed.tell()}, as of a bomb"
            raise AudioError("list", "too_large", message)
        return block
