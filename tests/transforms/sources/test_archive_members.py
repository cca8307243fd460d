from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_builders import ARCHIVE_BUILDERS, tar_of, zip_of
from transforms.core.errors import AudioError
from transforms.sources.archive_members import Member, read_members, sample_key


def read(data: bytes) -> list[tuple[str, bytes | str]]:
    return list(read_on(data))


def read_on(data: bytes) -> Iterator[tuple[str, bytes | str]]:
    return ((member.name, content(member)) for member in read_members(io.BytesIO(data)))


def read_all(data: bytes) -> None:
    for member in read_members(io.BytesIO(data)):
        member.read()


def content(member: Member) -> bytes | str:
    try:
        return member.read()
    except AudioError as error:
        return f"{error.stage}: {error.kind}"


@pytest.mark.parametrize("packed", ARCHIVE_BUILDERS)
def test_members_are_in_order_with_their_bytes(packed: str) -> None:
    files = {"b/ü.wav": b"one" * 100_000, "../a.wav": b"", "/etc/x.wav": b"3", "n" * 300 + ".wav": b"4"}
    assert read(ARCHIVE_BUILDERS[packed](files)) == list(files.items())


@pytest.mark.parametrize("packed", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_decompression_bomb_is_refused_early_and_with_little_memory(packed: str) -> None:
    data = ARCHIVE_BUILDERS[packed]({"bomb.wav": bytes(120 << 20), "after.wav": b"x"})
    assert len(data) < 1 << 20
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(AudioError, match="too_large"):
            read_all(data)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
    assert seconds < 5  # generous; under 1 s on an idle machine


@pytest.mark.parametrize("packed", ["tar.gz", "tar.bz2", "tar.xz"])
def test_skipped_decompression_bomb_is_refused_too(packed: str) -> None:
    data = ARCHIVE_BUILDERS[packed]({"bomb.bin": bytes(100 << 20), "after.wav": b"x"})
    with pytest.raises(AudioError, match=r"list: too_large: .* may be a decompression bomb"):
        list(read_members(io.BytesIO(data)))


BOMB = """
import io, resource, sys
from transforms.core.errors import AudioError
from transforms.sources.archive_members import read_members
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for member in read_members(open(sys.argv[1], "rb")):
        member.read()
except AudioError as error:
    print(error.kind, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_memory_of_the_process_stays_small(tmp_path: Path) -> None:
    (tmp_path / "bomb.tar.xz").write_bytes(ARCHIVE_BUILDERS["tar.xz"]({"bomb.wav": bytes(120 << 20)}))
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.tar.xz")]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    kind, megabytes = result.stdout.split()
    assert kind == "too_large"
    assert int(megabytes) < 100


@pytest.mark.parametrize(
    ("declared", "kind"), [(0xFFFFFFF0, "too_large"), (1001, "corrupt"), (999, "corrupt")]
)
def test_declared_size_is_not_trusted(declared: int, kind: str) -> None:
    data = bytearray(zip_of({"a.wav": b"x" * 1000, "b.wav": b"y"}, zipfile.ZIP_STORED))
    directory = data.rfind(b"PK\x01\x02", 0, data.rfind(b"PK\x01\x02"))
    data[directory + 24 : directory + 28] = struct.pack("<I", declared)
    (_, first), (_, second) = read(bytes(data))
    assert first == f"fetch: {kind}"
    assert second == b"y"


def test_member_has_a_maximum_size() -> None:
    members = read_members(io.BytesIO(tar_of({"a.wav": b"x" * 1000})))
    member = next(members)
    with pytest.raises(AudioError, match="fetch: too_large: more than 999 bytes when unpacked"):
        member.read(999)
    members = read_members(io.BytesIO(zip_of({"a.wav": b"x" * 1000})))
    assert len(next(members).read(1000)) == 1000


def test_members_of_a_zip_share_one_limit() -> None:
    data = zip_of({**{f"{n}.wav": bytes(20 << 20) for n in range(6)}, "z.wav": b"x"})
    found = dict(read(data))
    assert found["0.wav"] == bytes(20 << 20)
    assert [found[f"{n}.wav"] for n in range(2, 6)] == ["fetch: too_large"] * 4
    assert found["z.wav"] == b"x"


def test_empty_name_is_allowed() -> None:
    data = zip_of({"a": b"x"})
    directory = data.find(b"PK\x01\x02")
    empty = bytearray(data[:directory] + data[directory : directory + 46] + data[directory + 47 :])
    empty[directory + 28] = 0
    end = empty.find(b"PK\x05\x06")
    empty[end + 12 : end + 16] = struct.pack("<I", end - directory)
    assert [name for name, _ in read(bytes(empty))] == [""]


def test_compressed_silence_is_allowed() -> None:
    silence = bytes(20 << 20)
    for packed in ("zip", "tar.gz"):
        assert read(ARCHIVE_BUILDERS[packed]({"a.wav": silence})) == [("a.wav", silence)]


def test_damage_in_a_zip_affects_one_member() -> None:
    data = bytearray(zip_of({"a.wav": b"one" * 100, "b.wav": b"two" * 100, "c.wav": b"x"}))
    start = data.find(b"b.wav") + len("b.wav")
    data[start : start + 4] = b"\xff" * 4
    assert read(bytes(data)) == [("a.wav", b"one" * 100), ("b.wav", "fetch: corrupt"), ("c.wav", b"x")]


def test_encrypted_and_unsupported_members_are_errors() -> None:
    data = bytearray(zip_of({"a.wav": b"one", "b.wav": b"two"}))
    directory = data.find(b"PK\x01\x02")
    data[directory + 8] |= 1  # the flag of encryption, in the directory and before the member
    data[6] |= 1
    assert read(bytes(data)) == [("a.wav", "fetch: encrypted"), ("b.wav", b"two")]
    assert read(zip_of({"a.wav": b"one"}, zipfile.ZIP_LZMA)) == [("a.wav", "fetch: unsupported")]


@pytest.mark.parametrize("packed", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_truncated_archive_yields_its_members_and_raises(packed: str) -> None:
    noise = {f"{n}.wav": bytes((n * i * i) % 251 for i in range(30_000)) for n in range(1, 9)}
    whole = ARCHIVE_BUILDERS[packed](noise)
    for share in (0.3, 0.6, 0.95):
        found: list[tuple[str, bytes | str]] = []
        with pytest.raises(AudioError, match="list: corrupt: cannot be read as an archive, or not to its"):
            found.extend(read_on(whole[: int(share * len(whole))]))
        assert all(noise[name] == data for name, data in found if isinstance(data, bytes))
        assert packed == "zip" or packed == "tar.bz2" or len(found) >= int(8 * share) - 1


def test_tar_truncated_between_members_raises() -> None:
    whole = tar_of({"a.wav": b"x", "b.wav": b"y"})
    with pytest.raises(AudioError, match="its end is missing, it was cut short"):
        list(read_members(io.BytesIO(whole[:1024])))
    damaged = bytearray(whole)
    damaged[1024:1100] = b"\xff" * 76  # the library takes this for the end
    with pytest.raises(AudioError, match="bad checksum"):
        list(read_members(io.BytesIO(bytes(damaged))))


@pytest.mark.parametrize(
    "data",
    [b"<html>not found</html>", b"PK\x03\x04" + bytes(600), b"\x1f\x8b" + bytes(99), b"BZh9xx", b"x" * 5000],
)
def test_error_for_another_file_has_its_first_bytes(data: bytes) -> None:
    with pytest.raises(AudioError, match=r"list: corrupt: cannot be read as an archive.* it begins with b'"):
        list(read_members(io.BytesIO(data)))


def test_links_devices_and_sparse_files_are_refused() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (
            ("a.wav", tarfile.SYMTYPE),
            ("b.wav", tarfile.LNKTYPE),
            ("c.wav", tarfile.CHRTYPE),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            archive.addfile(header)
        header = tarfile.TarInfo("folder")
        header.type = tarfile.DIRTYPE
        archive.addfile(header)
    assert read(file.getvalue()) == [(name, "fetch: not_a_file") for name in ("a.wav", "b.wav", "c.wav")]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("a.wav")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder.wav")
    assert read(file.getvalue()) == [("a.wav", "fetch: not_a_file")]


def test_header_of_gigabytes_is_not_read() -> None:
    header = tarfile.TarInfo("a.wav")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(4096)
    with pytest.raises(AudioError, match="a header of 4294967296 bytes"):
        list(read_members(io.BytesIO(data)))


def test_memory_does_not_grow_with_the_number_of_members() -> None:
    data = tar_of({f"{n}.wav": b"x" for n in range(10_000)})
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_members(io.BytesIO(data))) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


class Stored(zipfile.ZipInfo):
    """A member whose name is stored in an encoding of its own, without the flag of UTF-8."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  # the library's name
        return self.filename.encode(self.encoding), 0


class StoredInCp437(Stored):
    encoding = "cp437"


@pytest.mark.parametrize(
    ("member", "names"),
    [
        (Stored, ["für/Straße.wav", "日本.wav", "plain.wav", "für/Straße.txt", "e\u0301.wav"]),
        (StoredInCp437, ["für/Straße.wav", "ÇaÄ.wav", "plain.wav", "für/Straße.txt"]),
    ],
)
def test_names_in_a_zip_without_the_flag_of_utf8(member: type[Stored], names: list[str]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(member(name), name)
    assert sorted(read(file.getvalue())) == sorted((name, name.encode()) for name in names)


def test_name_in_the_unicode_field_of_a_zip_is_used_if_it_is_of_this_name() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, checked in (("__.wav", b"__.wav"), ("a.wav", b"renamed.wav")):
            info = zipfile.ZipInfo(name)
            field = b"\1" + zlib.crc32(checked).to_bytes(4, "little") + "日本.wav".encode()
            info.extra = b"\x55\x54\1\0\0" + struct.pack("<HH", 0x7075, len(field)) + field
            archive.writestr(info, b"x")
    assert [name for name, _ in read(file.getvalue())] == ["日本.wav", "a.wav"]


def test_sample_key() -> None:
    assert [sample_key(name) for name in ("a.b/c.d.e", "c.wav", "./x/1", ".hidden")] == [
        "a.b/c",
        "c",
        "./x/1",
        "",
    ]
