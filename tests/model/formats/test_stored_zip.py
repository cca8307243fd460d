import io
import zipfile
from pathlib import Path

import pytest

from model.formats.mapped_file import FormatError
from model.formats.stored_zip import StoredZip


def zip_of(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path = folder / "file.zip"
    path.write_bytes(file.getvalue())
    return path


def test_members_are_read_in_place(tmp_path: Path) -> None:
    archive = StoredZip(zip_of(tmp_path, {"a": b"one", "b/c": b"two" * 1000}))
    assert list(archive) == ["a", "b/c"]
    assert archive.read("a", 3) == b"one"
    assert bytes(archive.slice("b/c")) == b"two" * 1000
    assert "a" in archive
    assert "c" not in archive


def test_a_compressed_member_is_never_decompressed(tmp_path: Path) -> None:
    archive = StoredZip(zip_of(tmp_path, {"a": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(FormatError, match="'a' in it is compressed"):
        archive.slice("a")


def test_a_member_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a": b"x" * 100})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = b"\xff\xff\xff\x0f" * 2  # both sizes in the central directory
    path.write_bytes(content)
    with pytest.raises(FormatError, match="cut short or damaged"):
        StoredZip(path).slice("a")


def test_large_members_are_not_read_as_small_ones(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="at most 2 are read"):
        StoredZip(zip_of(tmp_path, {"a": b"one"})).read("a", 2)


def test_missing_members_and_damaged_headers(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a": b"one"})
    with pytest.raises(FormatError, match="no member 'b'"):
        StoredZip(path).slice("b")
    path.write_bytes(b"PX" + path.read_bytes()[2:])
    with pytest.raises(FormatError, match="header of 'a' in it is damaged"):
        StoredZip(path).slice("a")


@pytest.mark.parametrize("is_64", [False, True])
def test_a_huge_directory_is_refused(tmp_path: Path, is_64: bool) -> None:
    path = zip_of(tmp_path, {"a": b"one"})
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = b"\xff\xff\xff\xff"
    if is_64:
        record = b"PK\x06\x06" + bytes(36) + (1 << 40).to_bytes(8, "little") + bytes(8)
        content[end:end] = record + b"PK\x06\x07" + bytes(16)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="directory of more than 16777216 bytes"):
        StoredZip(path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a": b"one"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="encrypted"):
        StoredZip(path).slice("a")


def test_what_is_no_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(FormatError, match="a is not an intact zip file"):
        StoredZip(tmp_path / "a")
