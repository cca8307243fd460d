"""Decoding from a later position yields the samples and damage that decoding from the start yields there."""

from __future__ import annotations

import io
from functools import cache
from typing import NamedTuple, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.long_recording import RATE, EndlessWav
from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import (
    INTACT,
    condition_of,
    encoded,
    ffmpeg_encoded,
    flipped,
    patched,
    siren,
    speechlike,
)
from tests.support.timed_files import remuxed
from transforms.audio.decoder import AudioDecoder
from transforms.audio.pcm_seek import exact_position
from transforms.core.damage import Damage
from transforms.core.errors import AudioError
from transforms.core.sections import Sections


class ShortSections(Sections):
    """Warm-up at 30, 90 and 150 s: shorter sections than are allowed, so that the tests decode less."""

    def warmup_start_s(self, number: int) -> int:
        return max(60 * number - 30, 0)


SHORT = ShortSections()
SECONDS = 190


class Decoding(NamedTuple):
    decoder: AudioDecoder
    samples: Samples


def decode(data: bytes, start_s: int = 0, channel: int | None = None, sections: Sections = SHORT) -> Decoding:
    decoder = AudioDecoder(io.BytesIO(data), channel, sections=sections, start_s=start_s)
    return Decoding(decoder, np.concatenate([np.zeros(0, np.float32), *decoder.blocks()]))


def assert_same_from(data: bytes, start_s: int, channel: int | None = None) -> None:
    """Compares samples, damage after `start_s`, and attributes of the file."""
    whole, later = decode(data, 0, channel), decode(data, start_s, channel)
    np.testing.assert_array_equal(later.samples, whole.samples[start_s * SAMPLE_RATE :])
    for stop_s in (start_s + 30, 180, None):
        assert later.decoder.damage(start_s, stop_s) == whole.decoder.damage(start_s, stop_s)
    assert later.decoder.decoded_s == whole.decoder.decoded_s
    assert later.decoder.declared_s == whole.decoder.declared_s
    assert later.decoder.n_channels == whole.decoder.n_channels


def stereo(rate: int, seconds: float = SECONDS) -> Samples:
    """Two channels, which cancel each other for 40 s from 120 s on."""
    left, right = siren(seconds, rate), speechlike(seconds, rate)
    part = slice(120 * rate, 160 * rate)
    right[part] = -left[part]
    return np.stack([left, right], axis=1)


PCM = [
    (fmt, subtype)
    for fmt, subtypes in {
        "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
        "WAVEX": ("PCM_16", "FLOAT"),
        "W64": ("PCM_16", "PCM_24", "FLOAT", "ULAW"),
        "RF64": ("PCM_16", "DOUBLE", "ALAW"),
        "AIFF": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"),
        "AU": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
        "CAF": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"),
    }.items()
    for subtype in subtypes
]
OTHERS = [
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "ALAC_16"),
    ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("NIST", "PCM_16"), ("VOC", "PCM_16"),
]  # fmt: skip
BY_FFMPEG = [
    ("ipod", "aac", 44_100), ("adts", "aac", 16_000), ("webm", "libopus", 48_000),
    ("matroska", "flac", 8_000), ("mov", "pcm_s16le", 8_000),
    ("mpegts", "aac", 16_000), ("asf", "wmav2", 16_000),
    ("wv", "wavpack", 11_025), ("tta", "tta", 11_025), ("amr", "libopencore_amrnb", 8_000),
]  # fmt: skip


@pytest.mark.parametrize(("fmt", "subtype"), PCM)
def test_uncompressed_formats_are_seekable(fmt: str, subtype: str) -> None:
    data = encoded(stereo(4_000), 4_000, fmt, subtype)
    assert 89 < exact_position(io.BytesIO(data), 90) / 4_000 <= 90
    for start_s in (30, 90, 150):
        assert_same_from(data, start_s)


@pytest.mark.parametrize("codec", ["pcm_s64le", "pcm_f32le"])
def test_uncompressed_formats_of_ffmpeg_alone_are_seekable(codec: str) -> None:
    data = ffmpeg_encoded(siren(100, 8_000), "wav", codec, 8_000, bit_rate=None)
    assert exact_position(io.BytesIO(data), 90)
    assert_same_from(data, 90)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "FLAC"])
def test_decoding_from_a_section_at_all_rates(fmt: str, rate: int) -> None:
    assert_same_from(encoded(stereo(rate, 125), rate, fmt), 90)


@pytest.mark.parametrize(("fmt", "subtype"), OTHERS)
def test_compressed_formats_are_decoded_from_the_start(fmt: str, subtype: str) -> None:
    data = encoded(stereo(8_000), 8_000, fmt, subtype)
    assert exact_position(io.BytesIO(data), 90) == 0
    for start_s in (30, 150):
        assert_same_from(data, start_s)


@pytest.mark.parametrize(("fmt", "codec", "rate"), BY_FFMPEG)
def test_compressed_formats_of_ffmpeg_are_decoded_from_the_start(fmt: str, codec: str, rate: int) -> None:
    bit_rate = 12_200 if codec == "libopencore_amrnb" else 48_000
    data = ffmpeg_encoded(siren(130, rate), fmt, codec, rate, bit_rate=bit_rate)
    assert exact_position(io.BytesIO(data), 90) == 0
    assert_same_from(data, 90)


@cache
def float_wav(rate: int) -> bytes:
    audio = stereo(rate)
    audio[::50_000] = np.nan
    audio[62 * rate : 63 * rate, 1] = np.inf
    return encoded(audio, rate, subtype="FLOAT")


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([4_000, 11_025, 16_000]),
    start_s=st.sampled_from([30, 90, 150]),
    channel=st.sampled_from([None, 0, 1]),
    n_lost=st.integers(0, 2_000_000),
)
def test_truncated_files_with_invalid_samples(
    rate: int, start_s: int, channel: int | None, n_lost: int
) -> None:
    data = float_wav(rate)
    assert_same_from(data[: max(len(data) - n_lost, len(data) // 3)], start_s, channel)


@pytest.mark.parametrize("n_lost", range(1, 9))
def test_incomplete_last_sample_is_the_same_damage_from_a_later_start(n_lost: int) -> None:
    data = encoded(stereo(4_000, 100)[: 97 * 4_096 + 1], 4_000, subtype="PCM_24")
    assert_same_from(data[:-n_lost], 90)


@pytest.mark.parametrize("start_s", [30, 60, 120, 180])
def test_start_within_a_section_differs_by_rounding_only(start_s: int) -> None:
    data = encoded(stereo(11_025), 11_025)
    expected = decode(data).samples[start_s * SAMPLE_RATE :]
    found = decode(data, start_s).samples
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(found, decode(data, start_s).samples)


@pytest.mark.parametrize("fmt", ["WAV", "FLAC"])
@pytest.mark.parametrize("start_s", [120, 150, 600])
def test_start_after_the_end_yields_nothing(fmt: str, start_s: int) -> None:
    data = encoded(stereo(11_025, 100.2), 11_025, fmt)
    decoder, samples = decode(data, start_s)
    assert len(samples) == 0
    assert decoder.decoded_s == decode(data).decoder.decoded_s == 100.2
    assert (decoder.n_channels, decoder.declared_s) == (2, pytest.approx(100.2))
    assert condition_of(decoder, start_s) == INTACT


@pytest.mark.parametrize("start_s", [30, 90])
def test_wrong_headers_do_not_move_samples(start_s: int) -> None:
    data = encoded(stereo(8_000), 8_000)
    n_bytes = len(data) - 44
    for size in (0, n_bytes // 2, 2 * n_bytes, 0xFFFF_FFFF):
        assert_same_from(patched(patched(data, 4, "<I", size), 40, "<I", size), start_s)
    for offset, fmt, value in [(28, "<I", 8_000), (28, "<I", 64_000), (32, "<H", 2), (32, "<H", 12)]:
        assert_same_from(patched(data, offset, fmt, value), start_s)  # bytes per second, bytes per sample


def test_second_chunk_of_samples_is_found_from_any_start() -> None:
    data = encoded(stereo(4_000), 4_000)
    middle = 44 + 100 * 4 * 4_000
    first = patched(data[:middle], 40, "<I", middle - 44)
    assert_same_from(first + b"data" + (len(data) - middle).to_bytes(4, "little") + data[middle:], 90)
    assert_same_from(first + b"data" + (len(data) - middle).to_bytes(4, "little") + data[middle:], 150)


@pytest.mark.parametrize("start_s", [30, 90])
def test_damaged_packets_are_located(start_s: int) -> None:
    data = flipped(ffmpeg_encoded(siren(SECONDS, 16_000), "ipod", "aac", 16_000), 300)
    whole = decode(data).decoder
    assert whole.damage(0, None).n_damaged == whole.damage(90, 120).n_damaged > 0
    assert_same_from(data, start_s)
    assert condition_of(decode(data, 150).decoder, 150).problem is None


def test_missing_ogg_page_is_located() -> None:
    pages = encoded(siren(SECONDS, 8_000), 8_000, "OGG", "OPUS").split(b"OggS")[1:]
    middle = len(pages) // 2
    data = b"".join(b"OggS" + page for n, page in enumerate(pages) if n not in (middle, len(pages) - 1))
    whole = decode(data).decoder
    assert whole.damage(90, 120).lost_s > 0.3
    assert whole.damage(0, 90) + whole.damage(120, 180) == Damage()
    assert whole.damage(180, None).read_error is not None
    assert_same_from(data, 30)
    assert_same_from(data, 150)


@pytest.mark.parametrize(("fmt", "codec"), [("matroska", "aac"), ("mpegts", "aac"), ("matroska", "pcm_u8")])
def test_late_sound_and_gaps_are_the_same_from_any_start(fmt: str, codec: str) -> None:
    for rate in (16_000, 11_025):
        samples = siren(100, rate)
        data = remuxed(samples, fmt, codec, rate, shift_s=lambda time_s: 7 + 70 * (time_s > 45), video_s=190)
        whole = decode(data).decoder
        assert whole.damage(30, 60).lost_s == pytest.approx(70, abs=0.1)
        assert whole.decoded_s == pytest.approx(177, abs=0.2)
        for start_s in (30, 90, 150):
            assert_same_from(data, start_s)


def test_damage_of_a_range_is_final_once_it_is_decoded() -> None:
    data = float_wav(11_025)
    whole = decode(data).decoder
    decoder = AudioDecoder(io.BytesIO(data), sections=SHORT)
    n_samples, checked_s = 0, 0
    for block in decoder.blocks():
        n_samples += len(block)
        while n_samples >= (checked_s + 30) * SAMPLE_RATE:
            assert (
                decoder.damage(checked_s, checked_s + 30)
                == whole.damage(checked_s, checked_s + 30)
                != Damage()
            )
            checked_s += 30
    assert checked_s == 180
    parts = [whole.damage(0, 60), whole.damage(60, 150), whole.damage(150, None)]
    assert parts[0] + parts[1] + parts[2] == whole.damage(0, None)
    assert whole.damage(120, 180).cancelled_s == 30  # decided for 30 s at a time


def joined_mp3s() -> bytes:
    return b"".join(
        encoded(siren(seconds, rate), rate, "MP3", "MPEG_LAYER_III")
        for seconds, rate in ((50, 48_000), (75, 24_000), (40, 44_100))
    )


@pytest.mark.parametrize("start_s", [30, 90, 150])
def test_file_whose_rate_changes(start_s: int) -> None:
    assert_same_from(joined_mp3s(), start_s)


def test_range_without_valid_samples_is_silence() -> None:
    audio = stereo(8_000)
    audio[: 100 * 8_000] = np.nan
    assert_same_from(encoded(audio, 8_000, subtype="FLOAT"), 30)  # from 0, this silence is withheld
    assert_same_from(encoded(audio[::-1], 8_000, subtype="FLOAT"), 150)


def test_missing_channel_is_an_error_from_any_start() -> None:
    for fmt in ("WAV", "FLAC"):
        with pytest.raises(AudioError, match="there is no channel 2, as the file has 2"):
            decode(encoded(stereo(8_000), 8_000, fmt), 90, channel=2)


def test_channel_that_starts_later_keeps_its_position() -> None:
    mono, two = siren(130, 16_000), np.stack([siren(40, 16_000)] * 2, axis=1)
    data = b"".join(encoded(audio, 16_000, "MP3", "MPEG_LAYER_III") for audio in (mono, two, mono))
    for start_s in (30, 90, 150):
        assert_same_from(data, start_s, channel=1)


@pytest.mark.parametrize("start_s", [-30, 1, 45])
def test_start_is_a_multiple_of_a_block(start_s: int) -> None:
    with pytest.raises(ValueError, match=f"{start_s} s"):
        AudioDecoder(io.BytesIO(), start_s=start_s)


@pytest.mark.parametrize("start_s", [30, 3600])
def test_invalid_audio_is_refused_from_any_start(start_s: int) -> None:
    for data in (b"hello world" * 1000, encoded(speechlike(1))[:44]):
        with pytest.raises(AudioError):
            decode(data, start_s)


class CountingWav(EndlessWav):
    """Counts the bytes read."""

    n_read = 0

    def read(self, size: int = -1) -> bytes:
        content = super().read(size)
        self.n_read += len(content)
        return content


def test_of_ten_hours_only_the_last_minutes_are_read() -> None:
    file = CountingWav(600)
    decoder = AudioDecoder(cast("io.BufferedReader", file), start_s=10 * 3600 - 60)
    assert sum(map(len, decoder.blocks())) == 60 * SAMPLE_RATE
    assert decoder.decoded_s == 36_000
    assert file.n_read < 100 * RATE * 2 + 2_000_000
