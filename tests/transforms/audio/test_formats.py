"""Every format that can be encoded here: intact, truncated, and damaged."""

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
from tests.support.encoding import (
    INTACT,
    condition_of,
    decoded,
    encoded,
    ffmpeg_encoded,
    flipped,
    patched,
    siren,
)
from tests.support.timed_files import remuxed
from transforms.audio.downmix import mix_weights
from transforms.core.errors import AudioError
from transforms.core.recording_parts import TOLERANCE_S

SECONDS = 8.0
WANTED = siren(SECONDS)


class Case(NamedTuple):
    """A format, and how well it preserves the siren.

    Attributes:
        codec: FFmpeg's name; None if libsndfile encodes `subtype`.
        min_correlation: with the encoded samples.
        half: result of the first half of the file: `reported` as truncated, `undetected`, or `refused`.
    """

    fmt: str
    codec: str | None
    rate: int = SAMPLE_RATE
    subtype: str = ""
    min_correlation: float = 0.997
    half: str = "reported"


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

LIBSNDFILE.append(Case("OGG", None, subtype="VORBIS", half="refused"))  # its pages are 5 s long

FFMPEG = [
    Case("wav", "pcm_s64le"),
    Case("aiff", "pcm_s16be"),
    Case("wav", "adpcm_yamaha"),
    Case("wav", "g722", min_correlation=0.99),
    Case("wav", "g726", 8_000, min_correlation=0.99),
    Case("wav", "libmp3lame", 44_100),
    Case("caf", "pcm_s16le"),
    Case("caf", "alac", 44_100, half="refused"),
    Case("flac", "flac", 44_100),
    Case("tta", "tta", 44_100),
    Case("wv", "wavpack", 44_100),
    Case("ircam", "pcm_s16le", half="undetected"),
    Case("mp3", "libmp3lame", 44_100),
    Case("mp3", "libmp3lame", 22_050),
    Case("mp2", "mp2", 44_100),
    Case("ogg", "libopus", 48_000),
    Case("ogg", "flac", 44_100),
    Case("ipod", "aac", 44_100, half="refused"),
    Case("ipod", "alac", 44_100, half="refused"),
    Case("mp4", "libopus", 48_000, half="refused"),
    Case("mp4", "flac", 48_000, half="refused"),
    Case("mov", "pcm_s24le", 48_000, half="refused"),
    Case("3gp", "libopencore_amrnb", 8_000, min_correlation=0.6, half="refused"),
    Case("ismv", "aac", 44_100),
    Case("adts", "aac", 44_100),
    Case("webm", "libopus", 48_000),
    Case("matroska", "aac", 48_000),
    Case("matroska", "pcm_f32le", 48_000),
    Case("matroska", "flac", 48_000),
    Case("amr", "libopencore_amrnb", 8_000, min_correlation=0.6),
    Case("asf", "wmav2", 44_100),
    Case("asf", "wmav1", 44_100),
    Case("avi", "libmp3lame", 44_100),
    Case("avi", "pcm_s16le", 44_100),
    Case("flv", "aac", 44_100),
    Case("mpegts", "aac", 48_000, half="undetected"),
    Case("mpeg", "mp2", 48_000, half="undetected"),
    Case("ac3", "ac3", 48_000, half="undetected"),
    Case("nut", "libopus", 48_000, half="undetected"),
    Case("rm", "ac3", 44_100, half="undetected"),
]
CASES = LIBSNDFILE + FFMPEG


def failure_source(case: Case) -> str:
    return "-".join(str(part) for part in case[:4] if part)


@cache
def file_of(case: Case) -> bytes:
    samples = siren(SECONDS, case.rate)
    if case.codec is None:
        return encoded(samples, case.rate, case.fmt, case.subtype)
    bit_rate = {"libopencore_amrnb": 12_200, "g722": None, "g726": None}.get(case.codec, 96_000)
    return ffmpeg_encoded(samples, case.fmt, case.codec, case.rate, bit_rate=bit_rate)


def correlation(found: Samples, stop_s: float) -> float:
    """Correlation with the encoded samples, from 1 s on, at the codec delay that maximizes it."""
    wanted = WANTED[SAMPLE_RATE : int(stop_s * SAMPLE_RATE)]
    reach = SAMPLE_RATE // 12
    n = len(wanted) + 2 * reach
    around = found[SAMPLE_RATE - reach : SAMPLE_RATE - reach + n]
    size = 1 << (n + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(around, size) * np.fft.rfft(wanted, size).conj(), size)
    delay = int(products[: 2 * reach].argmax())
    return float(np.corrcoef(around[delay : delay + len(wanted)], wanted)[0, 1])


@pytest.mark.parametrize("case", CASES, ids=failure_source)
def test_intact_file_is_decoded_completely(case: Case) -> None:
    decoder, samples = decoded(file_of(case))
    assert decoder.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert (condition_of(decoder), decoder.n_channels) == (INTACT, 1)
    assert correlation(samples, SECONDS - 1) > case.min_correlation
    if decoder.declared_s is not None:
        assert decoder.declared_s == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("case", CASES, ids=failure_source)
def test_truncation_is_reported_or_refused(case: Case) -> None:
    data = file_of(case)
    half = data[: len(data) // 2 + 37]
    if case.half == "refused":  # the index of the audio was at the end
        with pytest.raises(AudioError) as caught:
            decoded(half)
        assert caught.value.kind == "corrupt"
        return
    decoder, samples = decoded(half)
    condition = condition_of(decoder)
    assert condition.truncated == (case.half == "reported")
    assert bool(condition.problem) == condition.truncated
    assert decoder.decoded_s < SECONDS - 1
    assert correlation(samples, 2.0) > case.min_correlation - 0.02
    if decoder.declared_s is not None:
        assert decoder.declared_s == pytest.approx(SECONDS, rel=0.12)


CONSTANT_RATE = [case for case in CASES if "PCM" in case.subtype or "pcm" in (case.codec or "")]


@pytest.mark.parametrize("case", CONSTANT_RATE, ids=failure_source)
def test_all_samples_of_half_a_file_are_decoded(case: Case) -> None:
    if case.half == "refused" or case.fmt == "FLAC":
        return
    data = file_of(case)
    decoder, _ = decoded(data[: len(data) // 2])
    assert decoder.decoded_s == pytest.approx(SECONDS / 2, abs=0.15)


@pytest.mark.parametrize("case", CASES, ids=failure_source)
def test_losses_by_flipped_bits_are_reported(case: Case) -> None:
    decoder, samples = decoded(flipped(file_of(case)))
    assert abs(decoder.decoded_s - SECONDS) < TOLERANCE_S or condition_of(decoder).problem
    assert np.isfinite(samples).all()
    assert decoder.decoded_s < SECONDS - 1 or correlation(samples, 2.5) > case.min_correlation - 0.02


@pytest.mark.parametrize("rate", [8_000, 11_025, 32_000, 44_100, 88_200, 192_000, 352_800, 384_000])
def test_all_sample_rates(rate: int) -> None:
    decoder, samples = decoded(encoded(siren(3, rate), rate, subtype="PCM_24"))
    assert decoder.decoded_s == pytest.approx(3, abs=0.001)
    assert correlation(samples, 2.5) > 0.999


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 16, 64])
@pytest.mark.parametrize("fmt", ["WAV", "WAVEX", "AIFF", "CAF"])
def test_all_numbers_of_channels(fmt: str, channels: int) -> None:
    audio = np.zeros((SAMPLE_RATE, channels), np.float32)
    audio[:, -1] = WANTED[:SAMPLE_RATE]
    data = encoded(audio, fmt=fmt)
    decoder, mixed = decoded(data)
    assert decoder.n_channels == channels
    layout = {4: "quad", 6: "5.1", 8: "7.1(wide)"}.get(channels) if fmt == "WAVEX" else None
    weights = mix_weights(layout) if layout else None
    np.testing.assert_allclose(
        mixed, WANTED[:SAMPLE_RATE] * (weights[-1] if weights else 1 / channels), atol=1e-4
    )
    _, last = decoded(data, channels - 1)
    np.testing.assert_allclose(last, WANTED[:SAMPLE_RATE], atol=1e-4)


@pytest.mark.parametrize("layout", ["5.1", "7.1", "hexadecagonal"])
def test_planar_audio_of_many_channels(layout: str) -> None:
    """PyAV reads beyond eight planes, and crashes."""
    audio = np.zeros((av.AudioLayout(layout).nb_channels, 48_000), np.float32)
    audio[1] = siren(1, 48_000)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("wavpack", rate=48_000, layout=layout)
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame(format="fltp", layout=layout, samples=48_000)
        frame.sample_rate = 48_000
        for index, values in enumerate(audio):
            AudioPlane(frame, index).update(
                values.tobytes().ljust(AudioPlane(frame, index).buffer_size, b"\0")
            )
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for channel, n_expected in ((0, 0), (1, 1), (len(audio) - 1, 0)):
        decoder, samples = decoded(file.getvalue(), channel)
        assert decoder.n_channels == len(audio)
        assert np.abs(samples).max() == pytest.approx(0.3 * n_expected, abs=0.02)


def variable_mp3(seconds: float) -> bytes:
    """Quiet, then loud, so that frames differ in size; without a header that counts them."""
    samples = siren(seconds, 44_100)
    samples[: len(samples) // 2] *= 0.001
    options, codec_options = {"write_xing": "0", "id3v2_version": "0"}, {"q": "2", "global_quality": "236"}
    return ffmpeg_encoded(samples, "mp3", "libmp3lame", 44_100, options, codec_options, bit_rate=None)


def test_variable_bit_rate_mp3_without_a_xing_header_is_decoded_to_its_end() -> None:
    decoder, _ = decoded(variable_mp3(20))
    assert decoder.decoded_s == pytest.approx(20, abs=0.1)
    assert decoder.declared_s is None
    assert not condition_of(decoder).truncated


@pytest.mark.parametrize("n_lost", [1, 50, 137, 5_000])
def test_mp3_that_ends_within_a_frame_is_truncated(n_lost: int) -> None:
    decoder, _ = decoded(variable_mp3(8)[:-n_lost])
    condition = condition_of(decoder)
    assert condition.truncated
    assert "the end of the file is not whole" in str(condition.problem)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(200), bytes(3000)])
def test_tags_after_an_mp3_are_not_damage(tail: bytes) -> None:
    decoder, _ = decoded(variable_mp3(3) + tail)
    assert decoder.decoded_s == pytest.approx(3, abs=0.1)
    assert not condition_of(decoder).truncated


READ_TO_THE_END = ("AU", "NIST", "ircam", "amr")  # FFmpeg takes all that follows for sound
PADDED = [case for case in CASES if case.fmt not in READ_TO_THE_END]


@pytest.mark.parametrize("case", PADDED, ids=failure_source)
def test_zeros_after_the_end_are_no_damage(case: Case) -> None:
    _, expected = decoded(file_of(case))
    decoder, samples = decoded(file_of(case) + bytes(200_000))
    condition = condition_of(decoder)
    assert not condition.truncated
    assert condition.problem is None or case.fmt == "ac3"  # its last frame is lost
    assert len(samples) == pytest.approx(len(expected), abs=SAMPLE_RATE // 20)


def test_concatenated_ogg_files_are_intact() -> None:
    one = encoded(siren(4, 48_000), 48_000, "OGG", "OPUS")
    decoder, _ = decoded(one + one)
    assert decoder.decoded_s == pytest.approx(8, abs=0.1)
    assert condition_of(decoder) == INTACT


def test_missing_ogg_page_is_reported() -> None:
    data = encoded(siren(SECONDS, 48_000), 48_000, "OGG", "OPUS")
    pages = data.split(b"OggS")[1:]
    middle = len(pages) // 2
    _, whole = decoded(data)
    decoder, samples = decoded(b"".join(b"OggS" + page for n, page in enumerate(pages) if n != middle))
    assert len(samples) == pytest.approx(len(whole), abs=2)
    condition = condition_of(decoder)
    assert condition.truncated
    assert "missing in between" in str(condition.problem)
    assert np.abs(samples - whole[: len(samples)]).max() > 0.1  # where the page is missing
    np.testing.assert_allclose(samples[-SAMPLE_RATE:], whole[: len(samples)][-SAMPLE_RATE:], atol=0.02)


def test_truncation_of_a_fragmented_mp4_is_reported() -> None:
    samples = siren(SECONDS, 44_100)
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
    data = ffmpeg_encoded(samples, "mp4", "aac", 44_100, flags)
    decoder, _ = decoded(data)
    assert decoder.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert not condition_of(decoder).truncated
    decoder, _ = decoded(data[: len(data) // 2])
    assert decoder.decoded_s == pytest.approx(SECONDS / 2, abs=0.6)
    condition = condition_of(decoder)
    assert condition.truncated
    assert condition.problem


@pytest.mark.parametrize("video", [False, True])
def test_mp4_whose_sound_is_all_there_is_intact(video: bool) -> None:
    """The box of the samples claims more than there is."""
    data = remuxed(siren(SECONDS), "mp4", "aac", video_s=9 * video, options={"moov_size": "20000"})
    size_at = data.index(b"mdat") - 4
    assert data.index(b"moov") < size_at
    decoder, _ = decoded(patched(data, size_at, ">I", 3 * len(data)))
    assert decoder.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert condition_of(decoder) == INTACT


@pytest.mark.parametrize("n_lost", [1, 100, 10_000])
def test_mp4_that_is_cut_is_truncated(n_lost: int) -> None:
    data = remuxed(siren(SECONDS), "mp4", "aac", options={"moov_size": "20000"})
    assert condition_of(decoded(data)[0]) == INTACT
    condition = condition_of(decoded(data[:-n_lost])[0])
    assert condition.truncated
    assert "the end of the file is not whole" in str(condition.problem)


def test_sizes_in_a_wav_that_include_more_than_the_sound() -> None:
    data = encoded(siren(SECONDS))
    decoder, _ = decoded(patched(data, 4, "<I", 2 * len(data)))
    assert condition_of(decoder) == INTACT
    decoder, _ = decoded(patched(patched(data, 4, "<I", 2 * len(data)), 40, "<I", 2 * len(data)))
    assert condition_of(decoder).truncated


@pytest.mark.parametrize("n_zeros", [0, 200_000])
def test_mxf_of_pictures_and_sound(n_zeros: int) -> None:
    data = remuxed(siren(SECONDS, 48_000), "mxf", "pcm_s16le", 48_000, video_s=8)
    decoder, samples = decoded(data + bytes(n_zeros))
    assert decoder.declared_s == pytest.approx(SECONDS, abs=0.1)
    assert condition_of(decoder) == INTACT
    assert correlation(samples, SECONDS - 1) > 0.997
    assert condition_of(decoded(data[: len(data) // 2])[0]).truncated
