from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile as sf
import soxr
from av.container import InputContainer
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import decoded, encoded, ffmpeg_encoded, flipped, patched, speechlike, video
from transforms.audio import decoder, ffmpeg
from transforms.audio.decoder import AudioReader
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
def test_gives_the_samples_that_libsndfile_gives(fmt: str, subtype: str) -> None:
    data = encoded(speechlike(1.3), SAMPLE_RATE, fmt, subtype)
    reader, samples = decoded(data)
    expected, _ = sf.read(io.BytesIO(data), dtype="float32")
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=1e-7)
    assert reader.declared_s == pytest.approx(len(expected) / SAMPLE_RATE, abs=1e-4)
    assert (reader.truncated, reader.problem) == (False, None)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resamples_as_one_shot_resampling_does(rate: int) -> None:
    original = speechlike(70, rate)  # several blocks
    reader, samples = decoded(encoded(original, rate, subtype="FLOAT"))
    np.testing.assert_array_equal(samples, soxr.resample(original, rate, SAMPLE_RATE))
    assert reader.decoded_s == pytest.approx(70, abs=1e-3)


@pytest.mark.parametrize("fmt", ["WAV", "FLAC"])
def test_averages_the_channels(fmt: str) -> None:
    left, right = speechlike(1, seed=1), speechlike(1, seed=2)
    data = encoded(np.stack([left, right, right], axis=1), SAMPLE_RATE, fmt)
    _, samples = decoded(data)
    np.testing.assert_allclose(samples, (left + 2 * right) / 3, atol=1e-4)


@pytest.mark.parametrize(
    ("fmt", "codec", "declares"),
    [
        ("mp3", "libmp3lame", True), ("ogg", "libopus", False), ("webm", "libopus", True),
        ("matroska", "libopus", True), ("ipod", "aac", True), ("adts", "aac", False), ("mp4", "aac", True),
        ("mpegts", "aac", False), ("wav", "libmp3lame", True),
    ],
)  # fmt: skip
def test_decodes_what_ffmpeg_encodes(fmt: str, codec: str, declares: bool) -> None:
    original = speechlike(5, 48_000)
    reader, samples = decoded(ffmpeg_encoded(original, fmt, codec))
    assert reader.decoded_s == pytest.approx(5, abs=0.1)
    assert (reader.declared_s is not None) == declares
    assert (reader.truncated, reader.problem) == (False, None)
    spectrum = np.abs(np.fft.rfft(samples[SAMPLE_RATE : 2 * SAMPLE_RATE]))
    assert spectrum.argmax() == 220  # Hz
    assert np.abs(samples).max() == pytest.approx(0.33, abs=0.06)


@pytest.mark.parametrize("fmt", ["WAV", "RF64", "W64", "AIFF", "AU", "FLAC"])
def test_half_a_file_is_decoded_and_said_to_be_truncated(fmt: str) -> None:
    data = encoded(speechlike(20), SAMPLE_RATE, fmt)
    reader, samples = decoded(data[: len(data) // 2])
    assert len(samples) / SAMPLE_RATE == pytest.approx(10, abs=0.4)
    assert reader.declared_s == pytest.approx(20, abs=0.1)
    assert reader.truncated
    assert "of 20.0" in str(reader.problem)


def test_half_a_big_endian_wav_is_said_to_be_truncated() -> None:
    file = io.BytesIO()
    sf.write(file, speechlike(20), SAMPLE_RATE, format="WAV", endian="BIG")
    reader, _ = decoded(file.getvalue()[:320_000])
    assert reader.decoded_s == pytest.approx(10, abs=0.1)
    assert reader.truncated


@pytest.mark.parametrize(("fmt", "codec"), [("mp3", "libmp3lame"), ("webm", "libopus"), ("ogg", "libopus")])
def test_half_a_compressed_file_is_decoded_and_said_to_be_truncated(fmt: str, codec: str) -> None:
    data = ffmpeg_encoded(speechlike(20, 48_000), fmt, codec)
    reader, _ = decoded(data[: len(data) // 2])
    assert reader.decoded_s == pytest.approx(10, abs=1.1)
    assert reader.truncated
    assert reader.problem


@pytest.mark.parametrize(
    ("fmt", "codec"), [("mp3", "libmp3lame"), ("ipod", "aac"), ("matroska", "libopus"), ("FLAC", "")]
)
def test_goes_on_behind_damaged_bytes(fmt: str, codec: str) -> None:
    original = speechlike(20, 48_000)
    data = ffmpeg_encoded(original, fmt, codec) if codec else encoded(original, 48_000, fmt)
    reader, _ = decoded(flipped(data))
    assert reader.decoded_s == pytest.approx(20, abs=0.2)
    assert not reader.truncated


def test_sound_that_ends_before_the_pictures_is_not_truncated() -> None:
    reader, _ = decoded(video(seconds=5, sound=speechlike(2, 48_000)))
    assert reader.decoded_s == pytest.approx(2, abs=0.1)
    assert (reader.truncated, reader.problem) == (False, None)


def test_says_how_many_packets_were_damaged() -> None:
    reader, _ = decoded(flipped(ffmpeg_encoded(speechlike(20, 48_000), "ipod", "aac"), 300))
    assert "damaged packets were skipped" in str(reader.problem)


def test_joined_mp3s_are_decoded_to_the_end() -> None:
    one = ffmpeg_encoded(speechlike(5, 48_000), "mp3", "libmp3lame")
    other = ffmpeg_encoded(speechlike(5, 24_000), "mp3", "libmp3lame", rate=24_000)
    reader, _ = decoded(one + other)
    assert reader.decoded_s == pytest.approx(10, abs=0.15)
    assert not reader.truncated


def test_joined_mp3s_of_one_and_two_channels() -> None:
    mono, stereo = speechlike(3, 48_000), np.stack([speechlike(3, 48_000)] * 2, axis=1)
    data = encoded(mono, 48_000, "MP3", "MPEG_LAYER_III") + encoded(stereo, 48_000, "MP3", "MPEG_LAYER_III")
    reader, samples = decoded(data)
    assert reader.decoded_s == pytest.approx(6, abs=0.2)
    halves = np.abs(samples[: 2 * SAMPLE_RATE]).mean(), np.abs(samples[-2 * SAMPLE_RATE :]).mean()
    assert halves[0] == pytest.approx(halves[1], rel=0.02)


def test_an_mp3_that_does_not_count_its_frames_declares_nothing() -> None:
    data = ffmpeg_encoded(speechlike(5, 48_000), "mp3", "libmp3lame", options={"write_xing": "0"})
    reader, _ = decoded(data)
    assert reader.declared_s is None
    assert not reader.truncated


def test_reads_a_wav_whose_recorder_died_before_it_wrote_the_length() -> None:
    data = patched(patched(encoded(speechlike(2)), 4, "<I", 0), 40, "<I", 0)
    reader, samples = decoded(data)
    assert len(samples) == 2 * SAMPLE_RATE
    assert not reader.truncated


def test_a_wav_from_a_pipe_declares_no_length() -> None:
    data = patched(patched(encoded(speechlike(2)), 4, "<I", 0xFFFF_FFFF), 40, "<I", 0xFFFF_FFFF)
    reader, samples = decoded(data)
    assert len(samples) == 2 * SAMPLE_RATE
    assert not reader.truncated


def test_a_header_that_claims_two_to_the_36_samples_costs_nothing() -> None:
    flac = encoded(speechlike(2), fmt="FLAC")
    claiming = flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    tracemalloc.start()
    try:
        reader, samples = decoded(claiming)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == 2 * SAMPLE_RATE
    assert reader.declared_s == pytest.approx((2**36 - 1) / SAMPLE_RATE)
    assert reader.truncated
    assert peak < 10e6


def test_gives_the_one_sample_there_is() -> None:
    reader, samples = decoded(encoded(np.full(1, 0.5, np.float32)))
    assert samples.tolist() == [0.5]
    assert reader.decoded_s == 1 / SAMPLE_RATE


def test_samples_above_full_scale_stay_as_they_are() -> None:
    loud = speechlike(1) * 100
    _, samples = decoded(encoded(loud, subtype="FLOAT"))
    np.testing.assert_array_equal(samples, loud)


WAV = encoded(speechlike(2))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (np.random.default_rng(0).bytes(100_000), "not_audio"),
        (b"<!DOCTYPE html><html><body>404</body></html>" * 50, "not_audio"),
        (b"hello world " * 1000, "not_audio"),
        (bytes(100_000), "not_audio"),
        (b"x", "not_audio"),
        (video(seconds=1), "no_audio_stream"),
        (WAV[:44], "empty"),
        (encoded(np.zeros(0, np.float32)), "empty"),
        (encoded(np.zeros(1, np.float32), 44_100), "empty"),
        (encoded(speechlike(2), fmt="FLAC")[:44], "corrupt"),
        (ffmpeg_encoded(speechlike(5, 48_000), "ipod", "aac")[:20_000], "corrupt"),
        (patched(WAV, 24, "<I", 1), "unsupported"),
        (patched(WAV, 24, "<I", 0x7FFF_FFFF), "unsupported"),
        (patched(patched(WAV, 22, "<H", 1024), 32, "<H", 2048), "unsupported"),
        (patched(patched(WAV, 22, "<H", 65), 32, "<H", 130), "unsupported"),
        (encoded(np.full(8000, np.nan, np.float32), subtype="FLOAT"), "not_finite"),
        (encoded(np.full(8000, -np.inf, np.float32), 44_100, subtype="FLOAT"), "not_finite"),
        (encoded(np.full(8000, 1e30, np.float32), subtype="FLOAT"), "not_finite"),
        (encoded(np.full((8000, 2), 3e38, np.float32), subtype="FLOAT"), "not_finite"),
        (encoded(np.full(8000, 1e300), subtype="DOUBLE"), "not_finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_an_error_of_its_kind(data: bytes, kind: str) -> None:
    with pytest.raises(AudioError) as caught:
        decoded(data)
    assert (caught.value.stage, caught.value.kind, caught.value.retryable) == ("decode", kind, False)
    assert caught.value.message


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile target.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ntarget.wav\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_opens_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, playlist: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.wav").write_bytes(WAV)
    with pytest.raises(AudioError) as caught:
        decoded(playlist.encode())
    assert caught.value.kind == "not_audio"


def test_the_name_of_the_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "really_a_wav.mp3"
    path.write_bytes(WAV)
    with path.open("rb") as file:
        assert sum(map(len, AudioReader(file).blocks())) == 2 * SAMPLE_RATE


def test_tags_in_any_encoding_do_not_matter() -> None:
    data = ffmpeg_encoded(speechlike(2, 48_000), "mp3", "libmp3lame")
    frame = b"TIT2" + struct.pack(">IH", 6, 0) + b"\x03caf\xe9\xff"  # said to be UTF-8, and is not
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    body = data[data.index(b"\xff\xfb") :]
    reader, _ = decoded(b"ID3\x03\x00\x00" + size + frame + body)
    assert reader.declared_s == pytest.approx(2, abs=0.1)


def test_what_is_too_long_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_DURATION_S", 5.0)
    reader, _ = decoded(encoded(speechlike(10)))
    assert 3 < reader.decoded_s <= 5
    assert reader.truncated
    assert "split it" in str(reader.problem)


def test_silence_is_held_back_until_there_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is never there must not give hours of silence first."""
    monkeypatch.setattr("transforms.audio.blocks.BLOCK_S", 1)
    blocks = AudioReader(io.BytesIO(encoded(speechlike(5))), channel=1).blocks()
    with pytest.raises(AudioError, match="no_such_channel"):
        next(blocks)


def test_a_channel_that_comes_later_is_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.audio.blocks.BLOCK_S", 1)
    mono, stereo = speechlike(3, 48_000), np.stack([speechlike(3, 48_000)] * 2, axis=1)
    data = encoded(mono, 48_000, "MP3", "MPEG_LAYER_III") + encoded(stereo, 48_000, "MP3", "MPEG_LAYER_III")
    reader, samples = decoded(data, channel=1)
    assert reader.n_channels == 2
    assert reader.decoded_s == pytest.approx(6, abs=0.2)
    assert len(samples) / SAMPLE_RATE == reader.decoded_s
    assert not samples[: int(2.9 * SAMPLE_RATE)].any()
    assert np.abs(samples[-2 * SAMPLE_RATE :]).max() > 0.2


def test_what_is_no_sound_in_the_middle_is_silence_and_said() -> None:
    samples = speechlike(70)
    samples[40 * SAMPLE_RATE : 40 * SAMPLE_RATE + 50] = np.nan
    reader, found = decoded(encoded(samples, subtype="FLOAT"))
    np.testing.assert_array_equal(found, np.nan_to_num(samples))
    assert reader.problem == "50 samples that are not finite, or absurd, were taken for silence"
    assert not reader.truncated
    samples[: SAMPLE_RATE // 5] = np.inf
    assert decoded(encoded(samples, subtype="FLOAT"))[0].truncated


def test_channels_that_cancel_each_other_are_said() -> None:
    voice = speechlike(70)
    phased = np.stack([voice, -0.9 * voice], axis=1)
    phased[: 30 * SAMPLE_RATE, 1] = voice[: 30 * SAMPLE_RATE]
    reader, found = decoded(encoded(phased, subtype="FLOAT"))
    later = slice(30 * SAMPLE_RATE, None)
    np.testing.assert_allclose(found[: 30 * SAMPLE_RATE], voice[: 30 * SAMPLE_RATE], atol=1e-6)
    np.testing.assert_allclose(found[later], voice[later], atol=1e-6)
    assert "cancel each other for 40.00 s" in str(reader.problem)
    assert not reader.truncated


def test_a_stream_that_damage_made_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV raises an IndexError for a packet of a stream that was not there when the file was opened."""
    opened = decoder.open_container

    class Surprised:
        def __init__(self, container: InputContainer) -> None:
            self.streams, self.format, self.duration = container.streams, container.format, container.duration
            self._packets, self._n = container.demux(container.streams.audio[0]), 0

        def __enter__(self) -> Surprised:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def demux(self, stream: object) -> Iterator[object]:
            for packet in self._packets:
                self._n += 1
                if self._n == 2:
                    raise IndexError("list index out of range")
                yield packet

    monkeypatch.setattr(decoder, "open_container", lambda file: Surprised(opened(file)))
    reader, samples = decoded(encoded(speechlike(2)))
    assert len(samples) == 2 * SAMPLE_RATE - 1024  # one packet
    assert "1 damaged packets were skipped" in str(reader.problem)


class FailingDisk(io.BytesIO):
    """Reads up to a byte, and then no more."""

    limit = 0

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > self.limit:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_failing_disk_is_no_end_of_file() -> None:
    file = FailingDisk(encoded(speechlike(60)))
    file.limit = 1_000_000
    reader = AudioReader(file)
    assert 20 < sum(map(len, reader.blocks())) / SAMPLE_RATE < 60
    assert reader.truncated
    assert "Input/output error" in str(reader.problem)


def test_a_disk_that_fails_at_once_may_be_tried_again() -> None:
    file = FailingDisk(WAV)
    file.limit = 20
    with pytest.raises(AudioError) as caught:
        list(AudioReader(file).blocks())
    assert (caught.value.stage, caught.value.kind, caught.value.retryable) == ("fetch", "io", True)


class Zeros(io.RawIOBase):
    """A WAV of silence that takes no memory, however long."""

    def __init__(self, n_samples: int) -> None:
        header = patched(patched(WAV[:44], 4, "<I", 36 + 2 * n_samples), 40, "<I", 2 * n_samples)
        self._header, self._size, self._at = header, len(header) + 2 * n_samples, 0

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        data = (
            (self._header + bytes(max(0, stop - 44)))[self._at : stop]
            if self._at < 44
            else bytes(max(0, stop - self._at))
        )
        self._at = max(self._at, stop)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def test_many_channels_make_shorter_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.audio.blocks.MAX_BLOCK_VALUES", 8 * SAMPLE_RATE)
    data = encoded(np.stack([speechlike(10)] * 8, axis=1))
    sizes = [len(block) for block in AudioReader(io.BytesIO(data)).blocks()]
    assert sum(sizes) == 10 * SAMPLE_RATE
    assert max(sizes) < 1.5 * SAMPLE_RATE


def peak_bytes(blocks: Iterator[Samples]) -> int:
    tracemalloc.start()
    try:
        for _ in blocks:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(minutes: int) -> int:
        file: BinaryIO = Zeros(minutes * 60 * SAMPLE_RATE)  # type: ignore[assignment]
        return peak_bytes(AudioReader(file).blocks())

    assert peak(60) < peak(5) + 1e6


FLAC = encoded(speechlike(0.1), fmt="FLAC")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([WAV, FLAC, b"OggS", b"ID3\x04"]), st.integers(0, 40), st.binary(max_size=300))
def test_no_bytes_make_it_crash(head: bytes, kept: int, tail: bytes) -> None:
    with contextlib.suppress(AudioError):
        for block in AudioReader(io.BytesIO(head[:kept] + tail)).blocks():
            assert np.isfinite(block).all()
