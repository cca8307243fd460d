"""Reading that begins at a later place gives what reading from the start gives from there on."""

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
from tests.support.encoding import encoded, ffmpeg_encoded, flipped, patched, siren, speechlike
from transforms.audio.decoder import AudioReader
from transforms.audio.pcm_seek import exact_place
from transforms.core.errors import AudioError
from transforms.core.sections import Chapters
from transforms.core.types import Damage


class Short(Chapters):
    """Heard from 30, 90 and 150 s: shorter than chapters may be, so that the tests read less."""

    def heard_from_s(self, number: int) -> int:
        return max(60 * number - 30, 0)


SHORT = Short()
SECONDS = 190


class Read(NamedTuple):
    reader: AudioReader
    samples: Samples


def read(data: bytes, start_s: int = 0, channel: int | None = None, chapters: Chapters = SHORT) -> Read:
    reader = AudioReader(io.BytesIO(data), channel, chapters=chapters, start_s=start_s)
    return Read(reader, np.concatenate([np.zeros(0, np.float32), *reader.blocks()]))


def assert_same_from(data: bytes, start_s: int, channel: int | None = None) -> None:
    """Samples, damage behind the place, and what holds of the file."""
    whole, later = read(data, 0, channel), read(data, start_s, channel)
    np.testing.assert_array_equal(later.samples, whole.samples[start_s * SAMPLE_RATE :])
    for stop_s in (start_s + 30, 180, None):
        assert later.reader.damage(start_s, stop_s) == whole.reader.damage(start_s, stop_s)
    assert later.reader.decoded_s == whole.reader.decoded_s
    assert later.reader.declared_s == whole.reader.declared_s
    assert later.reader.n_channels == whole.reader.n_channels


def stereo(rate: int, seconds: float = SECONDS) -> Samples:
    """Two channels, that cancel each other in the third minute."""
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
def test_uncompressed_samples_are_sought(fmt: str, subtype: str) -> None:
    data = encoded(stereo(4_000), 4_000, fmt, subtype)
    assert 89 < exact_place(io.BytesIO(data), 90) / 4_000 <= 90
    for start_s in (30, 90, 150):
        assert_same_from(data, start_s)


@pytest.mark.parametrize("codec", ["pcm_s64le", "pcm_f32le"])
def test_what_ffmpeg_alone_writes_is_sought_too(codec: str) -> None:
    data = ffmpeg_encoded(siren(100, 8_000), "wav", codec, 8_000, bit_rate=None)
    assert exact_place(io.BytesIO(data), 90)
    assert_same_from(data, 90)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "FLAC"])
def test_all_rates_can_be_taken_up(fmt: str, rate: int) -> None:
    assert_same_from(encoded(stereo(rate, 125), rate, fmt), 90)


@pytest.mark.parametrize(("fmt", "subtype"), OTHERS)
def test_what_cannot_be_sought_is_decoded_from_the_start(fmt: str, subtype: str) -> None:
    data = encoded(stereo(8_000), 8_000, fmt, subtype)
    assert exact_place(io.BytesIO(data), 90) == 0
    for start_s in (30, 150):
        assert_same_from(data, start_s)


@pytest.mark.parametrize(("fmt", "codec", "rate"), BY_FFMPEG)
def test_what_ffmpeg_encodes_is_decoded_from_the_start(fmt: str, codec: str, rate: int) -> None:
    bit_rate = 12_200 if codec == "libopencore_amrnb" else 48_000
    data = ffmpeg_encoded(siren(130, rate), fmt, codec, rate, bit_rate=bit_rate)
    assert exact_place(io.BytesIO(data), 90) == 0
    assert_same_from(data, 90)


@cache
def float_wav(rate: int) -> bytes:
    sound = stereo(rate)
    sound[::50_000] = np.nan
    sound[62 * rate : 63 * rate, 1] = np.inf
    return encoded(sound, rate, subtype="FLOAT")


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([4_000, 11_025, 16_000]),
    start_s=st.sampled_from([30, 90, 150]),
    channel=st.sampled_from([None, 0, 1]),
    n_lost=st.integers(0, 2_000_000),
)
def test_cut_files_with_what_is_no_sound_can_be_taken_up(
    rate: int, start_s: int, channel: int | None, n_lost: int
) -> None:
    data = float_wav(rate)
    assert_same_from(data[: max(len(data) - n_lost, len(data) // 3)], start_s, channel)


@pytest.mark.parametrize("n_lost", range(1, 9))
def test_a_last_sample_that_is_not_whole_is_no_other_damage_from_a_later_place(n_lost: int) -> None:
    data = encoded(stereo(4_000, 100)[: 97 * 4_096 + 1], 4_000, subtype="PCM_24")
    assert_same_from(data[:-n_lost], 90)


@pytest.mark.parametrize("start_s", [30, 60, 120, 180])
def test_another_place_than_a_chapters_is_as_good_but_for_the_last_bits(start_s: int) -> None:
    data = encoded(stereo(11_025), 11_025)
    expected = read(data).samples[start_s * SAMPLE_RATE :]
    found = read(data, start_s).samples
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(found, read(data, start_s).samples)


@pytest.mark.parametrize("fmt", ["WAV", "FLAC"])
@pytest.mark.parametrize("start_s", [120, 150, 600])
def test_behind_the_end_there_is_nothing(fmt: str, start_s: int) -> None:
    data = encoded(stereo(11_025, 100.2), 11_025, fmt)
    reader, samples = read(data, start_s)
    assert len(samples) == 0
    assert reader.decoded_s == read(data).reader.decoded_s == 100.2
    assert (reader.n_channels, reader.declared_s) == (2, pytest.approx(100.2))
    assert (reader.truncated, reader.problem) == (False, None)


@pytest.mark.parametrize("start_s", [30, 90])
def test_headers_that_lie_do_not_move_what_is_heard(start_s: int) -> None:
    data = encoded(stereo(8_000), 8_000)
    n_bytes = len(data) - 44
    for size in (0, n_bytes // 2, 2 * n_bytes, 0xFFFF_FFFF):
        assert_same_from(patched(patched(data, 4, "<I", size), 40, "<I", size), start_s)
    for offset, fmt, value in [(28, "<I", 8_000), (28, "<I", 64_000), (32, "<H", 2), (32, "<H", 12)]:
        assert_same_from(patched(data, offset, fmt, value), start_s)  # bytes a second, bytes a sample


def test_a_second_chunk_of_samples_is_found_from_anywhere() -> None:
    data = encoded(stereo(4_000), 4_000)
    middle = 44 + 100 * 4 * 4_000
    first = patched(data[:middle], 40, "<I", middle - 44)
    assert_same_from(first + b"data" + (len(data) - middle).to_bytes(4, "little") + data[middle:], 90)
    assert_same_from(first + b"data" + (len(data) - middle).to_bytes(4, "little") + data[middle:], 150)


@pytest.mark.parametrize("start_s", [30, 90])
def test_damaged_packets_are_told_where_they_are(start_s: int) -> None:
    data = flipped(ffmpeg_encoded(siren(SECONDS, 16_000), "ipod", "aac", 16_000), 300)
    whole = read(data).reader
    assert whole.damage(0, None).n_damaged == whole.damage(90, 120).n_damaged > 0
    assert_same_from(data, start_s)
    assert read(data, 150).reader.problem is None


def test_what_an_ogg_file_lost_is_told_where_it_is() -> None:
    pages = encoded(siren(SECONDS, 8_000), 8_000, "OGG", "OPUS").split(b"OggS")[1:]
    middle = len(pages) // 2
    data = b"".join(b"OggS" + page for n, page in enumerate(pages) if n not in (middle, len(pages) - 1))
    whole = read(data).reader
    assert whole.damage(90, 120).lost_s > 0.3
    assert whole.damage(0, 90) + whole.damage(120, 180) == Damage()
    assert whole.damage(180, None).broke_off is not None
    assert_same_from(data, 30)
    assert_same_from(data, 150)


def test_a_range_may_be_asked_for_while_reading_goes_on() -> None:
    data = float_wav(11_025)
    whole = read(data).reader
    reader = AudioReader(io.BytesIO(data), chapters=SHORT)
    n_samples, asked_s = 0, 0
    for block in reader.blocks():
        n_samples += len(block)
        while n_samples >= (asked_s + 30) * SAMPLE_RATE:
            assert reader.damage(asked_s, asked_s + 30) == whole.damage(asked_s, asked_s + 30) != Damage()
            asked_s += 30
    assert asked_s == 180
    parts = [whole.damage(0, 60), whole.damage(60, 150), whole.damage(150, None)]
    assert parts[0] + parts[1] + parts[2] == whole.damage(0, None)
    assert whole.damage(120, 180).cancelled_s == 30  # decided for 30 s at a time


def joined_mp3s() -> bytes:
    return b"".join(
        encoded(siren(seconds, rate), rate, "MP3", "MPEG_LAYER_III")
        for seconds, rate in ((50, 48_000), (75, 24_000), (40, 44_100))
    )


@pytest.mark.parametrize("start_s", [30, 90, 150])
def test_a_rate_that_changes_is_read_from_its_start(start_s: int) -> None:
    assert_same_from(joined_mp3s(), start_s)


def test_a_part_without_a_real_sample_is_silence() -> None:
    sound = stereo(8_000)
    sound[: 100 * 8_000] = np.nan
    assert_same_from(encoded(sound, 8_000, subtype="FLOAT"), 30)  # where it is held back from 0
    assert_same_from(encoded(sound[::-1], 8_000, subtype="FLOAT"), 150)


def test_a_channel_that_is_not_there_is_no_silence_anywhere() -> None:
    for fmt in ("WAV", "FLAC"):
        with pytest.raises(AudioError, match="there is no channel 2, as the file has 2"):
            read(encoded(stereo(8_000), 8_000, fmt), 90, channel=2)


def test_a_channel_that_comes_later_is_in_its_place() -> None:
    mono, two = siren(130, 16_000), np.stack([siren(40, 16_000)] * 2, axis=1)
    data = b"".join(encoded(sound, 16_000, "MP3", "MPEG_LAYER_III") for sound in (mono, two, mono))
    for start_s in (30, 90, 150):
        assert_same_from(data, start_s, channel=1)


@pytest.mark.parametrize("start_s", [-30, 1, 45])
def test_reading_begins_at_a_block(start_s: int) -> None:
    with pytest.raises(ValueError, match=f"{start_s} s"):
        AudioReader(io.BytesIO(), start_s=start_s)


@pytest.mark.parametrize("start_s", [30, 3600])
def test_what_is_no_audio_is_none_from_a_later_place(start_s: int) -> None:
    for data in (b"hello world" * 1000, encoded(speechlike(1))[:44]):
        with pytest.raises(AudioError):
            read(data, start_s)


class CountingWav(EndlessWav):
    """Says how much of it was read."""

    n_read = 0

    def read(self, size: int = -1) -> bytes:
        content = super().read(size)
        self.n_read += len(content)
        return content


def test_of_ten_hours_only_the_last_minutes_are_read() -> None:
    file = CountingWav(600)
    reader = AudioReader(cast("io.BufferedReader", file), start_s=10 * 3600 - 60)
    assert sum(map(len, reader.blocks())) == 60 * SAMPLE_RATE
    assert reader.decoded_s == 36_000
    assert file.n_read < 100 * RATE * 2 + 2_000_000
