"""Long recordings, which are committed, gone on with and shared out span by span."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines import graph
from pipelines import run as run_module
from tests.support.tone_backend import ASKED, LOADED, failures, rows, run, snapshot, spoken, write_talk
from transforms.core.sections import Chapters
from transforms.windows.plan import WindowPlan

TOLD_TIMES = ("run.json", "report.html", "progress.json")
SECONDS = 250


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talk of four minutes in which somebody speaks French now and then, and a short one."""
    folder = tmp_path_factory.mktemp("talks")
    write_talk(folder / "long.wav", SECONDS, french_from=200)
    write_talk(folder / "short.wav", 20)
    return folder


@pytest.fixture(autouse=True)
def _short_chapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "WindowPlan", partial(WindowPlan, chapters=Chapters(120)))


def files(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(out).items() if name not in TOLD_TIMES}


def take_log(out: Path) -> list[bytes]:
    """The lines of the log, which are then not there any more."""
    lines = []
    for segment in (out / ".whisper-beam/commits").iterdir():
        lines += segment.read_bytes().splitlines(keepends=True)
        segment.unlink()
    return lines


@pytest.fixture(scope="module")
def whole(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run with spans of half an hour writes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(graph, "WindowPlan", partial(WindowPlan, chapters=Chapters(120)))
        out = tmp_path_factory.mktemp("whole")
        assert run(talks, out) == 0
    long, short = rows(out)
    assert long["text"] == spoken("en", SECONDS)
    assert short["text"] == spoken("en", 20)
    return files(out)


@pytest.mark.parametrize("span_s", ["30", "119.5"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_same_files_with_any_length_of_spans(
    talks: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    span_s: str,
    shared: bool,
) -> None:
    monkeypatch.setattr(run_module, "in_this_process", lambda *args: not shared)
    assert run(talks, tmp_path, "--max_span_s", span_s) == 0
    assert files(tmp_path) == whole


def test_spans_that_were_committed_are_not_decoded_again(
    talks: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    assert run(talks, tmp_path, "--max_span_s", "60") == 0
    done = [line for line in take_log(tmp_path) if b'"done"' in line]
    first_look = [line for line in done if b'"parts":[]' not in line]
    assert len(first_look) == 6  # five of the long one, and the short one
    for missing, span_s in ((first_look[1], "60"), (first_look[3], "90"), (first_look[4], "30")):
        (tmp_path / "_SUCCESS").unlink()
        (tmp_path / ".whisper-beam/commits/one.log").write_bytes(
            b"".join(line for line in done if line != missing)
        )
        ASKED.clear()
        assert run(talks, tmp_path, "--max_span_s", span_s) == 0
        assert files(tmp_path) == whole
        assert 1 <= len(ASKED) <= 4  # of some ten
        take_log(tmp_path)


def test_a_finished_run_with_another_length_of_spans_is_finished(talks: Path, tmp_path: Path) -> None:
    assert run(talks, tmp_path, "--max_span_s", "60") == 0
    LOADED.clear()
    assert run(talks, tmp_path, "--max_span_s", "30") == 0
    assert LOADED == []


def test_a_file_that_is_no_use_is_one_failure_however_many_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(200 * 16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    for shared in (False, True):
        monkeypatch.setattr(run_module, "in_this_process", lambda *args, shared=shared: not shared)
        out = tmp_path / f"out{shared}"
        assert run(tmp_path / "a.wav", out, "--max_span_s", "60") == 2
        assert [failure["kind"] for failure in failures(out)] == ["not_finite"]
    assert files(tmp_path / "outTrue") == files(tmp_path / "outFalse")


def test_a_poisoned_window_costs_its_span_no_other(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", SECONDS, poison=130)
    assert run(tmp_path / "a.wav", tmp_path / "out", "--max_span_s", "60") == 2
    (failure,) = failures(tmp_path / "out")
    assert (failure["stage"], failure["kind"]) == ("transcribe", "model_error")
    (row,) = rows(tmp_path / "out")
    heard = row["text"].split()
    assert set(heard) < set(spoken("en", SECONDS).split())
    assert len(heard) >= SECONDS - 31
