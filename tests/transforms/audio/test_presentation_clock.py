from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import INTACT, condition_of, decoded, ffmpeg_encoded, siren
from tests.support.timed_files import gap, late, remuxed
from transforms.audio.decoder import AudioDecoder
from transforms.audio.downmix import values_of
from transforms.audio.presentation_clock import (
    MAX_GAP_S,
    NO_GAP,
    Gap,
    PresentationClock,
    clock_of,
    silent_frames,
)

FRAME_S = 0.02


def frame(start_s: float | None, rate: int = 8_000, unit: Fraction = Fraction(1, 90_000)) -> av.AudioFrame:
    """A frame of 20 ms."""
    samples = np.zeros((1, round(FRAME_S * rate)), np.float32)
    made = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    made.sample_rate, made.time_base = rate, unit
    made.pts = None if start_s is None else round(start_s / unit)
    return made


def gaps(starts_s: Iterable[float | None], clock: PresentationClock | None = None) -> list[tuple[int, Gap]]:
    """The gaps that a clock finds, each with the number of the frame after it."""
    clock = clock or PresentationClock()
    found = [clock.feed(frame(start_s)) for start_s in starts_s]
    return [(number, Gap(*np.round(one, 3))) for number, one in enumerate(found) if one != NO_GAP]


def line(n_frames: int, start_s: float = 0.0, step_s: float = FRAME_S) -> list[float]:
    return [start_s + number * step_s for number in range(n_frames)]


@pytest.mark.parametrize(
    "starts_s",
    [
        line(1000), line(1000, 7_000.0),  # a live stream, joined late
        [round(start_s, 3) for start_s in line(3000, step_s=0.0213)],  # milliseconds, and a clock that drifts
        [round(start_s, 3) for start_s in line(3000, step_s=0.0187)],
        [start_s + 0.03 * (number % 3 == 1) for number, start_s in enumerate(line(1000))],  # jitter
        [*line(100), *line(100, 2.1)],  # too short
        [*line(100), None, None, *line(100, 2.04)],
        [*line(600), *line(600)],  # two recordings, joined
        [*line(100), *line(5, 1.0), *line(100, 2.1)],  # times go back, as by an error
        [],
    ],
)  # fmt: skip
def test_times_that_are_nearly_those_of_the_samples_have_no_gap(starts_s: list[float | None]) -> None:
    assert gaps(starts_s) == []


@pytest.mark.parametrize(
    ("starts_s", "expected"),
    [
        ([*line(100), *line(100, 22.0)], [(100, Gap(20.0, 20.0))]),
        ([*line(100), None, *line(100, 22.0)], [(101, Gap(19.98, 19.98))]),
        ([*line(100), *line(100, 2.2), *line(100, 9.2)], [(100, Gap(0.2, 0.2)), (200, Gap(5.0, 5.0))]),
        ([*line(600), *line(600), *line(9, 13.0)], [(1200, Gap(1.0, 1.0))]),  # in the second recording
        ([2.5 * start_s for start_s in line(12)], [(4, Gap(0.12, 0.12)), (8, Gap(0.12, 0.12))]),
        ([*line(100), *line(100, 1e9)], [(100, Gap(0.0, 1e9 - 2))]),
        ([*line(100), *line(100, 3.0 + MAX_GAP_S)], [(100, Gap(0.0, MAX_GAP_S + 1))]),
    ],
)  # fmt: skip
def test_jumps_of_the_times_are_gaps(starts_s: list[float | None], expected: list[tuple[int, Gap]]) -> None:
    assert gaps(starts_s) == expected


def test_frames_of_another_rate_have_no_times() -> None:
    clock = PresentationClock()
    frames = [frame(0), frame(0.02), frame(5, 16_000), frame(9, 16_000), frame(20), frame(20.02)]
    assert [clock.feed(one) for one in frames] == [NO_GAP] * 6
    assert clock.end_s == pytest.approx(20.04)


@pytest.mark.parametrize(
    ("origin_s", "packet_s", "start_s", "expected"),
    [
        (None, 7.0, 7.0, NO_GAP),
        (1.4, 1.45, 1.45, NO_GAP),
        (1.4, 6.4, 6.4, Gap(5.0)),
        (1.4, 6.3, 6.4, Gap(5.0)),
        (0.0, -0.115, 0.0, NO_GAP),  # samples that the decoder drops
        (-0.115, -0.115, 0.0, NO_GAP),
        (9.0, 0.0, 0.0, NO_GAP),
        (0.0, 1e9, 1e9, Gap(0.0, 1e9)),
    ],
)
def test_streams_that_begin_after_another_one(
    origin_s: float | None, packet_s: float, start_s: float, expected: Gap
) -> None:
    clock = PresentationClock(origin_s=origin_s)
    packet: av.Packet[av.AudioStream] = av.Packet(b"x")
    packet.time_base, packet.pts = Fraction(1, 90_000), round(packet_s * 90_000)
    clock.start(packet)
    found = clock.feed(frame(start_s))
    assert found == pytest.approx(expected)
    assert clock.delay_s == pytest.approx(expected.silence_s)
    assert clock.feed(frame(start_s + FRAME_S)) == NO_GAP


@pytest.mark.parametrize("n_samples", [0, 1, 7_999, 8_000, 20_001])
@pytest.mark.parametrize(("fmt", "layout"), [("u8", "stereo"), ("fltp", "hexadecagonal"), ("s16", "5.1")])
def test_silence_has_the_format_of_the_frames(fmt: str, layout: str, n_samples: int) -> None:
    like = av.AudioFrame(format=fmt, layout=layout, samples=10)
    like.sample_rate = 8_000
    found = list(silent_frames(like, n_samples))
    assert sum(one.samples for one in found) == n_samples
    for one in found:
        assert one.samples <= 8_000
        assert (one.format.name, one.sample_rate) == (fmt, 8_000)
        values = values_of(one)
        assert len(values) == like.layout.nb_channels
        assert (values == (128 if fmt == "u8" else 0)).all()


SPEECH = siren(6)
LATE = [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "aac"), ("mpegts", "aac"), ("flv", "aac")]
GAPS = [pair for pair in LATE if pair[0] != "mov"] + [
    ("matroska", "pcm_u8"),
    ("ogg", "flac"),
    ("asf", "wmav2"),
    ("ismv", "aac"),
]


@pytest.mark.parametrize(("fmt", "codec"), LATE)
def test_sound_that_begins_after_the_pictures_lies_at_its_time(fmt: str, codec: str) -> None:
    rate = 44_100 if fmt == "flv" else SAMPLE_RATE
    samples = siren(6, rate)
    _, expected = decoded(remuxed(samples, fmt, codec, rate, video_s=14))
    decoder, found = decoded(remuxed(samples, fmt, codec, rate, shift_s=late(5), video_s=14))
    n_before = len(found) - len(expected)
    assert n_before / SAMPLE_RATE == pytest.approx(5, abs=0.07)  # 64 ms are an encoder's
    np.testing.assert_allclose(found[n_before:], expected, atol=1e-6 if rate == SAMPLE_RATE else 0.02)
    assert not found[: n_before - 1100].any()
    assert condition_of(decoder) == INTACT
    if decoder.declared_s is not None:
        assert decoder.declared_s == pytest.approx(decoder.decoded_s, abs=0.1)


@pytest.mark.parametrize(("fmt", "codec"), LATE)
def test_sound_alone_begins_at_once(fmt: str, codec: str) -> None:
    rate = 44_100 if fmt == "flv" else SAMPLE_RATE
    samples = siren(6, rate)
    _, expected = decoded(remuxed(samples, fmt, codec, rate))
    _, found = decoded(remuxed(samples, fmt, codec, rate, shift_s=late(5)))
    assert len(found) - len(expected) < 1100  # MP4 then keeps what the encoder adds
    np.testing.assert_array_equal(found[-len(expected) + 2000 :], expected[2000:])


@pytest.mark.parametrize(("fmt", "codec"), GAPS)
def test_a_gap_is_silence_and_reported(fmt: str, codec: str) -> None:
    rate = 44_100 if fmt in ("flv", "ogg", "asf") else SAMPLE_RATE
    samples = siren(6, rate)
    _, expected = decoded(remuxed(samples, fmt, codec, rate))
    decoder, found = decoded(remuxed(samples, fmt, codec, rate, shift_s=gap(3, 20)))
    n_lost = len(found) - len(expected)
    assert n_lost / SAMPLE_RATE == pytest.approx(20, abs=0.06)
    condition = condition_of(decoder)
    assert condition.truncated
    assert "s are missing in between" in str(condition.problem)
    silent = np.flatnonzero(np.abs(np.lib.stride_tricks.sliding_window_view(found, 100)[::100]).max(1) < 1e-4)
    assert silent[0] / 160 == pytest.approx(3, abs=0.15)
    loud = found[24 * SAMPLE_RATE :], expected[-(len(found) - 24 * SAMPLE_RATE) :]
    np.testing.assert_allclose(loud[0], loud[1], atol=0.04)  # resampled at another phase


def test_lost_packets_of_a_stream_keep_the_rest_in_its_place() -> None:
    """One packet in five is lost: 1.2 of 6 s."""
    whole = remuxed(SPEECH, "matroska", "pcm_s16le")
    file = io.BytesIO()
    with av.open(io.BytesIO(whole)) as source, av.open(file, "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.pts is not None and number % 5 != 2:
                packet.stream = stream
                target.mux(packet)
    decoder, _ = decoded(file.getvalue())
    assert decoder.decoded_s == pytest.approx(6, abs=0.15)
    assert condition_of(decoder).truncated


def test_a_gap_of_absurd_length_is_bounded() -> None:
    data = remuxed(SPEECH, "matroska", "aac", shift_s=gap(3, 1e6))
    decoder, found = decoded(data)
    assert len(found) / SAMPLE_RATE == pytest.approx(6, abs=0.1)
    condition = condition_of(decoder)
    assert condition.truncated
    assert "1000000.0" in str(condition.problem)


def test_many_long_gaps_end_at_the_longest_recording_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.audio.ffmpeg.MAX_DURATION_S", 100.0)
    data = remuxed(SPEECH, "matroska", "aac", shift_s=lambda time_s: 60.0 * (time_s // 1))
    decoder = AudioDecoder(io.BytesIO(data))
    assert sum(map(len, decoder.blocks())) <= 100 * SAMPLE_RATE
    assert "split it" in str(condition_of(decoder).problem)


@pytest.mark.parametrize("codec", ["flac", "libopus"])
def test_live_streams_in_ogg_that_were_joined_late_are_intact(codec: str) -> None:
    samples = siren(6, 48_000)
    _, expected = decoded(remuxed(samples, "ogg", codec, 48_000))
    decoder, found = decoded(remuxed(samples, "ogg", codec, 48_000, shift_s=late(500)))
    np.testing.assert_array_equal(found, expected)
    assert condition_of(decoder) == INTACT


def test_joined_transport_streams_are_intact() -> None:
    one = ffmpeg_encoded(SPEECH, "mpegts", "aac", SAMPLE_RATE)
    decoder, found = decoded(one + one)
    assert decoder.decoded_s == pytest.approx(12, abs=0.3)
    assert condition_of(decoder).problem is None
    assert np.abs(found[7 * SAMPLE_RATE : 8 * SAMPLE_RATE]).max() > 0.1


def test_times_of_33_bits_may_wrap_around() -> None:
    wrap_s = (1 << 33) / 90_000
    data = remuxed(SPEECH, "mpegts", "aac", shift_s=late(wrap_s - 4))
    decoder, found = decoded(data)
    _, expected = decoded(remuxed(SPEECH, "mpegts", "aac"))
    np.testing.assert_array_equal(found, expected)
    assert condition_of(decoder) == INTACT


def test_formats_without_times_have_no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ffmpeg_encoded(SPEECH, "adts", "aac", SAMPLE_RATE)
    with av.open(io.BytesIO(data)) as container:
        clock = clock_of(container, container.streams.audio[0])
    assert [clock.feed(frame(start_s)) for start_s in (0.0, 50.0)] == [NO_GAP, NO_GAP]


def test_a_cover_is_no_stream_that_begins_earlier() -> None:
    data = sound_with_cover(SPEECH)
    decoder, found = decoded(data)
    assert decoder.decoded_s == pytest.approx(6, abs=0.1)
    assert np.abs(found[:3000]).max() > 0.1


def sound_with_cover(samples: Samples) -> bytes:
    """An MP4 of sound from 5 s on, with an attached picture."""
    file = io.BytesIO()
    whole = io.BytesIO(remuxed(samples, "matroska", "aac", shift_s=late(5)))
    with av.open(whole) as source, av.open(file, "w", format="mp4") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8)).reformat(format="yuvj420p")
        for packet in [*cover.encode(picture), *cover.encode(None)]:
            target.mux(packet)
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None:
                packet.stream = sound
                target.mux(packet)
    return file.getvalue()
