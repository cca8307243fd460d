from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.encoding import encoded, siren
from transforms.sources import folder_filter
from transforms.sources.folder_filter import FolderFilter


@pytest.mark.parametrize(
    ("name", "is_taken"),
    [
        ("a.WAV", True), ("a.zip", True), ("voicemail", True), ("a.wav.1", True), ("a.dat", True),
        ("a.json", False), ("a.wav.part", False), (".a.wav", False),
    ],
)  # fmt: skip
def test_content_decides_where_the_extension_does_not(tmp_path: Path, name: str, is_taken: bool) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(siren(0.1)))
    files = FolderFilter()
    assert files.takes_file(str(path)) is is_taken
    assert files.passed_over.counts.total() == (not is_taken)


def test_content_of_known_extensions_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_filter, "has_audio_content", None)
    files = FolderFilter()
    names = ["a.flac", "a.tar.gz", "a.txt", "a.jpg", "a.srt", "a.parquet", ".a"]
    assert [name for name in names if files.takes_file(f"/talks/{name}")] == ["a.flac", "a.tar.gz"]
    remote = ["a.flac", "a.tar.gz", "a.txt", "voicemail", "x/.cache/a.wav"]
    assert [name for name in remote if files.takes_name(name)] == ["a.flac", "a.tar.gz"]
    assert files.passed_over.counts == {
        ".txt": 2, ".jpg": 1, ".srt": 1, ".parquet": 1, "hidden": 2, "without_extension": 1,
    }  # fmt: skip
