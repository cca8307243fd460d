from __future__ import annotations

import pytest

from transforms.core.audio_source import AudioSource, file_id, media_fragment, of_channel, of_stream, split_id

FILE = AudioSource("0123456789abcdef", "/film.mkv")


def test_streams_and_channels_have_the_id_of_the_file_with_theirs_behind_it() -> None:
    found = {
        "0123456789abcdef": FILE,
        "0123456789abcdef-1": of_channel(FILE, 1),
        "0123456789abcdef-s2": of_stream(FILE, 2),
        "0123456789abcdef-s2-1": of_stream(of_channel(FILE, 1), 2),
    }
    assert {one.audio_id: one for one in found.values()} == found
    assert of_channel(of_stream(FILE, 2), 1) == of_stream(of_channel(FILE, 1), 2)
    assert {file_id(audio_id) for audio_id in found} == {FILE.audio_id}
    assert [(one.channel, one.stream) for one in found.values()] == [
        (None, None),
        (1, None),
        (None, 2),
        (1, 2),
    ]
    assert [one.is_channel for one in found.values()] == [False, True, False, True]


def test_channel_or_stream_replaces_the_one_before() -> None:
    assert of_channel(of_channel(FILE, 1), 2) == of_channel(FILE, 2)
    assert of_stream(of_stream(FILE, 1), 2) == of_stream(FILE, 2)


@pytest.mark.parametrize("audio_id", ["id", "id-s1", "id-0", "id-s12-34"])
def test_parts_of_an_id_make_it_up(audio_id: str) -> None:
    assert "".join(split_id(audio_id)) == audio_id


def test_id_of_another_form_has_no_parts() -> None:
    assert split_id("id-s1-s2") == ("id", "", "")


@pytest.mark.parametrize(
    ("start_s", "end_s", "fragment"),
    [(None, None, ""), (10, None, "#t=10"), (None, 20.5, "#t=,20.5"), (1.25, 2, "#t=1.25,2")],
)
def test_media_fragment(start_s: float | None, end_s: float | None, fragment: str) -> None:
    assert media_fragment(start_s, end_s) == fragment


def test_stream_that_is_a_recording_of_its_own_has_a_name_of_its_own() -> None:
    part = AudioSource("id", "/film.mkv", start_s=10, end_s=20.5)
    assert of_stream(FILE, 1).name == "/film.mkv#track=1"
    assert of_stream(part, 0).name == "/film.mkv#t=10,20.5&track=0"
    assert of_channel(FILE, 1).name == "/film.mkv"
    assert AudioSource("id", "/film.mkv", stream=1).name == "/film.mkv"  # chosen by an option
