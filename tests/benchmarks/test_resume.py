from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import resume
from benchmarks.resume import Round, cells, log_counts, measure, seconds_of


def test_a_program_is_killed_or_ends_by_itself() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert 0.1 <= seconds_of(sleep, kill_after_s=0.1) < 30
    assert seconds_of([sys.executable, "-c", ""]) > 0
    with pytest.raises(RuntimeError, match="ended before"):
        seconds_of([sys.executable, "-c", ""], kill_after_s=30)
    with pytest.raises(subprocess.CalledProcessError):
        seconds_of([sys.executable, "-c", "raise SystemExit(2)"])


def test_the_log_is_counted(tmp_path: Path) -> None:
    log = tmp_path / ".whisper-beam/commits"
    log.mkdir(parents=True)
    (log / "a.log").write_text('0 {"begun":"a"}\n0 {"begun":"b"}\n0 {"done":"a"}\n')
    (log / "b.log").write_text('0 {"begun":"c"}\n')
    assert log_counts(tmp_path) == (1, 2)


def test_other_rows_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], kill_after_s: float | None = None) -> float:
        out = Path(words[words.index("-o") + 1])
        (out / "jsonl").mkdir(parents=True, exist_ok=True)
        (out / "jsonl/a.jsonl").write_text(text.get(out.name, "same"))
        return kill_after_s or 4.0

    monkeypatch.setattr(resume, "seconds_of", run)
    text: dict[str, str] = {}
    assert measure([tmp_path], [], tmp_path).killed_s == 2
    text["resumed"] = "other"
    with pytest.raises(RuntimeError, match="other rows"):
        measure([tmp_path], [], tmp_path)


def test_a_row_of_the_table() -> None:
    assert cells(Round(20, 10, 0.5, 12, 1, 3))[:5] == ["20.0", "10.0", "50%", "12.0", "60%"]
