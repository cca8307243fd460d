"""Long recordings, which are committed, resumed and distributed span by span."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines import options
from pipelines import run as run_module
from tests.support.tone_backend import (
    LOADED,
    REQUESTS,
    expected_text,
    failures,
    rows,
    run,
    snapshot,
    write_talk,
)
from transforms.core.sections import Sections
from transforms.windows.plan import WindowPlan

TIMED_FILES = ("run.json", "report.html", "progress.json")
SECONDS = 250


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talk of four minutes that ends in French, and a short one."""
    folder = tmp_path_factory.mktemp("talks")
    write_talk(folder / "long.wav", SECONDS, french_from=200)
    write_talk(folder / "short.wav", 20)
    return folder


@pytest.fixture(autouse=True)
def _short_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "WindowPlan", partial(WindowPlan, sections=Sections(120)))


def files(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(out).items() if name not in TIMED_FILES}


def take_log(out: Path) -> list[bytes]:
    """Returns the lines of the commit log and removes its files."""
    lines = []
    for segment in (out / ".whisper-beam/commits").iterdir():
        lines += segment.read_bytes().splitlines(keepends=True)
        segment.unlink()
    return lines


@pytest.fixture(scope="module")
def whole(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a run with spans of half an hour."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(options, "WindowPlan", partial(WindowPlan, sections=Sections(120)))
        out = tmp_path_factory.mktemp("whole")
        assert run(talks, out) == 0
    long, short = rows(out)
    assert long["text"] == expected_text("en", SECONDS)
    assert short["text"] == expected_text("en", 20)
    return files(out)


@pytest.mark.parametrize("span_s", ["30", "119.5"])
@pytest.mark.parametrize("shared", [False, True])
def test_files_do_not_depend_on_the_length_of_spans(
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


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("windows", ["grid", "speech"])
def test_previous_text_does_not_depend_on_spans_and_workers(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool, windows: str
) -> None:
    monkeypatch.setattr(options, "SPAN_S", 120)
    flags = ("--condition_on_previous_text", "--windows", windows, "--batch_size", "3")
    assert run(talks, tmp_path / "whole", *flags) == 0
    monkeypatch.setattr(run_module, "in_this_process", lambda *args: not shared)
    assert run(talks, tmp_path / "spans", *flags, "--max_span_s", "120") == 0
    assert files(tmp_path / "spans") == files(tmp_path / "whole")
    long, _ = rows(tmp_path / "spans")
    scores = [segment["avg_logprob"] for segment in long["segments"]]
    begun = [number for number, score in enumerate(scores) if score == -0.5]
    assert {number // 120 for number in begun} == {0, 1, 2}  # anew in each section, and in French
    assert min(scores) < -0.58


def test_committed_spans_are_not_decoded_again(talks: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    assert run(talks, tmp_path, "--max_span_s", "60") == 0
    done = [line for line in take_log(tmp_path) if b'"done"' in line]
    first_pass = [line for line in done if b'"parts":[]' not in line]
    assert len(first_pass) == 6  # five spans of the long talk, and the short one
    for missing, span_s in ((first_pass[1], "60"), (first_pass[3], "90"), (first_pass[4], "30")):
        (tmp_path / "_SUCCESS").unlink()
        (tmp_path / ".whisper-beam/commits/one.log").write_bytes(
            b"".join(line for line in done if line != missing)
        )
        REQUESTS.clear()
        assert run(talks, tmp_path, "--max_span_s", span_s) == 0
        assert files(tmp_path) == whole
        assert 1 <= len(REQUESTS) <= 4  # of about ten
        take_log(tmp_path)


def test_finished_run_stays_finished_with_another_length_of_spans(talks: Path, tmp_path: Path) -> None:
    assert run(talks, tmp_path, "--max_span_s", "60") == 0
    LOADED.clear()
    assert run(talks, tmp_path, "--max_span_s", "30") == 0
    assert LOADED == []


def test_invalid_file_is_one_failure_for_any_number_of_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(200 * 16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    for shared in (False, True):
        monkeypatch.setattr(run_module, "in_this_process", lambda *args, shared=shared: not shared)
        out = tmp_path / f"out{shared}"
        assert run(tmp_path / "a.wav", out, "--max_span_s", "60") == 2
        assert [failure["kind"] for failure in failures(out)] == ["not_finite"]
    assert files(tmp_path / "outTrue") == files(tmp_path / "outFalse")


def test_failed_window_does_not_affect_other_windows(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", SECONDS, poison=130)
    assert run(tmp_path / "a.wav", tmp_path / "out", "--max_span_s", "60") == 2
    (failure,) = failures(tmp_path / "out")
    assert (failure["stage"], failure["kind"]) == ("transcribe", "model_error")
    (row,) = rows(tmp_path / "out")
    words = row["text"].split()
    assert set(words) < set(expected_text("en", SECONDS).split())
    assert len(words) >= SECONDS - 31
