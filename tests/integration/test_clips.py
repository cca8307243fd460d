"""Runs that transcribe clips of recordings: of all with the option, of each with a column."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.interface import SAMPLE_RATE
from pipelines import options
from pipelines import run as run_module
from tests.support.tone_backend import (
    LANGUAGES_REQUESTED,
    REQUESTS,
    failures,
    rows,
    run,
    snapshot,
    write_sparse,
    write_talk,
)
from transforms.core.sections import Sections
from transforms.core.uris import audio_id_of
from transforms.windows.plan import WindowPlan

TIMED_FILES = ("run.json", "report.html", "progress.json")


def words(*seconds: tuple[int, int]) -> str:
    return " ".join(f"en{second}" for start, stop in seconds for second in range(start, stop))


def clips_of(row: dict[str, Any]) -> list[tuple[float, float]]:
    return [(clip["start"], clip["end"]) for clip in row["clips"]]


def files(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(out).items() if name not in TIMED_FILES}


@pytest.mark.parametrize("flags", [[], ["--no-vad"], ["--windows", "grid"]])
def test_only_clips_are_transcribed_and_times_are_those_of_the_recording(
    tmp_path: Path, out: Path, flags: list[str]
) -> None:
    path = write_talk(tmp_path / "a.wav", 200)
    assert run(path, out, "--clip_timestamps", "3,8,100,140,195", "--language", "en", *flags) == 0
    (row,) = rows(out)
    assert row["text"] == words((3, 8), (100, 140), (195, 200))
    assert clips_of(row) == [(3.0, 8.0), (100.0, 140.0), (195.0, 200.0)]
    assert [segment["start"] for segment in row["segments"]] == [
        float(second) for start, stop in ((3, 8), (100, 140), (195, 200)) for second in range(start, stop)
    ]
    assert (row["audio_id"], row["duration_s"], row["skipped"]) == (audio_id_of(str(path)), 200.0, [])
    assert (row["untranscribed"], row["problem"], row["truncated"]) == ([], None, False)
    assert sum(request.samples.size for request in REQUESTS) < 65 * SAMPLE_RATE
    report = json.loads((out / "run.json").read_text())
    assert report["audio_hours"] * 3600 == pytest.approx(50, abs=0.01)
    assert report["skipped_hours"] == 0


def test_silence_in_clips_is_skipped_and_that_between_them_is_not(tmp_path: Path, out: Path) -> None:
    path = write_sparse(tmp_path / "a.wav", (2, 9), (110, 115))
    assert run(path, out, "--clip_timestamps", "0,5,90,112") == 0
    (row,) = rows(out)
    assert [round(one["start"]) for one in row["skipped"]] == [0, 90]
    assert [round(one["end"]) for one in row["skipped"]] == [2, 110]
    assert row["duration_s"] == 112.0
    assert row["speech_s"] == pytest.approx(5, abs=1)


def test_each_recording_has_clips_of_its_own(tmp_path: Path, out: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        write_talk(tmp_path / name, 30)
    lines: list[dict[str, Any]] = [
        {"path": "a.wav", "clip_timestamps": "5,7,20"},
        {"path": "b.wav", "clip_timestamps": "0"},
        {"path": "c.wav"},
        {"path": "d.wav", "start": 10, "end": 20, "clip_timestamps": [1, 3.0]},
        {"path": "d.wav", "clip_timestamps": [7, 4]},
        {"path": "d.wav", "start": 20, "clip_timestamps": [11]},
    ]
    manifest = tmp_path / "talks.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run(manifest, out, "--clip_timestamps", "1,2", "--language", "en", "--no-vad") == 2
    found = {row["uri"].rpartition("/")[2]: row for row in rows(out)}
    assert {name: row["text"] for name, row in found.items()} == {
        "a.wav": words((5, 7), (20, 30)),
        "b.wav": words((0, 30)),
        "c.wav": words((1, 2)),
        "d.wav#t=10,20": words((11, 13)),
    }
    assert clips_of(found["d.wav#t=10,20"]) == [(11.0, 13.0)]
    assert all(row["metadata"] is None for row in found.values())
    bad, missing = sorted(failures(out), key=lambda failure: failure["kind"])
    assert (bad["stage"], missing["stage"], missing["kind"]) == ("list", "decode", "no_such_clip")
    assert "talks.jsonl:5: clip_timestamps: the clip from 7 s ends at 4 s" in bad["message"]
    assert "the clip begins after the end of the recording, at 30.00 s: 31 s" in missing["message"]


def test_rows_of_a_dataset_have_clips_of_their_own(tmp_path: Path, out: Path) -> None:
    audio = [{"bytes": write_talk(tmp_path / "a.wav", 9).read_bytes(), "path": f"{n}.wav"} for n in range(2)]
    table = pa.table({"audio": audio, "clip_timestamps": [[2.0, 3.0, 7.0], None]})
    pq.write_table(table, tmp_path / "train.parquet")
    flags = ["--language", "en", "--no-vad"]
    assert options.TranscribeOptions(dataset="d", output="o").clips() == ()
    assert run_dataset(tmp_path / "train.parquet", out, *flags) == 0
    assert sorted(row["text"] for row in rows(out)) == sorted([words((0, 9)), words((2, 3), (7, 9))])


def run_dataset(dataset: Path, out: Path, *flags: str) -> int:
    from pipelines.transcribe import main
    from tests.support.tone_backend import TONES

    return main(["--dataset", str(dataset), "--output", str(out), *flags], TONES)


def test_a_recording_that_is_listed_with_different_clips_is_a_failure(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 30)
    lines = [{"path": "a.wav", "clip_timestamps": clips} for clips in ("0,5", "5,10")]
    manifest = tmp_path / "talks.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run(manifest, out, "--language", "en") == 2
    assert rows(out) == []
    (failure,) = failures(out)
    assert (failure["kind"], failure["stage"]) == ("several_clips", "list")


def test_clips_after_the_end_are_named_in_the_row(tmp_path: Path, out: Path) -> None:
    assert run(write_talk(tmp_path / "a.wav", 20), out, "--clip_timestamps", "3,5,50,60") == 0
    (row,) = rows(out)
    assert row["problem"] == "1 of 2 clips begin after the end of the recording, at 20.00 s: 50 s"
    assert (clips_of(row), row["truncated"]) == ([(3.0, 5.0)], False)


CLIPS = "3,8,100,150,190,215,230"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four minutes that end in French, so that there is a second pass."""
    return write_talk(tmp_path_factory.mktemp("talk") / "long.wav", 250, french_from=225)


@pytest.mark.parametrize("flags", [["--redecode_boundaries", "0.9"], ["--windows", "grid"], ["--no-vad"]])
def test_rows_do_not_depend_on_spans_and_workers(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setattr(options, "WindowPlan", partial(WindowPlan, sections=Sections(120)))
    assert run(talk, tmp_path / "whole", "--clip_timestamps", CLIPS, *flags) == 0
    (row,) = rows(tmp_path / "whole")
    assert row["text"] == words((3, 8), (100, 150), (190, 215), (230, 250))
    assert "en" in LANGUAGES_REQUESTED  # the second pass
    for shared in (False, True):
        monkeypatch.setattr(run_module, "in_this_process", lambda *args, shared=shared: not shared)
        for span_s in ("30", "90"):
            out = tmp_path / f"{shared}{span_s}"
            assert run(talk, out, "--clip_timestamps", CLIPS, "--max_span_s", span_s, *flags) == 0
            assert files(out) == files(tmp_path / "whole")


def test_what_was_committed_is_not_decoded_again(
    talk: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "WindowPlan", partial(WindowPlan, sections=Sections(120)))
    flags = ["--clip_timestamps", CLIPS, "--max_span_s", "60", "--language", "en"]
    assert run(talk, out, *flags) == 0
    expected = files(out)
    log = out / ".whisper-beam/commits"
    done = [
        line for path in log.iterdir() for line in path.read_bytes().splitlines(True) if b'"done"' in line
    ]
    assert len(done) == 5
    for number in range(len(done)):
        (out / "_SUCCESS").unlink()
        for path in log.iterdir():
            path.unlink()
        (log / "one.log").write_bytes(b"".join(done[:number] + done[number + 1 :]))
        REQUESTS.clear()
        assert run(talk, out, *flags) == 0
        assert files(out) == expected
        assert len(REQUESTS) <= 2


def test_other_clips_are_another_run(tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_talk(tmp_path / "a.wav", 20)
    assert run(path, out, "--clip_timestamps", "3,5") == 0
    assert run(path, out, "--clip_timestamps", "3,6") == 1
    assert "--clip_timestamps 3.0,5.0, not 3.0,6.0" in capfd.readouterr().err
