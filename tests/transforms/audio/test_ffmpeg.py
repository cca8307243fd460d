from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest
from av.container import InputContainer

from model.interface import SAMPLE_RATE
from tests.support.encoding import (
    condition_of,
    decoded,
    encoded,
    ffmpeg_encoded,
    patched,
    siren,
    speechlike,
    video,
)
from tests.support.timed_files import surround
from transforms.audio import ffmpeg
from transforms.audio.damage_log import DamageLog
from transforms.audio.decoder import AudioDecoder
from transforms.audio.ffmpeg import (
    MAX_CHANNELS,
    MAX_RATE,
    MIN_RATE,
    Frames,
    audio_stream,
    check_bounds,
    declared_s,
    declared_size_ratio,
    open_container,
)
from transforms.core.damage import NO_DAMAGE
from transforms.core.errors import AudioError

WAV = encoded(speechlike(2))


def test_frames_follow_each_other() -> None:
    log = DamageLog()
    with open_container(io.BytesIO(WAV)) as container:
        frames = Frames(container, audio_stream(container), log)
        position = 0
        for frame in frames:
            assert (frame.run.number, frame.run.rate, frame.channels) == (0, SAMPLE_RATE, 1)
            assert frame.position == position
            position += frame.frame.samples
    assert position == frames.n_samples == 2 * SAMPLE_RATE
    assert (frames.n_channels, frames.ends_damaged, frames.read_error) == (1, False, None)
    assert log.between(0, None) == NO_DAMAGE


@pytest.mark.parametrize("max_size", [1, 1 << 30])
def test_ffmpeg_calls_no_python_to_read_a_spooled_file(
    max_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyAV drops an interrupt that arrives in Python code that it calls."""
    read, n_calls = SpooledTemporaryFile.read, 0

    def counted(file: SpooledTemporaryFile[bytes], size: int = -1) -> bytes:
        nonlocal n_calls
        n_calls += 1
        return read(file, size)

    monkeypatch.setattr(SpooledTemporaryFile, "read", counted)
    with SpooledTemporaryFile(max_size) as file:
        file.write(WAV)
        with open_container(file) as container:  # type: ignore[arg-type]
            frames = Frames(container, audio_stream(container), DamageLog())
            assert sum(frame.frame.samples for frame in frames) == 2 * SAMPLE_RATE
    assert n_calls == 1  # the first bytes, for messages


@pytest.mark.parametrize(("rate", "channels"), [(MIN_RATE, 1), (MAX_RATE, MAX_CHANNELS)])
def test_rates_and_channels_within_bounds(rate: int, channels: int) -> None:
    check_bounds(rate, channels)


@pytest.mark.parametrize(
    ("rate", "channels"), [(MIN_RATE - 1, 1), (MAX_RATE + 1, 1), (16_000, 0), (16_000, MAX_CHANNELS + 1)]
)
def test_rates_and_channels_out_of_bounds_are_refused(rate: int, channels: int) -> None:
    with pytest.raises(AudioError, match="decode: unsupported"):
        check_bounds(rate, channels)


def test_declared_duration_and_size() -> None:
    file = io.BytesIO(WAV)
    with open_container(file) as container:
        assert declared_s(container, audio_stream(container), file) == pytest.approx(2)
    assert declared_size_ratio(file) == 1.0
    half = io.BytesIO(WAV[: len(WAV) // 2])
    assert declared_size_ratio(half) == pytest.approx(2, abs=0.001)  # FFmpeg itself declares 1 s of it


def test_mp3_without_a_frame_count_declares_nothing() -> None:
    data = ffmpeg_encoded(speechlike(5, 48_000), "mp3", "libmp3lame", options={"write_xing": "0"})
    decoder, _ = decoded(data)
    assert decoder.declared_s is None
    assert not condition_of(decoder).truncated


def test_video_without_audio_is_refused() -> None:
    with (
        open_container(io.BytesIO(video(seconds=1))) as container,
        pytest.raises(AudioError, match="decode: no_audio_stream: a matroska"),
    ):
        audio_stream(container)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile target.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ntarget.wav\n#EXT-X-ENDLIST\n",
    ],
)
def test_playlists_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, playlist: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.wav").write_bytes(WAV)
    with pytest.raises(AudioError) as caught:
        decoded(playlist.encode())
    assert caught.value.kind == "not_audio"


def test_format_does_not_depend_on_the_file_name(tmp_path: Path) -> None:
    path = tmp_path / "really_a_wav.mp3"
    path.write_bytes(WAV)
    with path.open("rb") as file:
        assert sum(map(len, AudioDecoder(file).blocks())) == 2 * SAMPLE_RATE


def test_tags_in_any_encoding_are_accepted() -> None:
    data = ffmpeg_encoded(speechlike(2, 48_000), "mp3", "libmp3lame")
    frame = b"TIT2" + struct.pack(">IH", 6, 0) + b"\x03caf\xe9\xff"  # declared as UTF-8, but invalid
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    body = data[data.index(b"\xff\xfb") :]
    decoder, _ = decoded(b"ID3\x03\x00\x00" + size + frame + body)
    assert decoder.declared_s == pytest.approx(2, abs=0.1)


def test_too_long_recording_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_DURATION_S", 5.0)
    decoder, _ = decoded(encoded(speechlike(10)))
    condition = condition_of(decoder)
    assert 3 < decoder.decoded_s <= 5
    assert condition.truncated
    assert "split it" in str(condition.problem)


def test_packet_of_an_unknown_stream_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV raises an IndexError for a packet of a stream that was unknown when the file was opened."""

    class UnknownStream:
        def __init__(self, container: InputContainer) -> None:
            self.streams, self.format, self.duration = container.streams, container.format, container.duration
            self._packets, self._n = container.demux(container.streams.audio[0]), 0

        def __enter__(self) -> UnknownStream:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def demux(self, stream: object) -> Iterator[object]:
            for packet in self._packets:
                self._n += 1
                if self._n == 2:
                    raise IndexError("list index out of range")
                yield packet

    monkeypatch.setattr(
        "transforms.audio.stream_choice.open_container", lambda file: UnknownStream(open_container(file))
    )
    decoder, samples = decoded(encoded(speechlike(2)))
    assert len(samples) == 2 * SAMPLE_RATE - 1024  # one packet
    assert "1 damaged packets were skipped" in str(condition_of(decoder).problem)


class FailingDisk(io.BytesIO):
    """A file whose reads fail from an offset on."""

    limit = 0

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > self.limit:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_read_error_is_not_the_end_of_the_file() -> None:
    file = FailingDisk(encoded(speechlike(60)))
    file.limit = 1_000_000
    decoder = AudioDecoder(file)
    assert 20 < sum(map(len, decoder.blocks())) / SAMPLE_RATE < 60
    condition = condition_of(decoder)
    assert condition.truncated
    assert "Input/output error" in str(condition.problem)


def test_read_error_at_the_start_is_retryable() -> None:
    file = FailingDisk(WAV)
    file.limit = 20
    with pytest.raises(AudioError) as caught:
        list(AudioDecoder(file).blocks())
    assert (caught.value.stage, caught.value.kind, caught.value.retryable) == ("fetch", "io", True)


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
def test_files_that_cannot_be_decoded_have_a_kind_of_error(data: bytes, kind: str) -> None:
    with pytest.raises(AudioError) as caught:
        decoded(data)
    assert (caught.value.stage, caught.value.kind, caught.value.retryable) == ("decode", kind, False)
    assert caught.value.message


@pytest.mark.parametrize("channels", [1, MAX_CHANNELS])
def test_frames_of_many_channels_are_within_bounds(channels: int) -> None:
    samples = siren(1, 48_000)
    data = surround([samples] * channels, f"{channels} channels", "w64", "pcm_f32le")
    decoder, found = decoded(data)
    assert (decoder.n_channels, len(found)) == (channels, SAMPLE_RATE)


def test_frames_with_too_many_samples_are_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_BLOCK_VALUES", 1_000)
    with pytest.raises(AudioError, match="packets could be decoded"):
        decoded(encoded(siren(1), fmt="FLAC"))


@pytest.mark.parametrize("labels", [(1, 2, 3), (4, 1, 2), (2, 1, 3)])
@pytest.mark.parametrize("start_s", [0, 30])
def test_channels_in_an_unusual_order_do_not_crash_pyav(labels: tuple[int, ...], start_s: int) -> None:
    caf = encoded(np.stack([siren(40)] * 3, axis=1), fmt="CAF")
    channels = b"".join(struct.pack(">II", label, 0) + bytes(12) for label in labels)
    layout = b"chan" + struct.pack(">qIII", 12 + len(channels), 0, 0, 3) + channels
    decoder = AudioDecoder(io.BytesIO(caf.replace(b"data", layout + b"data", 1)), start_s=start_s)
    assert sum(map(len, decoder.blocks())) == (40 - start_s) * SAMPLE_RATE
    assert decoder.n_channels == 3
