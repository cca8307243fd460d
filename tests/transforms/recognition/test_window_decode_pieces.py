"""Windows that are decoded in pieces: holes, repetitions, several languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Segment, WindowResult
from transforms.core.types import AudioSource, Failure, Window
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.pieces import MAX_PIECES
from transforms.recognition.window_decode import (
    MAX_PASSES,
    DroppedRange,
    WindowDecode,
)

SOURCE = AudioSource("id", "u")
ONCE = FallbackPolicy(temperature=(0.0,))
TWICE = FallbackPolicy(temperature=(0.0, 0.4))
FAILURE = Failure("id", "u", "transcribe", "model_error", "the model raised")


def request_of(
    decode: WindowDecode, policy: FallbackPolicy, decoding: DecodingOptions | None = None
) -> Request:
    return decode.request(decoding or DecodingOptions(), policy)


SURE_ENGLISH = {"en": 0.99}


def spoken(*speech: tuple[float, float], language: str | None = None) -> Window:
    """A window that is all speech, with pauses where these seconds end."""
    samples = np.zeros(int(speech[-1][1] * SAMPLE_RATE), np.float32)
    intervals = tuple((int(start * SAMPLE_RATE), int(stop * SAMPLE_RATE)) for start, stop in speech)
    return Window("id", 0, ((0, samples.size),), samples, samples.size, language, intervals)


def written(
    *segments: tuple[float, float, str],
    language: str = "en",
    probs: Mapping[str, float] = SURE_ENGLISH,
    n_tokens: int = 0,
    **scores: float,
) -> WindowResult:
    """A result with these segments, of (start, stop) in seconds and text."""
    found = tuple(
        Segment(int(start * SAMPLE_RATE), int(stop * SAMPLE_RATE), text, tuple(range(n_tokens)))
        for start, stop, text in segments
    )
    return WindowResult(found, language, probs, **scores)  # type: ignore[arg-type]


def requested(decode: WindowDecode, policy: FallbackPolicy = TWICE) -> tuple[float, float, str | None, float]:
    """Start and stop in seconds, language and temperature of the next request."""
    request = request_of(decode, policy)
    start_s = (decode.start or 0) / SAMPLE_RATE
    return start_s, start_s + request.samples.size / SAMPLE_RATE, request.language, request.temperature


def texts(decode: WindowDecode) -> list[tuple[float, str, str]]:
    """(start in seconds, text, language) of each segment."""
    return [
        (start / SAMPLE_RATE, segment.text, one.result.language)
        for one in decode.passes
        for start, _, segment in one.placed()
    ]


TURNS = ((0.0, 10.0), (10.0, 15.0), (15.0, 24.0), (24.0, 29.0))


def test_a_hole_in_a_window_of_a_given_language_is_decoded_in_pieces_and_filled_in_order() -> None:
    decode = WindowDecode(SOURCE, spoken(*TURNS, language="en"))
    decode = decode.with_result(written((0, 10, " a"), (24, 29, " d")), TWICE)
    assert requested(decode) == (10, 15, "en", 0)
    decode = decode.with_result(written((0, 5, " b")), TWICE)
    assert requested(decode) == (15, 24, "en", 0)
    decode = decode.with_result(written((0.5, 9, " c")), TWICE)
    assert decode.is_finished
    assert texts(decode) == [(0, " a", "en"), (10, " b", "en"), (15.5, " c", "en"), (24, " d", "en")]
    assert decode.counts == ("pieces_hole", "pieces_hole", "holes_filled", "holes_filled")
    assert decode.dropped == ()


@pytest.mark.parametrize(
    ("result", "reason", "text"),
    [
        (written((0, 5, " b"), avg_logprob=-1.02), "no_text", " b"),
        (written((0, 2, " b"), (2, 5, " c"), no_speech_prob=0.7), "no_text", " b c"),
        (written((0, 5, " b"), compression_ratio=3.0), "no_text", " b"),
        (written((0, 5, " ...")), "no_text", ""),
        (written(), "no_text", ""),
        (None, "failed", ""),
    ],
)
def test_a_hole_stays_without_text_and_is_listed_with_what_was_rejected_where_the_model_is_not_sure(
    result: WindowResult | None, reason: str, text: str
) -> None:
    decode = WindowDecode(SOURCE, spoken((0, 10), (10, 15), (15, 24), language="en"))
    decode = decode.with_result(written((0, 10, " a"), (15, 24, " d")), TWICE)
    assert requested(decode) == (10, 15, "en", 0)
    decode = decode.with_failure(FAILURE, TWICE) if result is None else decode.with_result(result, TWICE)
    assert decode.is_finished
    assert texts(decode) == [(0, " a", "en"), (15, " d", "en")]
    assert decode.dropped == (DroppedRange(160_000, 240_000, reason, text),)


def test_rejected_text_of_a_segment_that_is_kept_is_not_listed_and_of_a_replaced_one_it_is() -> None:
    unsure = written((0, 6, " y"), n_tokens=9, avg_logprob=-2.0)
    for n_tokens, first, dropped in (
        (3, " a", ()),
        (9, " x", (DroppedRange(96_000, 192_000, "no_text", " y"),)),
    ):
        decode = WindowDecode(SOURCE, spoken((0, 6), (6, 12), language="en"))
        decode = decode.with_result(written((0, 12, " a"), n_tokens=5), TWICE)
        decode = decode.with_result(written((0, 6, " x"), n_tokens=n_tokens), TWICE)
        decode = decode.with_result(unsure, TWICE)
        assert [text for _, text, _ in texts(decode)] == [first]
        assert decode.dropped == dropped


def test_text_that_counted_as_silence_stays_listed_unless_half_of_its_time_has_other_text() -> None:
    silent = written((0, 15, " x"), no_speech_prob=0.9, avg_logprob=-1.5)
    for stop_s, n_listed in ((3, 1), (9, 0)):
        decode = WindowDecode(SOURCE, spoken((0, 10), (10, 15), language="en")).with_result(silent, TWICE)
        decode = decode.with_result(written((0, stop_s, " a")), TWICE).with_result(written(), TWICE)
        assert [one.text for one in decode.dropped if one.reason == "no_speech"] == [" x"] * n_listed


def test_what_is_left_after_the_most_passes_is_decoded_as_a_hole() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 12), (12, 18), language="en"))
    for _ in range(MAX_PASSES):
        decode = decode.with_result(written((0, 1, " a")), TWICE)
    assert requested(decode)[:2] == (4, 12)
    decode = decode.with_result(written((0, 8, " b")), TWICE).with_result(written((0, 6, " c")), TWICE)
    assert [text for _, text, _ in texts(decode)] == [" a"] * MAX_PASSES + [" b", " c"]
    assert decode.dropped == ()


def test_a_window_with_speech_and_no_text_is_decoded_in_pieces() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 10), (10, 15), language="en"))
    silent = written((0, 15, " x"), no_speech_prob=0.9, avg_logprob=-1.5)
    for first, dropped in ((written(), ()), (silent, (DroppedRange(0, 240_000, "no_speech", " x"),))):
        empty = decode.with_result(first, TWICE)
        assert (requested(empty), empty.dropped) == ((0, 10, "en", 0), dropped)
        filled = empty.with_result(written((0, 10, " a")), TWICE).with_result(written(), TWICE)
        assert texts(filled) == [(0, " a", "en")]
        assert filled.dropped == (DroppedRange(160_000, 240_000, "no_text"),)
    clip = WindowDecode(SOURCE, spoken((0, 5), language="en")).with_result(written(), TWICE)
    assert clip.is_finished  # there is no piece of it
    assert clip.dropped == (DroppedRange(0, 80_000, "no_text"),)


def test_a_text_that_repeats_itself_at_every_temperature_is_decoded_in_pieces_from_its_last_segment() -> None:
    """Decoding was stopped there, so it spans more than its text."""
    loop = replace(written((0, 6, " x"), (6, 18, " a a a"), n_tokens=30), repeated=True)
    decode = WindowDecode(SOURCE, spoken((0, 18), language="en"))
    decode = decode.with_result(loop, TWICE).with_result(loop, TWICE)
    for start_s in (6, 12):
        assert requested(decode)[0] == pytest.approx(start_s, abs=1)
        decode = decode.with_result(written((0, 5, " b"), n_tokens=20), TWICE)
    assert decode.is_finished
    assert [text for _, text, _ in texts(decode)] == [" x", " b", " b"]


def test_speech_without_text_is_not_decoded_again_without_timestamps_but_listed() -> None:
    for segments, dropped in (
        ([], (DroppedRange(0, 464_000, "no_text"),)),
        ([(0.0, 29.0, " a")], ()),
    ):
        untimed = replace(written(*segments), timestamped=False)
        decode = WindowDecode(SOURCE, spoken(*TURNS)).with_result(untimed, TWICE)
        assert (decode.is_finished, decode.dropped) == (True, dropped)


def test_a_segment_with_too_little_text_for_its_speech_is_replaced_by_that_of_its_pieces() -> None:
    copies = tuple((2.5 * n, 2.5 * n + 2.5) for n in range(10))
    decode = WindowDecode(SOURCE, spoken(*copies, language="en"))
    decode = decode.with_result(written((0, 25, " a"), n_tokens=5), TWICE)
    n_pieces = 0
    while not decode.is_finished:
        start_s, stop_s, *_ = requested(decode)
        assert stop_s - start_s == 5
        decode = decode.with_result(written((0, 2.5, " a"), (2.5, 5, " a"), n_tokens=5), TWICE)
        n_pieces += 1
    assert n_pieces == 5
    assert [text for _, text, _ in texts(decode)] == [" a"] * 10


def test_text_that_repeats_itself_is_decoded_in_pieces_before_any_higher_temperature() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 6), (6, 12), (12, 18), language="en"))
    loop = replace(written((0, 18, " a a a a")), repeated=True)
    decode = decode.with_result(loop, TWICE)
    assert decode.counts == ("failed_loop", *["pieces_part"] * 3)
    for start_s in (0, 6, 12):
        assert requested(decode) == (start_s, start_s + 6, "en", 0)
        decode = decode.with_result(written((0, 6, " a a")), TWICE)
    assert decode.is_finished
    assert [text for _, text, _ in texts(decode)] == [" a a"] * 3
    assert {one.fallback for one in decode.passes} == {"loop"}
    assert not any(one.result.repeated for one in decode.passes)


def test_a_piece_that_repeats_itself_is_decoded_at_a_higher_temperature() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 6), (6, 12), language="en"))
    loop = written((0, 12, " a a a a"), compression_ratio=3.0)
    decode = decode.with_result(loop, TWICE).with_result(written((0, 6, " a"), compression_ratio=3), TWICE)
    assert requested(decode) == (0, 6, "en", 0.4)
    decode = decode.with_result(written((0, 6, " b")), TWICE)
    assert requested(decode) == (6, 12, "en", 0)
    decode = decode.with_failure(FAILURE, TWICE)
    assert (decode.is_finished, decode.failures) == (True, (FAILURE,))
    assert texts(decode) == [(0, " b", "en")]
    assert decode.dropped == (DroppedRange(96_000, 192_000, "failed"),)


def test_without_a_pause_or_without_fallback_a_repetition_is_not_decoded_in_pieces() -> None:
    loop = replace(written((0, 12, " a a a a")), repeated=True)
    whole = WindowDecode(SOURCE, spoken((0, 12), language="en")).with_result(loop, TWICE)
    assert requested(whole) == (0, 12, "en", 0.4)
    once = WindowDecode(SOURCE, spoken((0, 6), (6, 12), language="en")).with_result(loop, ONCE)
    assert texts(once) == [(0, " a a a a", "en")]


def pieces_decoded(decode: WindowDecode, *results: WindowResult) -> WindowDecode:
    for result in results:
        decode = decode.with_result(result, TWICE)
    return decode


def test_a_window_that_is_unsure_of_its_language_is_decoded_by_runs_of_one_language() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 4), (4, 10), (10, 15), (15, 24), (24, 29)))
    unsure = {"en": 0.86, "es": 0.13}
    decode = decode.with_result(written((0, 10, " a"), (24, 29, " d"), probs=unsure), TWICE)
    assert requested(decode) == (0, 4, None, 0)
    decode = pieces_decoded(
        decode,
        written((0, 4, " a")),
        written((0, 6, " a")),
        written((0, 5, " b"), language="de", probs={"de": 0.99}),
        written((0, 9, " c"), language="es", probs={"es": 0.98}),
        written((0, 5, " d")),
    )
    assert requested(decode) == (0, 10, "en", 0)  # the others are runs of one piece, and are decoded
    decode = decode.with_result(written((0, 10, " a a"), probs={}), TWICE)
    assert decode.is_finished
    assert texts(decode) == [(0, " a a", "en"), (10, " b", "de"), (15, " c", "es"), (24, " d", "en")]
    head = decode.passes[0].result
    assert (head.language, max(head.language_probs, key=lambda one: head.language_probs[one])) == ("en", "en")
    assert head.language_probs["de"] == pytest.approx(5 / 29, abs=0.01)


def test_a_window_whose_pieces_agree_with_it_keeps_its_first_decoding() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 6), (6, 12)))
    first = written((0, 12, " a"), probs={"en": 0.9, "es": 0.05})
    decode = pieces_decoded(decode, first, written((0, 6, " x")), written((0, 6, " y")))
    assert decode.is_finished
    assert texts(decode) == [(0, " a", "en")]
    assert decode.passes[0].result.language_probs == first.language_probs
    rejected = replace(first, avg_logprob=-2.0)
    decode = WindowDecode(SOURCE, spoken((0, 6), (6, 12)))
    decode = pieces_decoded(decode, rejected, written((0, 6, " x")), written((0, 6, " y")))
    assert requested(decode) == (0, 12, "en", 0.4)


def test_languages_are_not_detected_where_one_is_given_or_there_is_no_pause() -> None:
    unsure = written((0, 12, " a"), probs={"en": 0.6, "es": 0.4})
    assert WindowDecode(SOURCE, spoken((0, 12))).with_result(unsure, TWICE).is_finished
    given = WindowDecode(SOURCE, spoken((0, 6), (6, 12), language="en"))
    assert given.with_result(replace(unsure, language_probs={}), TWICE).is_finished


GERMAN = written((0, 5, " b"), language="de", probs={"de": 0.97})


@pytest.mark.parametrize("end_s", [10, 24])
def test_a_tail_or_hole_in_another_language_shows_that_the_window_has_several(end_s: int) -> None:
    speech = (0.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 24.0)
    segments = [(0, 10, " a"), (15, 24, " c")][: 1 if end_s == 10 else 2]
    decode = WindowDecode(SOURCE, spoken(*speech)).with_result(written(*segments), TWICE)
    start_s, _, language, _ = requested(decode)
    assert (start_s, language) == (10, None)
    decode = decode.with_result(GERMAN, TWICE)
    assert requested(decode) == (0, 5, None, 0)
    decode = pieces_decoded(decode, written((0, 5, " a")), written((0, 5, " a")), GERMAN)
    decode = decode.with_result(written((0, 9, " c")), TWICE)
    assert requested(decode) == (0, 10, "en", 0)
    decode = decode.with_result(written((0, 10, " a a")), TWICE)
    assert decode.is_finished
    assert texts(decode) == [(0, " a a", "en"), (10, " b", "de"), (15, " c", "en")]


def test_holes_are_decoded_in_the_language_of_the_window_if_its_pieces_are_in_that() -> None:
    speech = (0.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 24.0)
    decode = WindowDecode(SOURCE, spoken(*speech))
    decode = decode.with_result(written((0, 9.5, " a"), (15, 24, " c")), TWICE)
    welsh = written((0, 5, " b"), language="cy", probs={"cy": 0.9})
    decode = pieces_decoded(decode, welsh, *[written((0, 5, " x"))] * 4)
    assert requested(decode) == (10, 15, "en", 0)
    decode = decode.with_result(written((0, 5, " b"), probs={}), TWICE)
    assert decode.is_finished
    assert texts(decode) == [(0, " a", "en"), (10, " b", "en"), (15, " c", "en")]


def test_a_tail_whose_language_is_not_sure_is_decoded_again_in_that_of_the_window() -> None:
    decode = WindowDecode(SOURCE, spoken((0, 5), (5, 10))).with_result(written((0, 5, " a")), TWICE)
    assert requested(decode) == (5, 10, None, 0)
    unsure = written((0, 5, " b"), language="cy", probs={"cy": 0.6, "en": 0.3})
    decode = decode.with_result(unsure, TWICE)
    assert requested(decode) == (5, 10, "en", 0)
    assert texts(decode.with_result(written((0, 5, " b")), TWICE)) == [(0, " a", "en"), (5, " b", "en")]


def test_only_the_languages_that_are_possible_are_found() -> None:
    window = spoken((0, 10), (10, 15), (15, 24))
    for languages, language in ((("en", "de"), "de"), (("en", "fr"), "en")):
        decode = WindowDecode(SOURCE, window, languages=languages)
        decode = decode.with_result(written((0, 10, " a"), (15, 24, " c")), TWICE).with_result(GERMAN, TWICE)
        if language == "de":
            decode = pieces_decoded(decode, written((0, 10, " a")), GERMAN, written((0, 9, " c")))
        else:
            assert requested(decode) == (10, 15, "en", 0)
            decode = decode.with_result(written((0, 5, " b")), TWICE)
        assert decode.is_finished
        assert [one for *_, one in texts(decode)] == ["en", language, "en"]


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize(
    "result",
    [
        written(),
        written((0, 1, " a"), probs={"en": 0.5, "cy": 0.4}, n_tokens=1),
        written((0, 1, " a"), language="cy", probs={"cy": 0.9}, compression_ratio=3.0),
        written((0, 1, " a"), avg_logprob=-2.0, n_tokens=1),
        replace(written((0, 1, " a")), repeated=True),
    ],
)
def test_decoding_ends_after_a_bounded_number_of_passes_whatever_the_model_writes(
    language: str | None, result: WindowResult
) -> None:
    decode = WindowDecode(SOURCE, spoken(*((n, n + 1) for n in range(30)), language=language))
    n_passes = 0
    while not decode.is_finished:
        asked = request_of(decode, TWICE).language
        decode = decode.with_result(replace(result, language=asked or result.language), TWICE)
        n_passes += 1
        assert n_passes <= 2 * (MAX_PASSES + 4 * MAX_PIECES)
