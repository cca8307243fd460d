from __future__ import annotations

from dataclasses import replace

import pytest

from transforms.core.audio_streams import StreamChoice, StreamInfo, candidates, choice_remark, described

GERMAN = StreamInfo(0, "ger", "Hauptton")
ENGLISH = StreamInfo(1, "eng", default=True)
COMMENTARY = StreamInfo(2, "eng", "Commentary", secondary=True)
UNTAGGED = StreamInfo(3)
FILM = (GERMAN, ENGLISH, COMMENTARY, UNTAGGED)


def taken(number: int, streams: tuple[StreamInfo, ...] = FILM) -> list[StreamInfo]:
    return [replace(one, taken=one.index == number) for one in streams]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [1, 0, 3, 2]),  # the default one first, commentaries last
        (2, [2]), (4, []),
        ("ger", [0]), ("de", [0]), ("deu", [0]), ("German", [0]), ("de-AT", [0]),
        ("en", [1, 2]), ("ENG", [1, 2]), ("fr", []), ("und", []),
    ],
)  # fmt: skip
def test_candidates_in_order_of_preference(wanted: StreamChoice, expected: list[int]) -> None:
    assert [one.index for one in candidates(FILM, wanted)] == expected


def test_language_that_whisper_does_not_know_is_found_by_its_tag() -> None:
    assert candidates([StreamInfo(0, "qaa"), StreamInfo(1, "tlh")], "TLH") == [StreamInfo(1, "tlh")]


def test_language_with_a_region_is_that_of_the_region_if_there_is_one() -> None:
    streams = (StreamInfo(0, "por"), StreamInfo(1, "pt-BR"), StreamInfo(2, "pt-br", default=True))
    assert [one.index for one in candidates(streams, "pt-BR")] == [2, 1]
    assert [one.index for one in candidates(streams, "pt-PT")] == [2, 0, 1]
    assert [one.index for one in candidates(streams, "pt")] == [2, 0, 1]


def test_stream_that_was_passed_over_as_it_cannot_be_decoded_is_a_remark() -> None:
    broken, plain = StreamInfo(0, unreadable=True), StreamInfo(1)
    default = replace(broken, default=True)
    reason = "audio stream 0 (default, unreadable) cannot be decoded: 1 was transcribed"
    assert choice_remark(taken(1, (default, plain)), None) == reason
    assert choice_remark(taken(1, (default, plain)), 1) is None
    remark = str(choice_remark(taken(1, (broken, plain)), None))
    assert remark.endswith("; audio stream 0 (unreadable) cannot be decoded: 1 was transcribed")
    assert "cannot be decoded" not in str(choice_remark(taken(1, (plain, replace(broken, index=2))), None))
    marked = taken(2, (default, replace(plain, default=True), StreamInfo(2)))
    assert str(choice_remark(marked, None)).startswith("no speech was found in audio stream 1 (default): 2")


def test_streams_are_described_with_what_the_file_says_of_them() -> None:
    assert list(map(str, FILM)) == ["0 (ger, 'Hauptton')", "1 (eng, default)", "2 (eng, 'Commentary')", "3"]
    assert described(taken(1)) == "0 (ger, 'Hauptton'), 2 (eng, 'Commentary'), 3"


def test_what_the_file_or_the_user_names_needs_no_remark() -> None:
    assert choice_remark(taken(1), None) is None
    assert choice_remark(taken(2), 2) is None
    assert choice_remark(taken(0), "ger") is None
    assert choice_remark((), None) is None
    assert choice_remark(taken(2), 2, has_speech=False) is None


def test_guess_is_a_remark() -> None:
    assert choice_remark(taken(0), None) == (
        "no speech was found in audio stream 1 (eng, default): 0 (ger, 'Hauptton') was transcribed"
    )
    plain = (StreamInfo(0), StreamInfo(1))
    assert choice_remark(taken(1, plain), None) == (
        "2 audio streams, and none of them is marked as the default: 1, the first with speech or sound, was "
        "transcribed"
    )
    marked = tuple(replace(one, default=True) for one in plain)
    assert "each of them is marked" in str(choice_remark(taken(0, marked), None))
    assert "no speech was found in audio stream 1" in str(choice_remark(taken(2), "en"))


def test_stream_without_speech_beside_others_is_a_remark() -> None:
    assert choice_remark(taken(1), None, has_speech=False) == (
        "no speech was found in audio stream 1 (eng, default); there are others: 0 (ger, 'Hauptton'), "
        "2 (eng, 'Commentary'), 3"
    )
