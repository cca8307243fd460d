from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from tests.support.encoding import ffmpeg_encoded, siren
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source
from transforms.fetch.policy import FetchPolicy
from transforms.reading.range_split import MIN_BYTES_PER_S, WHOLE, split_into_ranges

POLICY = FetchPolicy()


@pytest.fixture
def source(tmp_path: Path) -> AudioSource:
    """150 seconds."""
    soundfile.write(tmp_path / "a.flac", np.zeros(150 * 8_000, np.int16), 8_000)
    return audio_source(str(tmp_path / "a.flac"))


def test_a_long_recording_is_split_and_the_last_range_has_the_rest(source: AudioSource) -> None:
    assert split_into_ranges(source, 60, POLICY) == ((0, 60), (60, 120), (120, None))
    assert split_into_ranges(source, 150, POLICY) == split_into_ranges(source, 1800, POLICY) == WHOLE


def test_payloads_clips_and_urls_are_not_split(source: AudioSource) -> None:
    content = Path(source.uri).read_bytes()
    for one in (
        replace(source, payload=content),
        replace(source, start_s=3.0),
        replace(source, end_s=140.0),
        replace(source, uri="https://example.org/a.flac"),
    ):
        assert split_into_ranges(one, 60, POLICY) == WHOLE


def test_a_file_that_cannot_be_read_is_one_range(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"<html>")
    for name in ("a.wav", "missing.wav", ""):
        assert split_into_ranges(audio_source(str(tmp_path / name)), 60, POLICY) == WHOLE
    assert split_into_ranges(audio_source("nonsense://a/b.wav"), 60, POLICY) == WHOLE


def test_an_object_is_opened_in_place_unless_its_host_is_private(source: AudioSource) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/a.flac", Path(source.uri).read_bytes())
    assert split_into_ranges(audio_source("memory://a.flac"), 60, POLICY) == ((0, 60), (60, 120), (120, None))
    assert split_into_ranges(audio_source("sftp://127.0.0.1/a.flac"), 60, POLICY) == WHOLE


@pytest.mark.parametrize("declared_s", [1e6, 1e10, 1e13, 9e15, 1e300, float("inf"), float("nan"), -1e13])
def test_a_declared_length_is_bounded_by_the_size_of_the_file(tmp_path: Path, declared_s: float) -> None:
    data = ffmpeg_encoded(siren(5, 16_000), "matroska", "aac", 16_000)
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration, in milliseconds
    path = tmp_path / "a.mkv"
    path.write_bytes(data[:at] + struct.pack(">d", declared_s * 1000) + data[at + 8 :])
    found = split_into_ranges(audio_source(str(path)), 60, POLICY)
    assert len(found) <= 1 + len(data) / MIN_BYTES_PER_S / 60
    assert (found[0][0], found[-1][1]) == (0, None)


def test_ranges_end_at_the_longest_recording_that_is_read(
    monkeypatch: pytest.MonkeyPatch, source: AudioSource
) -> None:
    monkeypatch.setattr("transforms.reading.range_split.MAX_DURATION_S", 90.0)
    assert split_into_ranges(source, 60, POLICY) == ((0, 60), (60, None))
