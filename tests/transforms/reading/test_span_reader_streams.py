"""`SpanReader` on files with several audio streams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import LoudnessDetector
from tests.support.several_streams import Sound, several_streams, silence
from tests.support.span_reading import KNOWN, PLAN, read
from transforms.core.audio_streams import StreamInfo
from transforms.core.types import AudioSource, AudioSpan, of_channel
from transforms.core.uris import audio_source


def level(height: float, seconds: float = 1) -> Samples:
    """The same level in all samples."""
    return np.full(round(seconds * SAMPLE_RATE), height, np.float32)


def film(path: Path, *sounds: Sound) -> AudioSource:
    path.write_bytes(several_streams(sounds))
    return audio_source(str(path))


SOUNDS = (Sound(level(0.1), "ger"), Sound(level(0.2), "eng", "Film", Disposition.default), Sound(level(0.3)))
INFOS = (StreamInfo(0, "ger"), StreamInfo(1, "eng", "Film", default=True), StreamInfo(2))


def test_the_default_stream_is_read_and_the_part_has_all(tmp_path: Path) -> None:
    found = read(AudioSpan(film(tmp_path / "a.mkv", *SOUNDS)))
    ((source, window),) = found.windows
    assert (source.stream, source.audio_id) == (None, audio_source(source.uri).audio_id)
    assert window.samples[0] == pytest.approx(0.2, abs=1e-4)
    (part,) = found.parts
    assert part.streams == tuple(replace(one, taken=one.index == 1) for one in INFOS)


def test_each_of_all_streams_is_a_recording(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", *SOUNDS)
    found = read(AudioSpan(source, all_streams=True))
    assert [(one.audio_id, one.stream, one.name) for one, _ in found.windows] == [
        (f"{source.audio_id}-s{n}", n, f"{source.uri}#track={n}") for n in range(3)
    ]
    assert [window.samples[0] for _, window in found.windows] == pytest.approx([0.1, 0.2, 0.3], abs=1e-4)
    assert [[one.taken for one in part.streams].index(True) for part in found.parts] == [0, 1, 2]
    assert [one.n_tracks for one in found.ended] == [3, 3, 3]
    assert found.tally.recordings == 1


def test_all_streams_of_a_file_with_one_are_one_recording(tmp_path: Path) -> None:
    found = read(AudioSpan(film(tmp_path / "a.mkv", SOUNDS[0]), all_streams=True))
    (part,) = found.parts
    assert (part.source.stream, part.streams) == (0, ())


def test_all_streams_of_a_channel_and_a_channel_of_a_stream(tmp_path: Path) -> None:
    source = of_channel(film(tmp_path / "a.mkv", *SOUNDS), 0)
    found = read(AudioSpan(source, all_streams=True))
    file = audio_source(source.uri).audio_id
    assert [part.source.audio_id for part in found.parts] == [f"{file}-s{n}-0" for n in range(3)]
    found = read(AudioSpan(replace(audio_source(source.uri), stream="de"), split=True))
    assert [(part.source.audio_id, part.streams[0].taken) for part in found.parts] == [(f"{file}-0", True)]


def test_streams_that_are_done_are_not_read_again(tmp_path: Path) -> None:
    found = read(
        AudioSpan(film(tmp_path / "a.mkv", *SOUNDS), all_streams=True),
        known=replace(KNOWN, done=((0, (0, None)), (2, (0, None))), n_tracks=3),
    )
    assert [one.stream for one, _ in found.windows] == [1]
    assert [one.key for one in found.started] == ["key/1/0"]


def test_a_stream_without_samples_does_not_affect_the_others(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound(silence(0)), SOUNDS[1])
    found = read(AudioSpan(source, all_streams=True))
    (failure,) = found.failures
    assert (failure.audio_id, failure.kind) == (f"{source.audio_id}-s0", "empty")
    assert failure.uri == f"{source.uri}#track=0"
    assert [part.source.stream for part in found.parts] == [1]


def test_a_file_without_the_stream_is_a_failure(tmp_path: Path) -> None:
    source = replace(film(tmp_path / "a.mkv", *SOUNDS), stream="fr")
    (failure,) = read(AudioSpan(source)).failures
    assert (failure.audio_id, failure.kind) == (source.audio_id, "no_such_stream")
    assert "0 (ger), 1 (eng, 'Film', default), 2" in failure.message
    (failure,) = read(AudioSpan(audio_source("x", b"<html>"), all_streams=True)).failures
    assert failure.kind == "not_audio"


def test_ranges_parts_and_a_second_pass_take_the_same_stream(tmp_path: Path) -> None:
    loud = np.concatenate([level(0.2, 60), level(0.4, 60)])
    source = film(tmp_path / "a.mkv", Sound(silence(120)), Sound(loud), Sound(level(0.5, 120)))
    plan = replace(PLAN, detector=LoudnessDetector)
    clip = replace(source, start_s=70.0, end_s=80.0)
    spans = [
        AudioSpan(source, start_s=60, stop_s=90),
        AudioSpan(clip),
        AudioSpan(source, "en", frozenset({3})),
    ]
    for span in spans:
        found = read(span, plan)
        assert found.failures == []
        assert [window.samples[-1] for _, window in found.windows][-1] == pytest.approx(0.4, abs=1e-4)
        assert [[one.index for one in part.streams if one.taken] for part in found.parts] in ([[1]], [])
