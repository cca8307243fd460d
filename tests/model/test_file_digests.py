from __future__ import annotations

import hashlib
from pathlib import Path

from model.file_digests import sha256_of


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    for content in (b"one", b"another"):
        file.write_bytes(content)
        assert sha256_of(file) == hashlib.sha256(content).hexdigest()


def test_file_of_the_hub_is_known_by_its_name_and_not_read(tmp_path: Path) -> None:
    name = "ab" * 32
    blob = tmp_path / "blobs" / name
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    assert sha256_of(link) == name
    blob.rename(blob.with_name("0123"))  # small files have another name there
    link.unlink()
    link.symlink_to(blob.with_name("0123"))
    assert sha256_of(link) == hashlib.sha256(b"weights").hexdigest()
