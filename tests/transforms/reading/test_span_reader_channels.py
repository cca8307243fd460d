"""`SpanReader` on files with several channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from tests.support.span_reading import KNOWN, read, wav
from transforms.core.types import AudioSpan, of_channel
from transforms.core.uris import audio_source


def multichannel(path: Path, *channels: float) -> Path:
    """A second for each channel: its level, the same in all its samples."""
    data = np.stack([np.full(SAMPLE_RATE, level, np.float32) for level in channels], axis=1)
    soundfile.write(path, data, SAMPLE_RATE, subtype="FLOAT")
    return path


def test_each_channel_of_a_split_file_is_a_recording(tmp_path: Path) -> None:
    source = audio_source(str(multichannel(tmp_path / "a.wav", 0.1, 0.2, 0.3)))
    found = read(AudioSpan(source, split=True))
    ids = [f"{source.audio_id}-{channel}" for channel in range(3)]
    assert [(one.audio_id, one.channel, one.uri) for one, _ in found.windows] == [
        (ids[channel], channel, source.uri) for channel in range(3)
    ]
    assert [window.audio_id for _, window in found.windows] == ids
    assert [window.samples[0] for _, window in found.windows] == pytest.approx([0.1, 0.2, 0.3])
    assert [part.source.audio_id for part in found.parts] == ids
    assert (found.tally.recordings, found.tally.audio_s) == (1, pytest.approx(3.0))


def test_a_split_file_of_one_channel_is_one_recording(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = read(AudioSpan(source, split=True))
    assert [part.source.channel for part in found.parts] == [0]


def test_a_chosen_channel_has_the_id_of_the_file(tmp_path: Path) -> None:
    source = audio_source(str(multichannel(tmp_path / "a.wav", 0.1, 0.2)))
    found = read(AudioSpan(replace(source, channel=1)))
    ((one, window),) = found.windows
    assert (one.audio_id, one.channel) == (source.audio_id, 1)
    assert window.samples[0] == pytest.approx(0.2)


def test_a_missing_channel_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = read(AudioSpan(replace(source, channel=1)))
    (failure,) = found.failures
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "decode", "no_such_channel")
    assert "the file has 1" in failure.message
    assert found.windows == []


def test_a_channel_by_its_line_is_the_only_one_of_a_mono_file(tmp_path: Path) -> None:
    source = of_channel(audio_source(str(wav(tmp_path / "a.wav", 1))), 1)
    found = read(AudioSpan(source))
    ((one, _),) = found.windows
    assert (one.audio_id, one.channel, found.failures) == (source.audio_id, 1, [])
    source = of_channel(audio_source(str(multichannel(tmp_path / "b.wav", 0.1, 0.2))), 2)
    (failure,) = read(AudioSpan(source)).failures
    assert (failure.audio_id, failure.kind) == (source.audio_id, "no_such_channel")


def test_a_broken_channel_does_not_affect_the_others(tmp_path: Path) -> None:
    source = audio_source(str(multichannel(tmp_path / "a.wav", np.nan, 0.2)))
    found = read(AudioSpan(source, split=True))
    (failure,) = found.failures
    assert (failure.audio_id, failure.kind) == (f"{source.audio_id}-0", "not_finite")
    assert [part.source.channel for part in found.parts] == [1]


def test_a_split_file_that_cannot_be_read_is_one_failure() -> None:
    source = audio_source("x", b"<html>")
    found = read(AudioSpan(source, split=True))
    (failure,) = found.failures
    assert (failure.audio_id, failure.kind) == (source.audio_id, "not_audio")


def test_only_missing_channels_are_read(tmp_path: Path) -> None:
    source = audio_source(str(multichannel(tmp_path / "a.wav", 0.1, 0.2, 0.3)))
    found = read(
        AudioSpan(source, split=True),
        known=replace(KNOWN, done=((0, (0, None)), (2, (0, None))), n_tracks=3),
    )
    assert [one.channel for one, _ in found.windows] == [1]
    assert [one.key for one in found.started] == ["key/1/0"]
    everything = read(AudioSpan(source, split=True))
    assert [one.n_tracks for one in everything.ended] == [3, 3, 3]
