from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from apache_beam.pvalue import TaggedOutput

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from transforms import read
from transforms.dataset_files import dataset_work
from transforms.dataset_rows import DatasetShard
from transforms.errors import AudioError
from transforms.logs import _RecordFactory
from transforms.manifests import manifest_shards
from transforms.policy import FetchPolicy
from transforms.progress import PROGRESS
from transforms.read import OpenWork, ReadWindows, caught
from transforms.types import AudioSource, AudioSpan, Failure, Recording, Window
from transforms.units import Begun, Ended, SpanResult, Unit
from transforms.uris import audio_source
from transforms.windows import WindowPlan
from transforms.work import name_of

LANGUAGES = ("en", "fr", "de")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PROGRESS.reset()


def wav(path: Path, seconds: float) -> Path:
    soundfile.write(path, np.full(int(seconds * SAMPLE_RATE), 0.1, np.float32), SAMPLE_RATE)
    return path


def outputs(results: Iterator[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"main": []}
    for result in results:
        if isinstance(result, TaggedOutput):
            found.setdefault(result.tag, []).append(result.value)
        else:
            found["main"].append(result)
    return found


def reading(span: AudioSpan, plan: WindowPlan | None = None) -> dict[str, list[Any]]:
    """What is read of a span: windows with their sources, recordings, failures."""
    begun, *steps, ended = ReadWindows(plan or WindowPlan(30, 5)).process(Unit("key", span, 2, 1))
    assert (begun[1], ended[1]) == (Begun("key", 2, alone=True), Ended())
    assert len({name for name, _ in (begun, *steps, ended)}) == 1
    found: dict[str, list[Any]] = {"main": [], read.RECORDINGS: [], read.FAILURES: []}
    for _, step in steps:
        match step:
            case Recording():
                found[read.RECORDINGS].append(step)
            case Failure():
                found[read.FAILURES].append(step)
            case _:
                found["main"].append(step)
    return found


def test_workers_keep_credentials_out_of_their_logs() -> None:
    before = logging.getLogRecordFactory()
    try:
        for work in (OpenWork("en", LANGUAGES), ReadWindows(WindowPlan(30, 5))):
            logging.setLogRecordFactory(logging.LogRecord)
            work.setup()
            assert isinstance(logging.getLogRecordFactory(), _RecordFactory)
    finally:
        logging.setLogRecordFactory(before)


def test_a_dataset_from_elsewhere_names_no_file_of_this_machine() -> None:
    table = pa.table({"audio": ["/etc/passwd", "a.wav", "https://h/b.wav", "file:///etc/passwd"]})
    with fsspec.open("memory://data/x.parquet", "wb") as file:
        pq.write_table(table, file)
    shard = DatasetShard("d", "train", 0, "memory://data/x.parquet", "audio", None)
    found = outputs(OpenWork("en", LANGUAGES).process(shard))
    assert [span.source.uri for span in found["main"]] == ["memory://data/a.wav", "https://h/b.wav"]
    assert [(failure.uri, failure.kind) for failure in found[read.FAILURES]] == [
        ("dataset://d/train/0/0", "forbidden_uri"), ("dataset://d/train/0/3", "forbidden_uri"),
    ]  # fmt: skip
    assert "/etc/passwd is a file of the machine" in found[read.FAILURES][0].message
    trusting = OpenWork("en", LANGUAGES, policy=FetchPolicy(trust_manifests=True))
    assert len(outputs(trusting.process(shard))["main"]) == 4


def test_a_file_gives_its_windows_then_what_it_is(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = reading(AudioSpan(source, "fr"))
    assert [(window.index, window.pieces, window.language) for _, window in found["main"]] == [
        (0, ((0, 30 * SAMPLE_RATE),), "fr"),
        (1, ((25 * SAMPLE_RATE, 55 * SAMPLE_RATE),), "fr"),
        (2, ((50 * SAMPLE_RATE, 70 * SAMPLE_RATE),), "fr"),
    ]
    (recording,) = found[read.RECORDINGS]
    assert recording.source.audio_id == source.audio_id
    assert (recording.duration_s, recording.n_windows) == (70.0, 3)
    assert found[read.FAILURES] == []
    assert PROGRESS.tally().recordings == 1
    assert PROGRESS.tally().audio_s == pytest.approx(70.0)  # shared seconds are counted once


class Now:
    """A detector that takes one fifth of each 3.2 s for speech."""

    n_heard = 0

    def __call__(self, samples: Samples) -> Samples:
        numbers = np.arange(self.n_heard // SPEECH_CHUNK, (self.n_heard + len(samples)) // SPEECH_CHUNK)
        self.n_heard += len(samples)
        return (numbers % 100 < 20).astype(np.float32)

    def finish(self) -> Samples:
        return np.zeros(int(self.n_heard % SPEECH_CHUNK > 0), np.float32)


def test_silence_that_no_window_holds_is_progress_too(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 8)))
    found = reading(AudioSpan(source), WindowPlan(30, 5, Now))
    ((_, window),) = found["main"]
    assert len(window.pieces) == 3
    assert window.pieces[-1][1] < 8 * SAMPLE_RATE
    assert PROGRESS.tally().audio_s == pytest.approx(8.0)


def test_a_payload_goes_no_further_than_the_reader(tmp_path: Path) -> None:
    payload = wav(tmp_path / "a.wav", 1).read_bytes()
    found = reading(AudioSpan(audio_source("dataset://d/0", payload)))
    assert [source.payload for source, _ in found["main"]] == [None]
    assert found[read.RECORDINGS][0].source.payload is None


def test_a_second_look_gives_the_windows_wanted_and_is_counted_nowhere(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = reading(AudioSpan(source, "en", frozenset({1})))
    assert [window.index for _, window in found["main"]] == [1]
    assert found[read.RECORDINGS] == []
    assert (PROGRESS.tally().recordings, PROGRESS.tally().audio_s) == (0, 0.0)


def test_what_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(tmp_path / "missing.wav"))
    found = reading(AudioSpan(source))
    (failure,) = found[read.FAILURES]
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "fetch", "not_found")
    assert found["main"] == []
    assert PROGRESS.tally().recordings == 1


def test_truncated_audio_gives_both_its_windows_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = audio_source("/a.mp3", b"what is decoded does not matter")
    cut = Recording(source, 12.5, 1, truncated=True, problem="the file ends in the middle of a frame")
    window = Window(source.audio_id, 0, ((0, 200_000),), np.zeros(200_000, np.float32), 200_000)
    monkeypatch.setattr(read, "read_windows", lambda *args: iter([window, cut]))
    found = reading(AudioSpan(source))
    assert len(found["main"]) == len(found[read.RECORDINGS]) == 1
    (failure,) = found[read.FAILURES]
    assert (failure.stage, failure.kind) == ("decode", "truncated")
    assert "in the middle of a frame" in failure.message
    assert "12.50 s" in failure.message


def two_speakers(path: Path, *channels: float) -> Path:
    """A second for each channel: its level, the same in all its samples."""
    data = np.stack([np.full(SAMPLE_RATE, level, np.float32) for level in channels], axis=1)
    soundfile.write(path, data, SAMPLE_RATE, subtype="FLOAT")
    return path


def test_split_makes_a_recording_of_each_channel(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", 0.1, 0.2, 0.3)))
    (span,) = outputs(OpenWork(None, LANGUAGES, split=True).process(source))["main"]
    found = reading(span)
    ids = [f"{source.audio_id}-{channel}" for channel in range(3)]
    assert [(one.audio_id, one.channel, one.uri) for one, _ in found["main"]] == [
        (ids[channel], channel, source.uri) for channel in range(3)
    ]
    assert [window.audio_id for _, window in found["main"]] == ids
    assert [window.samples[0] for _, window in found["main"]] == pytest.approx([0.1, 0.2, 0.3])
    assert [recording.source.audio_id for recording in found[read.RECORDINGS]] == ids
    assert (
        SpanResult("k", recordings=tuple(found[read.RECORDINGS])).all_counts()["listed"] == 2
    )  # and the file
    assert (PROGRESS.tally().recordings, PROGRESS.tally().audio_s) == (1, pytest.approx(3.0))


def test_a_file_of_one_channel_splits_into_one(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = reading(AudioSpan(source, split=True))
    assert [recording.source.channel for recording in found[read.RECORDINGS]] == [0]


def test_a_channel_alone_is_the_file(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", 0.1, 0.2)))
    (span,) = outputs(OpenWork(None, LANGUAGES, 1).process(source))["main"]
    found = reading(span)
    ((one, window),) = found["main"]
    assert (one.audio_id, one.channel) == (source.audio_id, 1)
    assert window.samples[0] == pytest.approx(0.2)


def test_a_channel_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = reading(AudioSpan(replace(source, channel=1)))
    (failure,) = found[read.FAILURES]
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "decode", "no_such_channel")
    assert "the file has 1" in failure.message
    assert found["main"] == []


def test_one_broken_channel_costs_the_others_nothing(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", np.nan, 0.2)))
    found = reading(AudioSpan(source, split=True))
    (failure,) = found[read.FAILURES]
    assert (failure.audio_id, failure.kind) == (f"{source.audio_id}-0", "not_finite")
    assert [recording.source.channel for recording in found[read.RECORDINGS]] == [1]


def test_a_file_that_cannot_be_read_is_one_failure_however_it_is_split() -> None:
    source = audio_source("x", b"<html>")
    found = reading(AudioSpan(source, split=True))
    (failure,) = found[read.FAILURES]
    assert (failure.audio_id, failure.kind) == (source.audio_id, "not_audio")


def broken(error: Exception) -> Iterator[int]:
    yield 1
    raise error


def test_known_and_unknown_exceptions_become_failures_without_credentials() -> None:
    source = AudioSource("id", "https://me:pw@host/a.mp3")
    known = list(caught(broken(AudioError("fetch", "timeout", "60 s", retryable=True)), source, "decode"))
    assert known == [1, Failure("id", "https://host/a.mp3", "fetch", "timeout", "60 s", retryable=True)]
    _, unknown = caught(broken(ZeroDivisionError("by zero")), source, "decode")
    assert isinstance(unknown, Failure)
    assert (unknown.stage, unknown.kind, unknown.uri) == ("decode", "unexpected", "https://host/a.mp3")
    assert "ZeroDivisionError: by zero" in unknown.message


def test_an_interrupt_is_no_failure() -> None:
    def interrupted() -> Iterator[int]:
        raise KeyboardInterrupt
        yield 1

    with pytest.raises(KeyboardInterrupt):
        list(caught(interrupted(), AudioSource("id", "u"), "decode"))


def test_a_file_is_one_span_and_its_own_origin() -> None:
    source = audio_source("/a.wav")
    found = outputs(OpenWork("fr", LANGUAGES).process(source))
    assert found["main"] == [AudioSpan(source, "fr")]
    assert found[read.ORIGINS] == [(source.audio_id, source)]


def test_a_shard_is_a_span_a_row_and_a_broken_one_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(
        pa.table({"audio": [{"bytes": b"a", "path": "a.wav"}, {"bytes": b"b", "path": "b.wav"}]}), path
    )
    (shard,) = dataset_work(str(path), "train")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    assert [span.source.payload for span in found["main"]] == [b"a", b"b"]
    assert found[read.ORIGINS] == [(span.source.audio_id, shard) for span in found["main"]]
    path.write_bytes(b"no parquet")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    (failure,) = found[read.FAILURES]
    assert (failure.stage, failure.uri) == ("list", name_of(shard).uri)


def test_a_recording_has_its_own_language_if_the_model_knows_it() -> None:
    french, klingon = (replace(audio_source("/a.wav"), language=code) for code in ("fr", "tlh"))
    found = outputs(OpenWork("en", LANGUAGES).process(french))
    assert [span.language for span in found["main"]] == ["fr"]
    found = outputs(OpenWork("en", LANGUAGES).process(klingon))
    assert found["main"] == []
    (failure,) = found[read.FAILURES]
    assert (failure.stage, failure.kind) == ("list", "other_language")
    assert "it is said to be in 'tlh', and the model knows de, en, fr alone" in failure.message


def test_what_a_list_says_wrong_is_a_failure_and_a_recording_done(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text\na.wav\n")
    (shard,) = manifest_shards(f"{tmp_path}/m.csv")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    assert [failure.kind for failure in found[read.FAILURES]] == ["bad_line"]
    assert PROGRESS.tally().recordings == 1


def test_a_part_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    source = replace(audio_source(str(wav(tmp_path / "a.wav", 70))), start_s=20.0, end_s=60.0)
    found = reading(AudioSpan(source, "fr"))
    assert [window.pieces for _, window in found["main"]] == [
        ((0, 30 * SAMPLE_RATE),), ((25 * SAMPLE_RATE, 40 * SAMPLE_RATE),),
    ]  # fmt: skip
    (recording,) = found[read.RECORDINGS]
    assert (recording.duration_s, recording.truncated) == (40.0, False)
