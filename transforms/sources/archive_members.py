"""Reads the members of archives one after the other: of `zip`, and of `tar` with any compression.

Members are never written to a disk. Declared sizes are not trusted: bytes are counted as they are
decompressed, and may be at most a hundred times the compressed ones, because a few kilobytes can decompress
to terabytes.
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
"""Decompressed bytes that are always allowed."""

MAX_RATIO = 100
"""Maximum ratio of decompressed to compressed bytes, beyond the free ones: digital silence has up to 1,000,
other audio 3."""

_MAX_TAR_HEADER = 1 << 20  # bytes, of a long name with attributes
_BUFFERED_TYPES = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_BLOCK_BYTES = 1 << 20
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # id of a field behind a name
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip
"""Errors that the standard library raises for damaged or malicious archives."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its name in the archive; never used as a path.
        open: opens its bytes, before the next member is read; raises `AudioError` if they cannot be read.
        max_bytes: maximum number of bytes.
        declared_bytes: number of bytes that the archive declares; None if `open` detects missing ones.
    """

    name: str
    open: Callable[[], IO[bytes]]
    max_bytes: int = MAX_MEMBER_BYTES
    declared_bytes: int | None = None

    def read(self, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
        """Returns all of its bytes.

        Raises:
            AudioError: with stage `fetch`: more bytes than allowed, or unreadable ones.
        """
        limit = min(max_bytes, self.max_bytes)
        copy = io.BytesIO()
        try:
            with self.open() as file:
                while block := file.read(min(_BLOCK_BYTES, limit + 1 - copy.tell())):
                    copy.write(block)
                    if copy.tell() > limit:
                        raise AudioError("fetch", "too_large", f"more than {limit} bytes when unpacked")
        except _ARCHIVE_ERRORS as error:
            raise AudioError("fetch", "corrupt", f"cannot be unpacked: {error}") from error
        if self.declared_bytes not in (None, copy.tell()):
            message = f"{copy.tell()} bytes were unpacked, {self.declared_bytes} declared"
            raise AudioError("fetch", "corrupt", message)
        return copy.getvalue()


def sample_key(name: str) -> str:
    """Returns the key of a member's sample (WebDataset): up to the first dot of the last component."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def read_members(file: BinaryIO) -> Iterator[Member]:
    """Yields the files in an archive, in order; its format is detected by its content.

    Args:
        file: seekable, at its start.

    Raises:
        AudioError: with stage `list`: it is not an archive, is damaged, or decompresses to too many bytes.
    """
    head = file.read(6)
    file.seek(0)
    try:
        yield from _zip_members(file) if head.startswith(b"PK") else _tar_members(_decompressed(file, head))
    except _ARCHIVE_ERRORS as error:
        message = f"cannot be read as an archive, or not to its end: {error}; it begins with {head!r}"
        raise AudioError("list", "corrupt", message) from error


def _zip_members(file: BinaryIO) -> Iterator[Member]:
    """Yields the members in its directory, those of a sample one after the other."""
    size = file.seek(0, os.SEEK_END)
    budget = _Budget(FREE_BYTES + MAX_RATIO * size)
    with zipfile.ZipFile(file) as archive:
        samples: dict[str, list[zipfile.ZipInfo]] = {}
        for info in archive.infolist():
            if not info.filename.endswith("/"):  # `is_dir()` fails for an empty name
                samples.setdefault(sample_key(_zip_name(info)), []).append(info)
        for info in chain.from_iterable(samples.values()):
            packed = min(info.compress_size, size)  # at most so many bytes are read
            limit = FREE_BYTES + MAX_RATIO * packed
            yield Member(_zip_name(info), _zip_opener(archive, info, budget), limit, info.file_size)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Returns the name of a member whose flag of UTF-8 may be missing.

    Without the flag a name is in CP437 by the standard, and the library decodes it as that. But macOS and
    many programs write UTF-8, which text in CP437 that is not ASCII hardly ever is, or add a field with it.
    """
    if info.flag_bits & _UTF8_FLAG:
        return info.filename
    stored = info.orig_filename.encode("cp437")
    try:
        return (_unicode_name(stored, info.extra) or stored).decode("utf-8").partition("\0")[0]
    except UnicodeDecodeError:
        return info.filename


def _unicode_name(stored: bytes, extra: bytes) -> bytes | None:
    """Returns the name in a member's Unicode path field (APPNOTE.TXT, 4.6.9); None without a valid one."""
    while len(extra) > 4:
        kind, n_bytes = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + n_bytes], extra[4 + n_bytes :]
        if kind == _UNICODE_PATH and field[:5] == b"\1" + zlib.crc32(stored).to_bytes(4, "little"):
            return field[5:]
    return None


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        if info.flag_bits & 0x1:
            raise AudioError("fetch", "encrypted", "it is encrypted; unpack the archive with its password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            message = f"packed by method {info.compress_type}; 0 (stored) and 8 (deflated) are read"
            raise AudioError("fetch", "unsupported", message)  # others decompress without a limit on memory
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _not_a_file("a symbolic link")
        budget.spend(info.file_size)  # at most so many bytes are returned
        return archive.open(info)

    return open_member


class _Budget:
    """Limit on the decompressed bytes of all members of a zip, which may share their compressed bytes."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = self._n_left = n_bytes

    def spend(self, n_bytes: int) -> None:
        if n_bytes > self._n_left:
            message = (
                f"with the members before it, more than {self._n_bytes} bytes: it may be a decompression bomb"
            )
            raise AudioError("fetch", "too_large", message)
        self._n_left -= n_bytes


def _not_a_file(found: str) -> AudioError:
    return AudioError("fetch", "not_a_file", f"{found}, where a file was expected")


def _tar_members(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        while (header := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps all headers
            if not header.isdir():
                yield Member(header.name, _tar_opener(archive, header))


def _tar_opener(archive: tarfile.TarFile, header: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        if header.issym() or header.islnk():
            raise _not_a_file("a link")
        if header.issparse():  # its holes decompress to any number of bytes
            raise AudioError("fetch", "unsupported", "a sparse file; pack it without --sparse")
        file = archive.extractfile(header)
        if file is None:
            raise _not_a_file("a device")
        return file

    return open_member


class _Header(tarfile.TarInfo):
    """A header that raises an error for damage, which the library would take for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises the error that marks the end
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            cut = "its end is missing, it was cut short" if not buf else str(error)
            raise tarfile.ReadError(cut) from error
        if header.size < 0 or (header.type in _BUFFERED_TYPES and header.size > _MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _decompressed(file: BinaryIO, head: bytes) -> IO[bytes]:
    openers: dict[bytes, Callable[[BinaryIO], SupportsRead]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\x00": lzma.open,
    }
    for signature, opener in openers.items():
        if head.startswith(signature):
            return cast(IO[bytes], _RatioLimitedReader(opener(file), file))
    return file


class SupportsRead(Protocol):
    """A readable stream."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes; none at the end."""


class _RatioLimitedReader:
    """A decompressed stream that raises an error at more than `MAX_RATIO` times the compressed bytes."""

    def __init__(self, unpacked: SupportsRead, packed: BinaryIO) -> None:
        self._unpacked, self._packed = unpacked, packed
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        block = self._unpacked.read(size)
        self._n_bytes += len(block)
        limit = FREE_BYTES + MAX_RATIO * self._packed.tell()
        if self._n_bytes > limit:
            message = f"more than {limit} bytes from {self._packed.tell()}: it may be a decompression bomb"
            raise AudioError("list", "too_large", message)
        return block
