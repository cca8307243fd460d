"""Every format that can be encoded here: whole, cut, and damaged."""

from __future__ import annotations

import io
from functools import cache
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.audio.plane import AudioPlane
from av.audio.stream import AudioStream

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import decoded, encoded, ffmpeg_encoded, flipped, siren
from transforms.audio.decoder import AudioReader
from transforms.core.errors import AudioError
from transforms.core.recording_parts import TOLERANCE_S

SECONDS = 8.0
WANTED = siren(SECONDS)


class Case(NamedTuple):
    """A format, and how well it is known to hold the siren.

    Attributes:
        codec: FFmpeg's name; None when libsndfile encodes `subtype`.
        least: correlation with what was encoded.
        cut: what half of the file is: `said` to be truncated, `unknown`, as nothing tells, or `refused`.
    """

    fmt: str
    codec: str | None
    rate: int = SAMPLE_RATE
    subtype: str = ""
    least: float = 0.997
    cut: str = "said"


LIBSNDFILE = [
    Case(fmt, None, subtype=subtype)
    for fmt, subtypes in {
        "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM"),
        "WAVEX": ("PCM_16", "FLOAT"),
        "W64": ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"),
        "RF64": ("PCM_16", "DOUBLE", "ALAW"),
        "AIFF": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"),
        "AU": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "G721_32"),
        "CAF": ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAC_16", "ALAC_24"),
        "FLAC": ("PCM_S8", "PCM_16", "PCM_24"),
        "NIST": ("PCM_16", "ULAW"),
        "SVX": ("PCM_16",),
        "VOC": ("PCM_16", "ALAW"),
        "MP3": ("MPEG_LAYER_III",),
        "OGG": ("OPUS",),
    }.items()
    for subtype in subtypes
]  # fmt: skip

LIBSNDFILE.append(Case("OGG", None, subtype="VORBIS", cut="refused"))  # its pages are of 5 s

FFMPEG = [
    Case("wav", "pcm_s64le"),
    Case("aiff", "pcm_s16be"),
    Case("wav", "adpcm_yamaha"),
    Case("wav", "g722", least=0.99),
    Case("wav", "g726", 8_000, least=0.99),
    Case("wav", "libmp3lame", 44_100),
    Case("caf", "pcm_s16le"),
    Case("caf", "alac", 44_100, cut="refused"),
    Case("flac", "flac", 44_100),
    Case("tta", "tta", 44_100),
    Case("wv", "wavpack", 44_100),
    Case("ircam", "pcm_s16le", cut="unknown"),
    Case("mp3", "libmp3lame", 44_100),
    Case("mp3", "libmp3lame", 22_050),
    Case("mp2", "mp2", 44_100),
    Case("ogg", "libopus", 48_000),
    Case("ogg", "flac", 44_100),
    Case("ipod", "aac", 44_100, cut="refused"),
    Case("ipod", "alac", 44_100, cut="refused"),
    Case("mp4", "libopus", 48_000, cut="refused"),
    Case("mp4", "flac", 48_000, cut="refused"),
    Case("mov", "pcm_s24le", 48_000, cut="refused"),
    Case("3gp", "libopencore_amrnb", 8_000, least=0.6, cut="refused"),
    Case("ismv", "aac", 44_100),
    Case("adts", "aac", 44_100),
    Case("webm", "libopus", 48_000),
    Case("matroska", "aac", 48_000),
    Case("matroska", "pcm_f32le", 48_000),
    Case("matroska", "flac", 48_000),
    Case("amr", "libopencore_amrnb", 8_000, least=0.6),
    Case("asf", "wmav2", 44_100),
    Case("asf", "wmav1", 44_100),
    Case("avi", "libmp3lame", 44_100),
    Case("avi", "pcm_s16le", 44_100),
    Case("flv", "aac", 44_100),
    Case("mpegts", "aac", 48_000, cut="unknown"),
    Case("mpeg", "mp2", 48_000, cut="unknown"),
    Case("ac3", "ac3", 48_000, cut="unknown"),
]
CASES = LIBSNDFILE + FFMPEG


def name_of(case: Case) -> str:
    return "-".join(str(part) for part in case[:4] if part)


@cache
def file_of(case: Case) -> bytes:
    samples = siren(SECONDS, case.rate)
    if case.codec is None:
        return encoded(samples, case.rate, case.fmt, case.subtype)
    bit_rate = {"libopencore_amrnb": 12_200, "g722": None, "g726": None}.get(case.codec, 96_000)
    return ffmpeg_encoded(samples, case.fmt, case.codec, case.rate, bit_rate=bit_rate)


def likeness(found: Samples, stop_s: float) -> float:
    """Correlation with what was encoded, from 1 s on, where the codec's delay makes it largest."""
    wanted = WANTED[SAMPLE_RATE : int(stop_s * SAMPLE_RATE)]
    reach = SAMPLE_RATE // 12
    n = len(wanted) + 2 * reach
    around = found[SAMPLE_RATE - reach : SAMPLE_RATE - reach + n]
    size = 1 << (n + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(around, size) * np.fft.rfft(wanted, size).conj(), size)
    at = int(products[: 2 * reach].argmax())
    return float(np.corrcoef(around[at : at + len(wanted)], wanted)[0, 1])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_whole_file_is_decoded_whole(case: Case) -> None:
    reader, samples = decoded(file_of(case))
    assert reader.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert (reader.truncated, reader.problem, reader.n_channels) == (False, None, 1)
    assert likeness(samples, SECONDS - 1) > case.least
    if reader.declared_s is not None:
        assert reader.declared_s == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_of_half_a_file_nothing_is_lost_without_a_word(case: Case) -> None:
    data = file_of(case)
    half = data[: len(data) // 2 + 37]
    if case.cut == "refused":  # what tells where the sound is was at the end
        with pytest.raises(AudioError) as caught:
            decoded(half)
        assert caught.value.kind == "corrupt"
        return
    reader, samples = decoded(half)
    assert reader.truncated == (case.cut == "said")
    assert bool(reader.problem) == reader.truncated
    assert reader.decoded_s < SECONDS - 1
    assert likeness(samples, 2.0) > case.least - 0.02
    if reader.declared_s is not None:
        assert reader.declared_s == pytest.approx(SECONDS, rel=0.12)


CONSTANT_RATE = [case for case in CASES if "PCM" in case.subtype or "pcm" in (case.codec or "")]


@pytest.mark.parametrize("case", CONSTANT_RATE, ids=name_of)
def test_all_that_is_in_half_a_file_is_decoded(case: Case) -> None:
    if case.cut == "refused" or case.fmt == "FLAC":
        return
    data = file_of(case)
    reader, _ = decoded(data[: len(data) // 2])
    assert reader.decoded_s == pytest.approx(SECONDS / 2, abs=0.15)


def is_told(reader: AudioReader) -> bool:
    return reader.truncated and bool(reader.problem)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_flipped_bits_lose_nothing_without_a_word(case: Case) -> None:
    reader, samples = decoded(flipped(file_of(case)))
    assert abs(reader.decoded_s - SECONDS) < TOLERANCE_S or reader.problem
    assert np.isfinite(samples).all()
    assert reader.decoded_s < SECONDS - 1 or likeness(samples, 2.5) > case.least - 0.02


@pytest.mark.parametrize("rate", [8_000, 11_025, 32_000, 44_100, 88_200, 192_000, 352_800, 384_000])
def test_all_sample_rates(rate: int) -> None:
    reader, samples = decoded(encoded(siren(3, rate), rate, subtype="PCM_24"))
    assert reader.decoded_s == pytest.approx(3, abs=0.001)
    assert likeness(samples, 2.5) > 0.999


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 16, 64])
@pytest.mark.parametrize("fmt", ["WAV", "WAVEX", "AIFF", "CAF"])
def test_all_numbers_of_channels(fmt: str, channels: int) -> None:
    sound = np.zeros((SAMPLE_RATE, channels), np.float32)
    sound[:, -1] = WANTED[:SAMPLE_RATE]
    data = encoded(sound, fmt=fmt)
    reader, mixed = decoded(data)
    assert reader.n_channels == channels
    np.testing.assert_allclose(mixed, WANTED[:SAMPLE_RATE] / channels, atol=1e-4)
    _, last = decoded(data, channels - 1)
    np.testing.assert_allclose(last, WANTED[:SAMPLE_RATE], atol=1e-4)


@pytest.mark.parametrize("layout", ["5.1", "7.1", "hexadecagonal"])
def test_channels_that_lie_apart_in_memory(layout: str) -> None:
    """PyAV takes what is behind eight planes for more of them, and crashes."""
    sound = np.zeros((av.AudioLayout(layout).nb_channels, 48_000), np.float32)
    sound[1] = siren(1, 48_000)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("wavpack", rate=48_000, layout=layout)
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame(format="fltp", layout=layout, samples=48_000)
        frame.sample_rate = 48_000
        for index, values in enumerate(sound):
            AudioPlane(frame, index).update(
                values.tobytes().ljust(AudioPlane(frame, index).buffer_size, b"\0")
            )
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for channel, n_expected in ((0, 0), (1, 1), (len(sound) - 1, 0)):
        reader, samples = decoded(file.getvalue(), channel)
        assert reader.n_channels == len(sound)
        assert np.abs(samples).max() == pytest.approx(0.3 * n_expected, abs=0.02)


def variable_mp3(seconds: float) -> bytes:
    """Quiet, then loud, so that frames differ in size; and nothing says how many there are."""
    samples = siren(seconds, 44_100)
    samples[: len(samples) // 2] *= 0.001
    options, codec_options = {"write_xing": "0", "id3v2_version": "0"}, {"q": "2", "global_quality": "236"}
    return ffmpeg_encoded(samples, "mp3", "libmp3lame", 44_100, options, codec_options, bit_rate=None)


def test_a_variable_mp3_without_a_xing_header_is_decoded_to_its_end() -> None:
    reader, _ = decoded(variable_mp3(20))
    assert reader.decoded_s == pytest.approx(20, abs=0.1)
    assert (reader.declared_s, reader.truncated) == (None, False)


@pytest.mark.parametrize("n_lost", [1, 50, 137, 5_000])
def test_an_mp3_that_ends_within_a_frame_was_cut(n_lost: int) -> None:
    reader, _ = decoded(variable_mp3(8)[:-n_lost])
    assert is_told(reader)
    assert "the end of the file is not whole" in str(reader.problem)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(200), bytes(3000)])
def test_tags_behind_an_mp3_are_no_damage(tail: bytes) -> None:
    reader, _ = decoded(variable_mp3(3) + tail)
    assert reader.decoded_s == pytest.approx(3, abs=0.1)
    assert not reader.truncated


def test_joined_ogg_files_are_whole() -> None:
    one = encoded(siren(4, 48_000), 48_000, "OGG", "OPUS")
    reader, _ = decoded(one + one)
    assert reader.decoded_s == pytest.approx(8, abs=0.1)
    assert (reader.truncated, reader.problem) == (False, None)


def test_a_page_that_an_ogg_file_lost_is_told() -> None:
    data = encoded(siren(SECONDS, 48_000), 48_000, "OGG", "OPUS")
    pages = data.split(b"OggS")[1:]
    middle = len(pages) // 2
    reader, _ = decoded(b"".join(b"OggS" + page for n, page in enumerate(pages) if n != middle))
    assert reader.decoded_s < SECONDS - TOLERANCE_S
    assert reader.truncated
    assert f"{SECONDS - reader.decoded_s:.1f}" in str(reader.problem)
    assert "missing in between" in str(reader.problem)


def test_an_mp4_in_fragments_can_be_cut() -> None:
    samples = siren(SECONDS, 44_100)
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
    data = ffmpeg_encoded(samples, "mp4", "aac", 44_100, flags)
    reader, _ = decoded(data)
    assert reader.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert not reader.truncated
    reader, _ = decoded(data[: len(data) // 2])
    assert reader.decoded_s == pytest.approx(SECONDS / 2, abs=0.6)
    assert is_told(reader)
