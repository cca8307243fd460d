from __future__ import annotations

import io
import re
import sys
import time

import pytest

from pipelines.progress import progress_bar
from pipelines.progress.progress_bar import (
    RunProgress,
    format_duration,
    format_progress,
    show_progress,
    time_left_s,
)
from transforms.core.progress import PROGRESS, Tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PROGRESS.reset()


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "left_s"),
    [
        (3, 12, 60.0, 180.0),
        (12, 12, 60.0, 0.0),
        (13, 12, 60.0, 0.0),  # a recording that was opened twice
        (2, 12, 60.0, None),  # too few
        (3, 12, 5.0, None),  # too early: the model was loaded and compiled
        (40, 10_000, 60.0, None),  # too few of so many
        (50, 10_000, 60.0, 11_940.0),
        (50, None, 60.0, None),
    ],
)
def test_time_left(done: int, total: int | None, elapsed_s: float, left_s: float | None) -> None:
    assert time_left_s(Tally(recordings=done), total, elapsed_s) == left_s


def test_format_progress() -> None:
    tally = Tally(recordings=3, failures=1, audio_s=7200.0)
    message = "2.00 hours of audio, 12.0 times real time, 1 failures"
    assert format_progress(tally, 4, 600.0) == f"{message}, 3 min 20 s left"
    assert format_progress(tally, None, 600.0) == f"{message}, time left unknown"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "1 min 00 s"), (320, "5 min 20 s"), (7_500, "2 h 05 min")]
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_final_counts_replace_the_tally() -> None:
    run_progress = RunProgress(4, in_process=False)
    assert run_progress.tally() is None
    run_progress.set_final_counts({"listed": 5, "duplicates": 1, "failures": 2, "audio_ms": 1500})
    assert run_progress.tally() == Tally(recordings=4, failures=2, audio_s=1.5)


def test_terminal_shows_a_bar_that_ends_with_the_final_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_progress(RunProgress(4)):
        PROGRESS.add(recordings=3, failures=1)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]  # it is a Terminal
    assert re.search(r"75%.*3/4 recordings .*1 failures, time left unknown", shown.split("\r")[-1])


@pytest.mark.parametrize("total", [4, None])
def test_terminal_says_that_the_progress_of_other_processes_is_unknown(
    total: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_progress(RunProgress(total, in_process=False)):
        PROGRESS.add(recordings=3)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]  # it is a Terminal
    assert "running in other processes, progress unknown" in shown
    assert "0/4" not in shown


def test_terminal_shows_counts_where_the_total_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_progress(RunProgress(None)):
        PROGRESS.add(recordings=3)
    assert "3 recordings [" in sys.stderr.getvalue().split("\r")[-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("total", "line"), [(4, "2 of 4 recordings, "), (None, "2 recordings, ")])
def test_log_gets_a_line_periodically(
    total: int | None, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar, "LINE_EVERY_S", 0.02)
    with show_progress(RunProgress(total)):
        PROGRESS.add(recordings=2)
        until_s = time.monotonic() + 30
        while not (printed := capsys.readouterr().err) and time.monotonic() < until_s:
            time.sleep(0.01)
    lines = printed.splitlines()
    assert lines
    assert all(message.startswith(line) for message in lines)


def test_log_gets_no_lines_for_workers_in_other_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar, "LINE_EVERY_S", 0.02)
    with show_progress(RunProgress(4, in_process=False)):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_log_of_a_short_run_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(RunProgress(4)):
        PROGRESS.add(recordings=4)
    assert capsys.readouterr().err == ""


def test_error_in_the_run_propagates(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="broken"), show_progress(RunProgress(1)):
        raise RuntimeError("broken")
