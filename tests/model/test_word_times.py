from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.align import Alignment, TokenBatch
from model.interface import Segment, Word
from model.tokens import WhisperTokenizer
from model.word_times import add_words, with_words

STEP = 320  # samples of a position
VOCABULARY = (" a", " b", "c", ",", ".", ' "', " é", "\xc3", "\xa9", "日")


class ByteTokenizer(WhisperTokenizer):
    """A tokenizer whose ids are indices of `VOCABULARY`; two of them are halves of a character."""

    def __init__(self) -> None:
        self.token_bytes = [t.encode("latin-1") if t in "\xc3\xa9" else t.encode() for t in VOCABULARY]

    def is_text(self, token: int) -> bool:
        return 0 <= token < len(VOCABULARY)

    def bytes_of(self, token: int) -> bytes:
        return self.token_bytes[token]


def segment(tokens: Sequence[str], start: int = 0, stop: int = 0) -> Segment:
    """A segment of tokens, with times in positions."""
    ids = tuple(VOCABULARY.index(token) for token in tokens)
    return Segment(start * STEP, stop * STEP, ByteTokenizer().decode(ids), ids)


def timed(
    segments: Sequence[Segment], positions: Sequence[int], *, n_positions: int = 1500
) -> list[list[tuple[str, float, float]]]:
    """Words of each segment with their times in positions."""
    n_tokens = sum(len(s.tokens) for s in segments)
    probs = np.full(n_tokens, 0.5, np.float32)
    result = with_words(segments, np.array(positions), probs, ByteTokenizer(), n_positions * STEP, "en")
    assert [replace(one, words=()) for one in result] == list(segments)
    return [[(w.text, w.start / STEP, w.stop / STEP) for w in one.words] for one in result]


def test_a_word_lasts_from_its_first_token_to_the_next_word() -> None:
    result = timed([segment([" a", "c", " b", ","], 0, 40)], [2, 5, 9, 20, 22])
    assert result == [[(" ac", 2, 9), (" b,", 9, 20)]]


def test_a_words_probability_is_the_mean_of_its_tokens() -> None:
    (result,) = with_words(
        [segment([" a", "c", ",", " b"], 0, 40)],
        np.array([0, 1, 2, 3, 4]),
        np.array([0.5, 0.25, 0.125, 1.0, 0.0, 0.0], np.float32),  # longer than the text: padding
        ByteTokenizer(),
        1500 * STEP,
        "en",
    )
    assert [w.probability for w in result.words] == [0.375, 1.0]


def test_segments_share_the_alignment_of_their_window() -> None:
    result = timed([segment([" a", " b"], 0, 20), segment([" a"], 20, 30)], [0, 10, 20, 30])
    assert result == [[(" a", 0, 10), (" b", 10, 20)], [(" a", 20, 30)]]


def test_a_pause_after_a_sentence_is_removed_from_the_full_stop() -> None:
    # The median of 10, 10, 10, 60 and 10 positions is 10: the full stop may last 20.
    segments = [segment([" a", " b", " a"], 0, 30), segment([".", " b"], 30, 100)]
    result = timed(segments, [0, 10, 20, 30, 90, 100])
    assert result[1] == [(".", 30, 50), (" b", 90, 100)]
    # Where the full stop is merged into the word before it, its time is dropped.
    result = timed([segment([" a", " b", " a", ".", " b"], 0, 100)], [0, 10, 20, 30, 90, 100])
    assert result == [[(" a", 0, 10), (" b", 10, 20), (" a.", 20, 30), (" b", 90, 100)]]


def test_a_pause_after_a_sentence_is_removed_from_the_next_word() -> None:
    result = timed([segment([" a", " b", " a", ".", " b"], 0, 100)], [0, 10, 20, 30, 40, 100])
    assert result == [[(" a", 0, 10), (" b", 10, 20), (" a.", 20, 30), (" b", 80, 100)]]
    # Also where the next word is in the next segment.
    result = timed(
        [segment([" a", " b", " a", "."], 0, 40), segment([" b"], 40, 100)], [0, 10, 20, 30, 40, 100]
    )
    assert result[1] == [(" b", 80, 100)]


def test_the_median_duration_is_at_most_0_7_s() -> None:
    # They last 50 positions, of which 35 count.
    result = timed([segment([" a", " b", " a", ".", " b"], 0, 280)], [0, 50, 100, 150, 200, 280])
    assert result[0][-1] == (" b", 210, 280)


def test_a_pause_before_a_segment_is_removed_from_its_first_words() -> None:
    long_first = [segment([" a", " b", " a", " b"], 0, 130)]
    assert timed(long_first, [0, 100, 110, 120, 130])[0][0] == (" a", 80, 100)
    # Also from the first two.
    long_second = timed([segment([" a", " b", " a", " b", " a"], 0, 130)], [0, 50, 100, 110, 120, 130])
    assert long_second[0][:2] == [(" a", 60, 80), (" b", 80, 100)]
    # The same word keeps its duration if it directly follows the previous segment.
    follows = [segment([" a", " b"], 0, 20), segment([" a", " b", " a"], 20, 80)]
    assert timed(follows, [0, 10, 20, 45, 55, 65])[1][0] == (" a", 20, 45)


def test_words_far_beyond_their_segment_are_clamped_to_its_times() -> None:
    # 0.5 s are 25 positions; the median is 30.
    words = [" a", " b", " a"]
    assert timed([segment(words, 26, 60)], [0, 30, 60, 90]) == [
        [(" a", 0, 30), (" b", 30, 60), (" a", 60, 90)],
    ]
    late_start = timed([segment(words, 50, 120)], [0, 60, 90, 120])
    assert late_start[0][0] == (" a", 30, 60)
    assert timed([segment(words, 24, 120)], [0, 60, 90, 120])[0][0] == (" a", 0, 60)
    early_stop = timed([segment(words, 0, 90)], [0, 30, 60, 120])
    assert early_stop[0][2] == (" a", 60, 90)
    nearly = timed([segment(words, 0, 95)], [0, 30, 60, 120])
    assert nearly[0][2] == (" a", 60, 120)


def test_a_word_that_becomes_longer_delays_the_next() -> None:
    segments = [segment([" a", " b", " a"], 0, 61), segment([" a", " b"], 90, 153)]
    result = timed(segments, [0, 30, 60, 87, 120, 153])
    assert result == [[(" a", 0, 30), (" b", 30, 60), (" a", 60, 90)], [(" a", 90, 120), (" b", 120, 153)]]


def test_times_end_with_the_window() -> None:
    result = with_words(
        [segment([" a", " b"], 0, 2)], np.array([0, 0, 1]), np.ones(2, np.float32), ByteTokenizer(), 100, "en"
    )
    assert [(w.start, w.stop) for w in result[0].words] == [(0, 0), (0, 100)]
    assert (result[0].start, result[0].stop) == (0, 2 * STEP)


@pytest.mark.parametrize("n_samples", [1, 319, 320, 1599])
def test_windows_of_few_samples(n_samples: int) -> None:
    one = segment([" a"])
    (result,) = with_words([one], np.array([0, 0]), np.ones(1, np.float32), ByteTokenizer(), n_samples, "en")
    assert result.words == (Word(0, 0, " a", 1.0),)
    assert with_words([], np.array([0]), np.ones(0, np.float32), ByteTokenizer(), n_samples, "en") == ()


def test_segments_without_tokens_or_text_stay_as_they_are() -> None:
    bare = Segment(5, 6, " from another decoder")
    spaces = Segment(7, 8, "", ())
    result = with_words(
        [bare, segment([" a"], 1, 2), spaces],
        np.array([1, 2]),
        np.ones(1, np.float32),
        ByteTokenizer(),
        9999,
        "en",
    )
    assert result[0] == bare
    assert result[2] == spaces
    assert result[1].words == (Word(320, 640, " a", 1.0),)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Segment], list[int], int]:
    sizes = draw(st.lists(st.integers(0, 6), max_size=5))
    n_samples = draw(st.integers(1, 480_000))
    segments = []
    for size in sizes:
        tokens = draw(st.lists(st.sampled_from(VOCABULARY), min_size=size, max_size=size))
        start, stop = sorted(draw(st.tuples(st.integers(0, n_samples), st.integers(0, n_samples))))
        segments.append(replace(segment(tokens), start=start, stop=stop))
    n = sum(sizes)
    last = max(0, n_samples // STEP - 1)
    positions = draw(st.lists(st.integers(0, last), min_size=n + 1, max_size=n + 1))
    return segments, sorted(positions), n_samples


@settings(max_examples=300, deadline=None)
@given(windows(), st.sampled_from(["en", "ja"]))
def test_words_concatenate_to_the_text_in_order_and_inside_the_window(
    window: tuple[list[Segment], list[int], int], language: str
) -> None:
    segments, positions, n_samples = window
    probs = np.full(len(positions), 0.5, np.float32)
    result = with_words(segments, np.array(positions), probs, ByteTokenizer(), n_samples, language)
    now = 0
    for before, after in zip(segments, result, strict=True):
        assert replace(after, words=()) == before
        assert "".join(word.text for word in after.words) == (before.text if before.tokens else "")
        for word in after.words:
            assert now <= word.start <= word.stop <= n_samples
            now = word.stop
            assert word.probability == 0.5


def test_no_word_is_longer_than_it_can_be_spoken() -> None:
    """A word loses the pause before it, and the last one of a segment that behind it."""
    tokens = [" a", " b", " a", " b"]
    assert timed([segment(tokens, 0, 1200)], [0, 100, 150, 400, 1200]) == [
        [(" a", 0, 100), (" b", 100, 150), (" a", 300, 400), (" b", 400, 500)]
    ]
    assert timed([segment([" a", " b"], 0, 200)], [0, 100, 200]) == [[(" a", 0, 100), (" b", 100, 200)]]


def test_a_number_may_take_half_a_second_a_digit_and_a_name_a_tenth_a_letter() -> None:
    class Tokenizer(ByteTokenizer):
        def __init__(self) -> None:
            self.token_bytes = [b" a", b" 5550123", b" Grimmelshausens-Gesellschaft"]

    words = segment([" a"])
    words = replace(
        words, text=" a 5550123 Grimmelshausens-Gesellschaft a", tokens=(0, 1, 2, 0), stop=900 * STEP
    )
    positions, probs = np.array([0, 50, 400, 800, 820]), np.ones(4, np.float32)
    (result,) = with_words([words], positions, probs, Tokenizer(), 900 * STEP, "en")
    assert [(w.start // STEP, w.stop // STEP) for w in result.words] == [
        (0, 50),
        (225, 400),
        (660, 800),
        (800, 820),
    ]


def test_add_words_maps_rows_to_windows() -> None:
    """Words get the positions with high weights, whatever the padding contains."""
    batch = TokenBatch(
        np.zeros((3, 64), np.int32),
        np.array([2, 0, 1], np.int32),
        np.array([50, 10, 20]),
        np.array([1500] * 3),
    )
    weights = np.random.default_rng(0).standard_normal((3, 60, 1500)).astype(np.float32) * 9
    weights[0, :3, :50] = weights[1, :1, :10] = weights[2, :2, :20] = -1
    weights[0, 0, :20] = weights[0, 1, 20:30] = weights[0, 2, 30:50] = 1
    weights[2, 0, :5] = weights[2, 1, 5:20] = 1
    probs = np.full((3, 60), 0.25, np.float32)
    first, second, third = add_words(
        [[segment([" a", " b"], 0, 50)], [], [segment(["日"], 0, 20)]],
        batch,
        Alignment(weights, probs),
        ByteTokenizer(),
        [50 * STEP, 10 * STEP, 20 * STEP],
        ["en", "en", "ja"],
    )
    assert [(w.text, w.start // STEP, w.stop // STEP) for w in first[0].words] == [
        (" a", 0, 20),
        (" b", 20, 30),
    ]
    assert second == ()
    assert third[0].words == (Word(0, 5 * STEP, "日", 0.25),)
