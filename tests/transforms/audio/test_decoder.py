from __future__ import annotations

import contextlib
import io
import tracemalloc
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import (
    INTACT,
    condition_of,
    decoded,
    encoded,
    ffmpeg_encoded,
    flipped,
    patched,
    speechlike,
    video,
)
from tests.support.stops import OwnStopError, StopAfter
from transforms.audio.decoder import AudioDecoder
from transforms.core.errors import AudioError


@pytest.mark.parametrize(
    ("fmt", "subtype"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"), ("W64", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "PCM_S8"), ("AU", "PCM_16"),
        ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("FLAC", "PCM_S8"), ("NIST", "PCM_16"),
    ],
)  # fmt: skip
def test_samples_are_those_of_libsndfile(fmt: str, subtype: str) -> None:
    data = encoded(speechlike(1.3), SAMPLE_RATE, fmt, subtype)
    decoder, samples = decoded(data)
    expected, _ = sf.read(io.BytesIO(data), dtype="float32")
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=1e-7)
    assert decoder.declared_s == pytest.approx(len(expected) / SAMPLE_RATE, abs=1e-4)
    assert condition_of(decoder) == INTACT


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_equals_one_shot_resampling(rate: int) -> None:
    original = speechlike(70, rate)  # several blocks
    decoder, samples = decoded(encoded(original, rate, subtype="FLOAT"))
    np.testing.assert_array_equal(samples, soxr.resample(original, rate, SAMPLE_RATE))
    assert decoder.decoded_s == pytest.approx(70, abs=1e-3)


def test_channels_are_averaged_or_mixed_by_their_places() -> None:
    left, right = speechlike(1, seed=1), speechlike(1, seed=2)
    channels = np.stack([left, right, right], axis=1)
    _, samples = decoded(encoded(channels, SAMPLE_RATE, "WAV"))
    np.testing.assert_allclose(samples, (left + 2 * right) / 3, atol=1e-4)
    _, samples = decoded(encoded(channels, SAMPLE_RATE, "FLAC"))  # left, right, centre
    side = 1 / (2 + 2**0.5)
    np.testing.assert_allclose(samples, side * left + (1 - side) * right, atol=1e-4)


@pytest.mark.parametrize(
    ("fmt", "codec", "declares"),
    [
        ("mp3", "libmp3lame", True), ("ogg", "libopus", False), ("webm", "libopus", True),
        ("matroska", "libopus", True), ("ipod", "aac", True), ("adts", "aac", False), ("mp4", "aac", True),
        ("mpegts", "aac", False), ("wav", "libmp3lame", True),
    ],
)  # fmt: skip
def test_formats_encoded_by_ffmpeg(fmt: str, codec: str, declares: bool) -> None:
    original = speechlike(5, 48_000)
    decoder, samples = decoded(ffmpeg_encoded(original, fmt, codec))
    assert decoder.decoded_s == pytest.approx(5, abs=0.1)
    assert (decoder.declared_s is not None) == declares
    assert condition_of(decoder) == INTACT
    spectrum = np.abs(np.fft.rfft(samples[SAMPLE_RATE : 2 * SAMPLE_RATE]))
    assert spectrum.argmax() == 220  # Hz
    assert np.abs(samples).max() == pytest.approx(0.33, abs=0.06)


@pytest.mark.parametrize("fmt", ["WAV", "RF64", "W64", "AIFF", "AU", "FLAC"])
def test_half_a_file_is_decoded_and_reported_as_truncated(fmt: str) -> None:
    data = encoded(speechlike(20), SAMPLE_RATE, fmt)
    decoder, samples = decoded(data[: len(data) // 2])
    condition = condition_of(decoder)
    assert len(samples) / SAMPLE_RATE == pytest.approx(10, abs=0.4)
    assert decoder.declared_s == pytest.approx(20, abs=0.1)
    assert condition.truncated
    assert "of 20.0" in str(condition.problem)


def test_half_a_big_endian_wav_is_reported_as_truncated() -> None:
    file = io.BytesIO()
    sf.write(file, speechlike(20), SAMPLE_RATE, format="WAV", endian="BIG")
    decoder, _ = decoded(file.getvalue()[:320_000])
    assert decoder.decoded_s == pytest.approx(10, abs=0.1)
    assert condition_of(decoder).truncated


@pytest.mark.parametrize(("fmt", "codec"), [("mp3", "libmp3lame"), ("webm", "libopus"), ("ogg", "libopus")])
def test_half_a_compressed_file_is_decoded_and_reported_as_truncated(fmt: str, codec: str) -> None:
    data = ffmpeg_encoded(speechlike(20, 48_000), fmt, codec)
    decoder, _ = decoded(data[: len(data) // 2])
    condition = condition_of(decoder)
    assert decoder.decoded_s == pytest.approx(10, abs=1.1)
    assert condition.truncated
    assert condition.problem


@pytest.mark.parametrize(
    ("fmt", "codec"), [("mp3", "libmp3lame"), ("ipod", "aac"), ("matroska", "libopus"), ("FLAC", "")]
)
def test_decoding_continues_after_damaged_bytes(fmt: str, codec: str) -> None:
    original = speechlike(20, 48_000)
    data = ffmpeg_encoded(original, fmt, codec) if codec else encoded(original, 48_000, fmt)
    decoder, _ = decoded(flipped(data))
    assert decoder.decoded_s == pytest.approx(20, abs=0.2)
    assert not condition_of(decoder).truncated


def test_audio_that_ends_before_the_video_is_not_truncated() -> None:
    decoder, _ = decoded(video(seconds=5, audio=speechlike(2, 48_000)))
    assert decoder.decoded_s == pytest.approx(2, abs=0.1)
    assert condition_of(decoder) == INTACT


def test_damaged_packets_are_counted() -> None:
    decoder, _ = decoded(flipped(ffmpeg_encoded(speechlike(20, 48_000), "ipod", "aac"), 300))
    assert "damaged packets were skipped" in str(condition_of(decoder).problem)


def test_concatenated_mp3s_are_decoded_to_the_end() -> None:
    one = ffmpeg_encoded(speechlike(5, 48_000), "mp3", "libmp3lame")
    other = ffmpeg_encoded(speechlike(5, 24_000), "mp3", "libmp3lame", rate=24_000)
    decoder, _ = decoded(one + other)
    assert decoder.decoded_s == pytest.approx(10, abs=0.15)
    assert not condition_of(decoder).truncated


def mono_then_stereo() -> bytes:
    """Two concatenated MP3s of 3 s, of one channel and of two."""
    mono, stereo = speechlike(3, 48_000), np.stack([speechlike(3, 48_000)] * 2, axis=1)
    return encoded(mono, 48_000, "MP3", "MPEG_LAYER_III") + encoded(stereo, 48_000, "MP3", "MPEG_LAYER_III")


def test_concatenated_mp3s_of_one_and_two_channels() -> None:
    decoder, samples = decoded(mono_then_stereo())
    assert decoder.decoded_s == pytest.approx(6, abs=0.2)
    halves = np.abs(samples[: 2 * SAMPLE_RATE]).mean(), np.abs(samples[-2 * SAMPLE_RATE :]).mean()
    assert halves[0] == pytest.approx(halves[1], rel=0.02)


def test_wav_without_a_length_is_decoded_to_its_end() -> None:
    data = patched(patched(encoded(speechlike(2)), 4, "<I", 0), 40, "<I", 0)
    decoder, samples = decoded(data)
    assert len(samples) == 2 * SAMPLE_RATE
    assert not condition_of(decoder).truncated


def test_wav_from_a_pipe_declares_no_length() -> None:
    data = patched(patched(encoded(speechlike(2)), 4, "<I", 0xFFFF_FFFF), 40, "<I", 0xFFFF_FFFF)
    decoder, samples = decoded(data)
    assert len(samples) == 2 * SAMPLE_RATE
    assert not condition_of(decoder).truncated


def test_header_that_declares_2_to_the_36_samples_costs_no_memory() -> None:
    flac = encoded(speechlike(2), fmt="FLAC")
    data = flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    tracemalloc.start()
    try:
        decoder, samples = decoded(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == 2 * SAMPLE_RATE
    assert decoder.declared_s == pytest.approx((2**36 - 1) / SAMPLE_RATE)
    assert condition_of(decoder).truncated
    assert peak < 10e6


def test_file_of_a_single_sample() -> None:
    decoder, samples = decoded(encoded(np.full(1, 0.5, np.float32)))
    assert samples.tolist() == [0.5]
    assert decoder.decoded_s == 1 / SAMPLE_RATE


def test_samples_above_full_scale_are_unchanged() -> None:
    loud = speechlike(1) * 100
    _, samples = decoded(encoded(loud, subtype="FLOAT"))
    np.testing.assert_array_equal(samples, loud)


WAV = encoded(speechlike(2))
NAN = np.full(SAMPLE_RATE, np.nan, np.float32)


def test_silence_is_withheld_until_a_valid_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing channel must not yield hours of silence before the error."""
    monkeypatch.setattr("transforms.audio.blocks.BLOCK_S", 1)
    blocks = AudioDecoder(io.BytesIO(encoded(speechlike(5))), channel=1).blocks()
    with pytest.raises(AudioError, match="no_such_channel"):
        next(blocks)


def test_channel_of_a_list_is_the_only_one_of_a_mono_file() -> None:
    blocks = AudioDecoder(io.BytesIO(WAV), channel=1, takes_mono=True).blocks()
    np.testing.assert_array_equal(np.concatenate(list(blocks)), decoded(WAV)[1])
    stereo = encoded(np.stack([speechlike(1)] * 2, axis=1))
    for channel, data, kind in (
        (2, stereo, "no_such_channel"),
        (1, encoded(NAN, subtype="FLOAT"), "not_fin"),
    ):
        with pytest.raises(AudioError, match=kind):
            next(AudioDecoder(io.BytesIO(data), channel=channel, takes_mono=True).blocks())


def test_channel_that_starts_later_keeps_its_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.audio.blocks.BLOCK_S", 1)
    decoder, samples = decoded(mono_then_stereo(), channel=1)
    assert decoder.n_channels == 2
    assert decoder.decoded_s == pytest.approx(6, abs=0.2)
    assert len(samples) / SAMPLE_RATE == decoder.decoded_s
    assert not samples[: int(2.9 * SAMPLE_RATE)].any()
    assert np.abs(samples[-2 * SAMPLE_RATE :]).max() > 0.2


def test_invalid_samples_become_silence_and_are_reported() -> None:
    samples = speechlike(70)
    samples[40 * SAMPLE_RATE : 40 * SAMPLE_RATE + 50] = np.nan
    decoder, found = decoded(encoded(samples, subtype="FLOAT"))
    np.testing.assert_array_equal(found, np.nan_to_num(samples))
    problem = "50 samples that are not finite, or absurd, were taken for silence"
    assert condition_of(decoder) == (False, problem)
    samples[: SAMPLE_RATE // 5] = np.inf
    assert condition_of(decoded(encoded(samples, subtype="FLOAT"))[0]).truncated


def test_channels_that_cancel_each_other_are_reported() -> None:
    voice = speechlike(70)
    phased = np.stack([voice, -0.9 * voice], axis=1)
    phased[: 30 * SAMPLE_RATE, 1] = voice[: 30 * SAMPLE_RATE]
    decoder, found = decoded(encoded(phased, subtype="FLOAT"))
    later = slice(30 * SAMPLE_RATE, None)
    np.testing.assert_allclose(found[: 30 * SAMPLE_RATE], voice[: 30 * SAMPLE_RATE], atol=1e-6)
    np.testing.assert_allclose(found[later], voice[later], atol=1e-6)
    condition = condition_of(decoder)
    assert "cancel each other for 40.00 s" in str(condition.problem)
    assert not condition.truncated


class Zeros(io.RawIOBase):
    """A WAV of silence that needs no memory, however long."""

    def __init__(self, n_samples: int) -> None:
        header = patched(patched(WAV[:44], 4, "<I", 36 + 2 * n_samples), 40, "<I", 2 * n_samples)
        self._header, self._size, self._offset = header, len(header) + 2 * n_samples, 0

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._offset + size)
        data = (
            (self._header + bytes(max(0, stop - 44)))[self._offset : stop]
            if self._offset < 44
            else bytes(max(0, stop - self._offset))
        )
        self._offset = max(self._offset, stop)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._offset = offset + (0, self._offset, self._size)[whence]
        return self._offset

    def tell(self) -> int:
        return self._offset


def peak_memory_bytes(blocks: Iterator[Samples]) -> int:
    tracemalloc.start()
    try:
        for _ in blocks:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_duration() -> None:
    def peak(minutes: int) -> int:
        file: BinaryIO = Zeros(minutes * 60 * SAMPLE_RATE)  # type: ignore[assignment]
        return peak_memory_bytes(AudioDecoder(file).blocks())

    assert peak(60) < peak(5) + 1e6


FLAC = encoded(speechlike(0.1), fmt="FLAC")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([WAV, FLAC, b"OggS", b"ID3\x04"]), st.integers(0, 40), st.binary(max_size=300))
def test_arbitrary_bytes_are_decoded_or_refused(head: bytes, kept: int, tail: bytes) -> None:
    with contextlib.suppress(AudioError):
        for block in AudioDecoder(io.BytesIO(head[:kept] + tail)).blocks():
            assert np.isfinite(block).all()


@pytest.mark.parametrize("channel", [None, 1])
def test_the_check_is_called_at_each_block_that_is_withheld_too(channel: int | None) -> None:
    data, check = encoded(np.zeros(300 * SAMPLE_RATE, np.float32), fmt="FLAC"), StopAfter(4)
    blocks = list[Samples]()
    with pytest.raises(OwnStopError):
        blocks.extend(AudioDecoder(io.BytesIO(data), channel, check=check).blocks())
    assert (check.n_made, len(blocks)) == (4, 3 if channel is None else 0)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_start_of_any_size_is_after_the_end(rate: int) -> None:
    decoder = AudioDecoder(io.BytesIO(encoded(speechlike(2, rate), rate)), start_s=30 * 10**300)
    assert list(decoder.blocks()) == []
    assert decoder.decoded_s == pytest.approx(2, abs=1e-3)
