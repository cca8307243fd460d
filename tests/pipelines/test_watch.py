from __future__ import annotations

import io
import re
import sys
import time

import pytest

from pipelines import watch
from pipelines.watch import shown_progress, told
from transforms.progress import PROGRESS, Tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PROGRESS.reset()


def test_what_is_told() -> None:
    tally = Tally(recordings=3, failures=1, audio_s=7200.0)
    assert told(tally, 600.0) == "2.00 hours of audio, 12.0 times real time, 1 failures"


def test_a_terminal_gets_a_bar_that_ends_at_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with shown_progress(4):
        PROGRESS.add(recordings=3, failures=1)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]  # it is a Terminal
    assert re.search(r"3/4 .*1 failures", shown.split("\r")[-1])


@pytest.mark.parametrize(("total", "line"), [(4, "2 of 4 recordings, "), (None, "2 recordings, ")])
def test_a_log_gets_a_line_now_and_then(
    total: int | None, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "LINE_EVERY_S", 0.02)
    with shown_progress(total):
        PROGRESS.add(recordings=2)
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(said.startswith(line) for said in lines)


def test_a_short_run_leaves_the_log_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(4):
        PROGRESS.add(recordings=4)
    assert capsys.readouterr().err == ""


def test_an_error_in_the_run_comes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="broken"), shown_progress(1):
        raise RuntimeError("broken")
