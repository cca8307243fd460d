from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
import pytest
from av.stream import Disposition

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import LoudnessDetector
from tests.support.encoding import siren
from tests.support.several_streams import CODECS, Sound, several_streams, silence
from transforms.audio import stream_choice
from transforms.audio.decoder import AudioDecoder
from transforms.audio.ffmpeg import open_container
from transforms.audio.sound_meter import MakeDetector
from transforms.audio.stream_choice import stream_infos
from transforms.core.audio_streams import StreamChoice, StreamInfo
from transforms.core.errors import AudioError

DEFAULT = Disposition.default
HISS = np.asarray(0.01 * siren(6), np.float32)  # sound that the detector does not take for speech


def taken(
    data: bytes, wanted: StreamChoice = None, detector: MakeDetector | None = LoudnessDetector
) -> tuple[int, float]:
    """The number of the stream that is decoded, and its seconds."""
    decoder = AudioDecoder(io.BytesIO(data), stream=wanted, make_detector=detector)
    n_samples = sum(map(len, decoder.blocks()))
    (number,) = (one.index for one in decoder.streams if one.taken)
    return number, round(n_samples / SAMPLE_RATE)


@pytest.mark.parametrize("fmt", CODECS)
@pytest.mark.parametrize("video_s", [0, 6])
def test_stream_with_sound_is_taken_rather_than_a_silent_first_one(fmt: str, video_s: int) -> None:
    sounds = [Sound(silence(6), disposition=DEFAULT), Sound(siren(5))]
    assert taken(several_streams(sounds, fmt, video_s)) == (1, 5)
    assert taken(several_streams(sounds, fmt, video_s), detector=None) == (1, 5)


@pytest.mark.parametrize("fmt", ["matroska", "mov", "mp4", "nut"])
def test_default_stream_is_taken_with_what_is_known_of_it(fmt: str) -> None:
    data = several_streams([Sound(siren(6)), Sound(siren(4), disposition=DEFAULT)], fmt, video_s=7)
    assert taken(data) == (1, 4)
    decoder = AudioDecoder(io.BytesIO(data))
    _ = list(decoder.blocks())
    assert decoder.declared_s in (None, pytest.approx(4))  # not that of the pictures or of the other one


@pytest.mark.parametrize(
    ("sounds", "number"),
    [
        ([Sound(siren(6)), Sound(siren(6))], 0),
        ([Sound(silence(6)), Sound(siren(6)), Sound(siren(6))], 1),
        ([Sound(siren(6), disposition=DEFAULT), Sound(siren(6), disposition=DEFAULT)], 0),
        ([Sound(silence(6), disposition=DEFAULT), Sound(siren(6), disposition=DEFAULT)], 1),
        ([Sound(siren(6)), Sound(silence(6), disposition=DEFAULT), Sound(siren(6), disposition=DEFAULT)], 2),
        ([Sound(siren(6), disposition=Disposition.comment), Sound(siren(6))], 1),
        ([Sound(siren(6), disposition=Disposition.comment), Sound(silence(6))], 0),
        ([Sound(silence(6)), Sound(silence(6), disposition=DEFAULT)], 1),  # as players do
        ([Sound(HISS), Sound(siren(6))], 1),  # speech rather than sound
        ([Sound(HISS, disposition=DEFAULT), Sound(siren(6))], 1),
        ([Sound(silence(6)), Sound(HISS)], 1),
        ([Sound(siren(0.3), disposition=DEFAULT), Sound(HISS)], 0),  # a short word
        ([Sound(siren(0.1)), Sound(silence(6))], 0),
    ],
)
def test_preference(sounds: list[Sound], number: int) -> None:
    assert taken(several_streams(sounds))[0] == number


def late(sound: Samples, start_s: float) -> Samples:
    return np.concatenate([silence(start_s), sound])


@pytest.mark.parametrize("fmt", ["matroska", "mp4", "mpegts"])
def test_stream_that_is_silent_at_its_beginning_alone_is_taken(fmt: str) -> None:
    sounds = [Sound(late(siren(2), 40), disposition=DEFAULT), Sound(siren(3))]
    assert taken(several_streams(sounds, fmt)) == (0, 42)


def test_search_for_speech_is_limited_and_that_for_sound_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_choice, "SEARCH_S", 10.0)
    music = np.tile(HISS, 3)
    sounds = [Sound(late(siren(9), 18), disposition=DEFAULT), Sound(late(siren(6), 2))]
    assert taken(several_streams(sounds))[0] == 1  # the other one has speech, and is tried in its first 10 s
    sounds = [Sound(np.concatenate([music, siren(9)]), disposition=DEFAULT), Sound(late(siren(6), 30))]
    assert taken(several_streams(sounds))[0] == 0
    sounds = [Sound(late(siren(9), 30), disposition=DEFAULT), Sound(music)]
    assert taken(several_streams(sounds))[0] == 0
    sounds = [Sound(silence(30), disposition=DEFAULT), Sound(music)]
    assert taken(several_streams(sounds))[0] == 1


def test_file_is_read_no_further_than_the_speech_of_the_default_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[float] = []
    packets = stream_choice._packets

    def counted(*args: object) -> Iterator[object]:
        for packet in packets(*args):  # type: ignore[arg-type]
            read.append(float((packet.pts or 0) * packet.time_base))
            yield packet

    monkeypatch.setattr(stream_choice, "_packets", counted)
    assert taken(several_streams([Sound(siren(60)), Sound(siren(60))]))[0] == 0
    assert max(read) < 5
    read.clear()
    assert taken(several_streams([Sound(siren(60)), Sound(siren(60))]), 1)[0] == 1
    assert taken(several_streams([Sound(silence(60), "ger"), Sound(siren(60), "eng")]), "ger")[0] == 0
    assert read == []  # the user names it


def test_one_of_several_streams_in_a_language() -> None:
    sounds = [Sound(siren(6), "ger"), Sound(silence(6), "eng"), Sound(siren(5), "eng")]
    assert taken(several_streams(sounds), "en") == (2, 5)
    assert taken(several_streams(sounds), "deu") == (0, 6)


@pytest.mark.parametrize("wanted", [2, "fr"])
def test_missing_stream_is_an_error_that_lists_what_there_is(wanted: StreamChoice) -> None:
    data = several_streams([Sound(siren(1), "ger", "Film"), Sound(siren(1), "eng", disposition=DEFAULT)])
    known = r"the file has, counted from 0: 0 \(ger, 'Film'\), 1 \(eng, default\)"
    with pytest.raises(AudioError, match=f"no_such_stream: .*{wanted}.*{known}"):
        taken(data, wanted)


def test_single_stream_is_taken_without_a_list() -> None:
    decoder = AudioDecoder(io.BytesIO(several_streams([Sound(silence(1))])))
    _ = list(decoder.blocks())
    assert decoder.streams == ()
    with pytest.raises(AudioError, match="no audio stream 1; the file has, counted from 0: 0"):
        list(AudioDecoder(io.BytesIO(several_streams([Sound(siren(1))])), stream=1).blocks())


def test_samples_are_those_of_a_file_with_the_chosen_stream_alone() -> None:
    two = several_streams([Sound(silence(70)), Sound(siren(65))])
    one = several_streams([Sound(siren(65))])
    for start_s in (0, 30, 60):
        found, alone = (
            np.concatenate(list(AudioDecoder(io.BytesIO(data), start_s=start_s).blocks()))
            for data in (two, one)
        )
        assert np.array_equal(found, alone)


@pytest.mark.parametrize("damage", [slice(0, 4000), slice(20_000, 24_000)])
def test_damaged_file_is_searched_as_far_as_it_can_be_read(damage: slice) -> None:
    data = bytearray(several_streams([Sound(silence(6), disposition=DEFAULT), Sound(siren(6))], "mpegts"))
    data[damage] = bytes(damage.stop - damage.start)
    assert taken(bytes(data))[0] == 1


def test_stream_that_cannot_be_decoded_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stream_choice.audio_stream

    def broken(container: av.container.InputContainer, number: int = 0) -> object:
        if number == 0:
            raise AudioError("decode", "unsupported", "encoded in a way that FFmpeg cannot decode")
        return real(container, number)

    monkeypatch.setattr(stream_choice, "audio_stream", broken)
    data = several_streams([Sound(siren(6), disposition=DEFAULT), Sound(siren(5))])
    assert taken(data) == (1, 5)


@pytest.mark.parametrize("start_s", [0, 30, 60])
@pytest.mark.parametrize("wanted", [None, 1])
def test_stream_that_cannot_be_decoded_hides_no_later_part_of_another(
    start_s: int, wanted: StreamChoice
) -> None:
    sounds = [Sound(siren(90), disposition=DEFAULT), Sound(siren(90))]
    data = several_streams(sounds).replace(b"A_FLAC", b"A_NONE", 1)
    decoder = AudioDecoder(io.BytesIO(data), stream=wanted, start_s=start_s)
    assert sum(map(len, decoder.blocks())) == (90 - start_s) * SAMPLE_RATE
    assert [str(one) for one in decoder.streams] == ["0 (default, unreadable)", "1"]


@pytest.mark.parametrize("fmt", ["matroska", "avi"])
@pytest.mark.parametrize("n_sounds", [1, 2])
def test_end_that_is_missing_is_damage(fmt: str, n_sounds: int) -> None:
    data = several_streams([Sound(siren(20)) for _ in range(n_sounds)], fmt, video_s=2)
    for n_bytes in (len(data), len(data) * 2 // 3):
        decoder = AudioDecoder(io.BytesIO(data[:n_bytes]))
        assert sum(map(len, decoder.blocks()))
        assert decoder.damage(0, None).is_cut == (n_bytes < len(data))


def test_error_of_the_first_stream_is_raised_if_none_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.audio.ffmpeg.MIN_RATE", 20_000)
    with pytest.raises(AudioError, match="unsupported: a sample rate of 16000 Hz"):
        taken(several_streams([Sound(siren(1)), Sound(siren(1))]))


def test_cancelling_ends_the_search() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    decoder = AudioDecoder(io.BytesIO(several_streams([Sound(silence(6)), Sound(siren(6))])), check=check)
    with pytest.raises(KeyboardInterrupt):
        list(decoder.blocks())


def test_what_the_file_says_of_its_streams() -> None:
    sounds = [
        Sound(siren(1), "und", "https://me:secret@host/x"),
        Sound(siren(1), "ger", " a\n b ", Disposition.default | Disposition.visual_impaired),
        Sound(siren(1), title="x" * 500),
    ]
    with open_container(io.BytesIO(several_streams(sounds))) as container:
        first, second, third = stream_infos(container)
    assert first.language is None
    assert "secret" not in str(first)
    assert second == StreamInfo(1, "ger", "a b", default=True, secondary=True)
    assert third.title == "x" * 200
    with open_container(io.BytesIO(several_streams([Sound(siren(1), title="Mic")], "mp4"))) as container:
        assert [one.title for one in stream_infos(container)] == ["Mic"]
