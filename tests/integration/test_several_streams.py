"""Runs over files with several audio streams, as films and screen recordings have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from av.stream import Disposition

from model.interface import Samples
from pipelines import run as run_module
from pipelines.beam_transform import Transcribe
from pipelines.inference import Inference, TranscriptionError
from tests.support.collected import COLLECTED, collect
from tests.support.same_rows import lines, lines_of_command
from tests.support.several_streams import Sound, several_streams, silence
from tests.support.tone_backend import (
    ENGLISH,
    FRENCH,
    LOADED,
    TONES,
    expected_text,
    failures,
    rows,
    run,
    snapshot,
    tone,
    write_talk,
)
from transforms.core.uris import audio_id_of

DEFAULT = Disposition.default
TIMED_FILES = ("run.json", "report.html", "progress.json")


def tones(seconds: int, amplitude: float = ENGLISH, start: int = 0, french_from: int = 1000) -> Samples:
    return np.concatenate(
        [
            tone(second, FRENCH if second >= french_from else amplitude)
            for second in range(start, start + seconds)
        ]
    )


def write_film(path: Path, *sounds: Sound, fmt: str = "matroska") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(several_streams(sounds, fmt, video_s=3))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """English, and later tones in French, which are the default."""
    french = tones(30, FRENCH, start=40)
    return write_film(
        tmp_path / "films/film.mkv", Sound(tones(40), "eng"), Sound(french, "fre", "Film", DEFAULT)
    )


def files(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(out).items() if name not in TIMED_FILES}


def counts(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())["counts"]
    return found


def test_default_stream_is_transcribed_and_the_row_has_the_others(film: Path, out: Path) -> None:
    assert run(film, out) == 0
    (row,) = rows(out)
    assert row["text"] == " ".join(f"fr{second}" for second in range(40, 70))
    assert (row["duration_s"], row["problem"]) == (30, None)
    assert row["audio_streams"] == [
        {"index": 0, "language": "eng", "title": None, "default": False, "taken": False},
        {"index": 1, "language": "fre", "title": "Film", "default": True, "taken": True},
    ]


def test_stream_with_sound_is_transcribed_in_place_of_a_silent_one(tmp_path: Path, out: Path) -> None:
    desktop, microphone = Sound(silence(20), title="Desktop", disposition=DEFAULT), Sound(tones(5))
    path = write_film(tmp_path / "screen.mp4", desktop, microphone, fmt="matroska")
    write_talk(tmp_path / "talk.wav", 2)
    assert run(tmp_path / "*.*", out) == 0  # a remark is no loss
    screen, talk = rows(out)
    assert (screen["uri"], screen["text"]) == (str(path), expected_text("en", 5))
    assert (
        screen["problem"] == "no speech was found in audio stream 0 ('Desktop', default): 1 was transcribed"
    )
    assert (talk["audio_streams"], talk["problem"]) == ([], None)


@pytest.mark.parametrize(("wanted", "text"), [("0", "en"), ("en", "en"), ("French", "fr"), ("1", "fr")])
def test_stream_is_chosen_by_number_or_language(film: Path, out: Path, wanted: str, text: str) -> None:
    assert run(film, out, "--audio_stream", wanted) == 0
    (row,) = rows(out)
    assert row["text"].startswith(text)
    assert (row["uri"], row["audio_id"]) == (str(film), audio_id_of(str(film)))
    with Inference(backend=TONES) as inference:
        assert inference(film, audio_stream=wanted)["row"] == row


def test_another_stream_is_another_run(film: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(film, out) == 0
    assert run(film, out, "--audio_stream", "all") == 1
    assert "audio_stream" in capsys.readouterr().err
    assert run(film, out, "--audio_stream", "all", "--overwrite") == 0
    assert len(rows(out)) == 2


def test_file_without_the_stream_is_a_failure(film: Path, out: Path) -> None:
    assert run(film, out, "--audio_stream", "de") == 2
    (failure,) = failures(out)
    assert failure["kind"] == "no_such_stream"
    known = "the file has, counted from 0: 0 (eng), 1 (fre, 'Film', default)"
    assert f"no audio stream in 'de'; {known}" in failure["message"]
    with Inference(backend=TONES, audio_stream="de") as inference, pytest.raises(TranscriptionError):
        inference(film)


def test_each_of_all_streams_is_a_row_with_files_of_its_own(film: Path, out: Path) -> None:
    assert run(film, out, "--audio_stream", "all", "--format", "jsonl,srt") == 0
    audio_id = audio_id_of(str(film))
    found = {row["audio_id"]: row for row in rows(out)}
    assert [(name, row["uri"]) for name, row in found.items()] == [
        (f"{audio_id}-s{n}", f"{film}#track={n}") for n in (0, 1)
    ]
    assert [row["language"] for row in found.values()] == ["en", "fr"]
    assert [[one["taken"] for one in row["audio_streams"]] for row in found.values()] == [
        [True, False],
        [False, True],
    ]
    assert [row["problem"] for row in found.values()] == [None, None]
    assert sorted(path.name for path in (out / "srt").iterdir()) == [
        f"film.{audio_id}-s{n}.srt" for n in (0, 1)
    ]
    assert (counts(out)["recordings"], counts(out)["transcribed"]) == (2, 2)


@pytest.mark.parametrize("wanted", ["default", "all", "en"])
def test_rows_of_a_beam_pipeline_are_those_of_the_command(film: Path, out: Path, wanted: str) -> None:
    written = lines_of_command([film], out, TONES, audio_stream=wanted)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        uris = pipeline | beam.Create([str(film)])
        collect((uris | Transcribe(backend=TONES, audio_stream=wanted)).rows, "rows")
    assert lines(COLLECTED["rows"]) == written[0]


def test_second_passes_and_resumed_runs_take_the_same_streams(tmp_path: Path, out: Path) -> None:
    sounds = (
        Sound(silence(80)),
        Sound(tones(80, french_from=70)),
        Sound(tones(80, start=100, french_from=170)),
    )
    write_film(tmp_path / "films/film.mkv", *sounds)
    texts = ["", *(" ".join(f"en{second}" for second in range(at, at + 80)) for at in (0, 100))]
    for wanted, expected in (("default", texts[1:2]), ("2", texts[2:]), ("all", texts)):
        folder = out / wanted
        flags = ("--windows", "grid", "--audio_stream", wanted)
        assert run(tmp_path / "films", folder, *flags) == 0
        assert [row["text"] for row in rows(folder)] == expected
        assert counts(folder)["windows_redone"] > 0
        whole = files(folder)
        (folder / "_SUCCESS").unlink()
        LOADED.clear()
        assert run(tmp_path / "films", folder, *flags) == 0
        assert LOADED == []
        assert files(folder) == whole


def test_ranges_of_several_workers_take_the_same_stream(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = Sound(silence(150)), Sound(tones(150)), Sound(tones(150, start=200))
    path = write_film(tmp_path / "film.mkv", *sounds)
    assert run(path, out / "one") == 0
    monkeypatch.setattr(run_module, "in_this_process", lambda *_: False)
    assert run(path, out / "several", "--max_span_s", "30") == 0
    assert rows(out / "one") == rows(out / "several")
    assert rows(out / "one")[0]["text"] == expected_text("en", 150)


def test_part_of_a_file_takes_the_stream_of_the_file(tmp_path: Path, out: Path) -> None:
    sounds = Sound(tones(5, start=90), disposition=DEFAULT), Sound(tones(60))
    write_film(tmp_path / "film.mkv", *sounds)
    lines = [{"audio": "film.mkv", "start": 2, "end": 4}, {"audio": "film.mkv", "start": 40, "end": 42}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path / "m.jsonl", out) == 2  # the default stream ends before the second part
    assert [row["text"] for row in rows(out)] == ["en92 en93"]
    assert [failure["kind"] for failure in failures(out)] == ["empty"]
    assert run(tmp_path / "m.jsonl", out / "second", "--audio_stream", "1") == 0
    assert [row["text"] for row in rows(out / "second")] == ["en2 en3", "en40 en41"]
