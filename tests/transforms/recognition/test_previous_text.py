from __future__ import annotations

from model.interface import Segment, WindowResult
from transforms.recognition.decode_passes import DecodePass
from transforms.recognition.pieces import Piece, PieceKind
from transforms.recognition.previous_text import MAX_TOKENS, PreviousText


def decoded(
    *texts: str, language: str = "en", temperature: float = 0.0, repeated: bool = False, n_tokens: int = 10
) -> DecodePass:
    segments = tuple(Segment(0, 1, text, tuple(range(n_tokens))) for text in texts)
    return DecodePass(0, WindowResult(segments, language, temperature=temperature, repeated=repeated))


def texts(previous: PreviousText) -> list[str]:
    return [segment.text for segment in previous.segments]


def test_texts_follow_each_other() -> None:
    previous = PreviousText().followed_by([decoded("a", "b")]).followed_by([decoded("c"), decoded("d")])
    assert texts(previous) == ["a", "b", "c", "d"]
    assert texts(previous.followed_by([])) == ["a", "b", "c", "d"]


def test_a_window_without_text_changes_nothing() -> None:
    previous = PreviousText().followed_by([decoded("a")])
    assert previous.followed_by([decoded(language="de")]) == previous


def test_it_begins_anew_behind_a_text_that_is_not_relied_on() -> None:
    previous = PreviousText().followed_by([decoded("a")])
    assert texts(previous.followed_by([decoded("b", temperature=0.4)])) == ["a", "b"]
    assert texts(previous.followed_by([decoded("b", temperature=0.6)])) == []
    assert texts(previous.followed_by([decoded("b", repeated=True)])) == []
    assert texts(previous.followed_by([decoded("b", temperature=0.6), decoded("c")])) == ["c"]


def test_it_begins_anew_in_another_language() -> None:
    previous = PreviousText().followed_by([decoded("a")])
    assert texts(previous.followed_by([decoded("b", language="fr"), decoded("c", language="fr")])) == [
        "b",
        "c",
    ]


def test_no_more_segments_are_kept_than_the_model_reads() -> None:
    previous = PreviousText()
    for number in range(100):
        previous = previous.followed_by([decoded(str(number))])
    n_kept = -(-MAX_TOKENS // 10)
    assert texts(previous) == [str(number) for number in range(100 - n_kept, 100)]


def test_only_the_window_and_its_tails_have_text_before_them() -> None:
    previous, passes = PreviousText().followed_by([decoded("a")]), [decoded("b")]
    found = {kind: [one.text for one in previous.before(Piece(0, None, kind), passes)] for kind in PieceKind}
    assert found.pop(PieceKind.WINDOW) == found.pop(PieceKind.TAIL) == ["a", "b"]
    assert set(map(tuple, found.values())) == {()}
