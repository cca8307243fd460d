"""Members of a zip file that are stored as they are, as torch and numpy write them; none is decompressed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.formats.mapped_file import FormatError, MappedFile

_LOCAL_HEADER = 30  # bytes, before a member's name
_ENCRYPTED = 0x1
_MAX_DIRECTORY = 1 << 24  # bytes; large-v3 has a fifth of a megabyte, and each member takes memory
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_N_END, _N_END_64, _N_LOCATOR_64, _MAX_COMMENT = 22, 56, 20, 1 << 16  # bytes


class _Member(NamedTuple):
    header: int
    n_bytes: int
    problem: str


class StoredZip:
    """A zip file whose members are read in place.

    Raises:
        FormatError: it is no zip file, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._file = MappedFile(path)
        if _directory_size(self._file) > _MAX_DIRECTORY:
            raise FormatError(f"{path.name} has a directory of more than {_MAX_DIRECTORY} bytes")
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
            raise FormatError(f"{path.name} is not an intact zip file: {error!r:.200}") from error
        self._members = {info.filename: self._member(info) for info in infos}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns a small member.

        Raises:
            FormatError: there is none of that name, or it is larger than `max_bytes`.
        """
        content = self.slice(name)
        if len(content) > max_bytes:
            raise FormatError(f"{name!r:.200} in it has {len(content)} bytes; at most {max_bytes} are read")
        return content.tobytes()

    def slice(self, name: str) -> NDArray[np.uint8]:
        """Returns the bytes of a member, which are not copied.

        Raises:
            FormatError: there is none of that name, it is compressed, or it does not lie within the file.
        """
        member = self._members.get(name)
        if member is None:
            raise FormatError(f"it has no member {name!r:.200}")
        if member.problem:
            raise FormatError(f"{name!r:.200} in it is {member.problem}")
        self._file.position = member.header
        header = self._file.read(_LOCAL_HEADER)
        if header[:4] != b"PK\x03\x04":
            raise FormatError(f"the header of {name!r:.200} in it is damaged")
        n_name, n_extra = struct.unpack("<HH", header[26:])
        self._file.position += n_name + n_extra
        return self._file.slice(member.n_bytes)

    @staticmethod
    def _member(info: zipfile.ZipInfo) -> _Member:
        problem = ""
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            problem = "compressed, as no program writes weights"
        elif info.flag_bits & _ENCRYPTED:
            problem = "encrypted"
        return _Member(info.header_offset, info.file_size, problem)


def _directory_size(file: MappedFile) -> int:
    """Returns the largest size that the records at the end of a zip file claim for its directory, in bytes.

    Source: section 4.3 of PKWARE's APPNOTE.TXT.
    """
    file.position = max(0, file.size - _MAX_COMMENT - _N_END - _N_END_64 - _N_LOCATOR_64)
    tail = file.read(file.size - file.position)
    sizes = [0]
    for end in {len(tail) - _N_END, tail.rfind(_END)}:  # where `zipfile` looks for the record
        if 0 <= end <= len(tail) - _N_END and tail.startswith(_END, end):
            locator = end - _N_LOCATOR_64
            record = locator - _N_END_64
            is_64 = record >= 0 and tail.startswith(_LOCATOR_64, locator) and tail.startswith(_END_64, record)
            form, place = ("<Q", record + 40) if is_64 else ("<I", end + 12)
            sizes += struct.unpack_from(form, tail, place)
    return max(sizes)
