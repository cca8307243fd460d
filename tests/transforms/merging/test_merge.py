from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.simulated_talks import Recogniser, Talk, make_talk, recognise
from model.interface import SAMPLE_RATE, SPEECH_CHUNK, WindowResult
from model.interface import Segment as ModelSegment
from transforms.core.types import CutKind, Intervals, Segment, Window, WindowTranscript
from transforms.merging.merge import Merged, WindowMerger, merge_windows
from transforms.merging.timed_words import timed_words
from transforms.recognition.window_decode import DecodePass
from transforms.recognition.window_transcript import to_window_transcript
from transforms.windows.packing import Packing
from transforms.windows.speech_intervals import SpeechSegmenter
from transforms.windows.splices import in_window, length


def window(
    index: int, start_s: float, end_s: float, *segments: tuple[float, float, str], language: str = "en"
) -> WindowTranscript:
    made = tuple(Segment(begin_s, stop_s, text, -0.5, 0.1, 1.2, 0.2) for begin_s, stop_s, text in segments)
    return WindowTranscript("talk", index, start_s, end_s, made, language)


def assert_in_time(merged: Merged, duration_s: float) -> None:
    times = [time_s for segment in merged.segments for time_s in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    assert all(0 <= time_s <= duration_s for time_s in [*times, *(b.time_s for b in merged.boundaries)])


# Talks: what a perfect recogniser heard comes out as it was said.


def test_200_talks_lose_and_double_nothing() -> None:
    recognisers = [Recogniser(), Recogniser(jitter_s=0.0), Recogniser(p_cut_dropped=0.3, p_cut_garbled=0.4)]
    for seed in range(200):
        talk = make_talk(seed, 180.0)
        windows, _ = recognise(talk, recognisers[seed % 3], seed)
        merged = merge_windows(windows, talk.duration_s)
        assert merged.text == talk.text, f"talk {seed}"
        assert_in_time(merged, talk.duration_s)
        assert len(merged.boundaries) == len(windows) - 1


# derandomized: a made-up talk may, once in ten thousand boundaries, fill the shared seconds with one repeat
@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    jitter_s=st.floats(0.0, 0.5),
    p_cut_dropped=st.floats(0.0, 0.5),
    p_cut_garbled=st.floats(0.0, 0.5),
    shared_s=st.floats(4.0, 14.0),
    chunk_s=st.floats(28.0, 30.0),
)
def test_agreeing_windows_give_back_the_text(
    seed: int, jitter_s: float, p_cut_dropped: float, p_cut_garbled: float, shared_s: float, chunk_s: float
) -> None:
    talk = make_talk(seed, 90.0)
    recogniser = Recogniser(jitter_s=jitter_s, p_cut_dropped=p_cut_dropped, p_cut_garbled=p_cut_garbled)
    windows, _ = recognise(talk, recogniser, seed, chunk_s, shared_s)
    assert merge_windows(windows, talk.duration_s).text == talk.text


def test_each_merged_segment_has_the_window_that_it_is_from() -> None:
    windows = [
        window(3, 0.0, 30.0, (1.0, 4.0, " one two"), (26.0, 29.0, " three four five")),
        window(4, 25.0, 55.0, (26.0, 29.0, " three four five"), (40.0, 42.0, " six")),
    ]
    merged = merge_windows(windows, 60.0)
    assert merged.text == "one two three four five six"
    assert len(merged.windows) == len(merged.segments)
    assert (merged.windows[0], merged.windows[-1]) == (3, 4)
    assert list(merged.windows) == sorted(merged.windows)


@pytest.mark.parametrize("shared_s", [20.0, 25.0])
def test_windows_that_overlap_by_more_than_half_give_back_the_text(shared_s: float) -> None:
    for seed in range(5):
        talk = make_talk(seed, 120.0)
        windows, _ = recognise(talk, Recogniser(), seed, shared_s=shared_s)
        assert merge_windows(windows, talk.duration_s).text == talk.text


def test_an_empty_window_costs_only_the_words_of_its_unshared_seconds() -> None:
    for seed in range(20):
        talk = make_talk(seed, 120.0)
        windows, _ = recognise(talk, Recogniser(jitter_s=0.0), seed)
        windows[1] = replace(windows[1], segments=())
        text = merge_windows(windows, talk.duration_s).text
        others = [word.text for word in talk.words if word.end_s <= 30.0 or word.start_s >= 50.0]
        cut = [word for word in talk.words for at_s in (30.0, 50.0) if word.start_s < at_s < word.end_s]
        assert len(others) <= len(text.split()) <= len(others) + len(cut)
        assert len(cut) or text == " ".join(others)


def test_a_talk_without_times_loses_nothing_but_repeats() -> None:
    n_words = n_merged = 0
    for seed in range(40):
        talk = make_talk(seed, 180.0)
        windows, _ = recognise(talk, Recogniser(timestamped=False), seed)
        merged = merge_windows(windows, talk.duration_s)
        assert_in_time(merged, talk.duration_s)
        n_words += len(talk.words)
        n_merged += len(merged.text.split())
    assert abs(n_merged - n_words) < 0.005 * n_words


# Windows packed with speech: silence is cut out of them, and few of them share anything.


def packed_windows(talk: Talk, seed: int) -> list[WindowTranscript]:
    """A talk as a recogniser hears it that is given speech alone, and writes all words that are not cut."""
    rng = random.Random(seed)
    n_samples = round(talk.duration_s * SAMPLE_RATE)
    probabilities = np.zeros(-(-n_samples // SPEECH_CHUNK), np.float32)
    for word in talk.words:
        first, last = (round(time_s * SAMPLE_RATE) // SPEECH_CHUNK for time_s in (word.start_s, word.end_s))
        probabilities[max(first - 4, 0) : last + 5] = 1.0  # what is shorter than 0.25 s is no speech
    segmenter, packing = SpeechSegmenter(), Packing(30 * SAMPLE_RATE, 25 * SAMPLE_RATE)
    packed = [*packing.add(segmenter.feed(probabilities, n_samples) + segmenter.finish()), *packing.finish()]
    windows = []
    for index, plan in enumerate(packed):
        samples = np.zeros(length(plan.intervals), np.float32)
        one = Window(
            "talk", index, plan.stretches, samples, plan.n_unshared, speech=in_window(plan.intervals)
        )
        result = WindowResult(tuple(phrases(talk, plan.stretches, rng)), "en")
        windows.append(to_window_transcript(one, [DecodePass(0, result)]))
    return windows


def phrases(talk: Talk, stretches: Intervals, rng: random.Random) -> Iterator[ModelSegment]:
    """The words that pieces hold whole, in segments of up to 8 s of the window."""
    begun, stop, limit, text = 0, 0, 0, ""
    for (start, end), (place, _) in zip(stretches, in_window(stretches), strict=True):
        for word in talk.words:
            first, last = round(word.start_s * SAMPLE_RATE), round(word.end_s * SAMPLE_RATE)
            if not start <= first <= last <= end:
                continue
            if text and (last - start + place > limit or first - start + place - stop > SAMPLE_RATE):
                yield ModelSegment(begun, stop, text)
                text = ""
            if not text:
                begun, limit = first - start + place, last - start + place + rng.randint(2, 8) * SAMPLE_RATE
            stop, text = last - start + place, f"{text} {word.text}"
    if text:
        yield ModelSegment(begun, stop, text)


def test_talks_in_windows_packed_with_speech_lose_and_double_nothing() -> None:
    kinds = set()
    for seed in range(60):
        talk = make_talk(seed, 180.0)
        windows = packed_windows(talk, seed)
        merged = merge_windows(windows, talk.duration_s)
        assert merged.text == talk.text, f"talk {seed}"
        assert_in_time(merged, talk.duration_s)
        spoken = iter(talk.words)
        for segment in merged.segments:
            words = [next(spoken) for _ in segment.text.split()]
            assert segment.start_s <= words[0].end_s
            assert segment.end_s >= words[-1].start_s
        kinds |= {boundary.kind for boundary in merged.boundaries}
    assert kinds >= {CutKind.DISJOINT, CutKind.RUN}


# Any windows at all: what holds whatever the recogniser wrote. The text of each word says, in punctuation
# that the merge does not compare, which word of which window it is.


@st.composite
def any_windows(draw: st.DrawFn) -> list[WindowTranscript]:
    rng = random.Random(draw(st.integers(0, 10**9)))
    step_s, length_s = draw(st.floats(3.0, 30.0)), draw(st.floats(4.0, 30.0))
    slips_s = draw(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=5))
    windows = []
    for index, slip_s in enumerate(slips_s):
        start_s = index * step_s + slip_s
        bounds = sorted(rng.uniform(start_s, start_s + length_s) for _ in range(2 * rng.randint(0, 5)))
        texts = ["".join(f" {rng.choice('abno')}" for _ in range(rng.randint(0, 12))) for _ in bounds[::2]]
        segments = zip(bounds[::2], bounds[1::2], texts, strict=True)
        made = window(index, start_s, start_s + length_s, *segments)
        windows.append(replace(made, timestamped=rng.random() < 0.8))
    return _sign(windows)


def _sign(windows: list[WindowTranscript]) -> list[WindowTranscript]:
    signed, number = [], 0
    for one in windows:
        segments = []
        for segment in one.segments:
            words = segment.text.split()
            codes = [format(number + n, "b").translate({48: "!", 49: "?"}) for n in range(len(words))]
            number += len(words)
            text = "".join(f" {word}{code}" for word, code in zip(words, codes, strict=True))
            segments.append(replace(segment, text=text))
        signed.append(replace(one, segments=tuple(segments)))
    return signed


@settings(deadline=None)
@given(windows=any_windows(), seed=st.integers(0, 1000))
def test_each_word_comes_from_one_window_in_order_for_any_windows(
    windows: list[WindowTranscript], seed: int
) -> None:
    duration_s = windows[-1].end_s
    merged = merge_windows(windows, duration_s)
    heard = [[word.text.strip() for word in timed_words(one)] for one in windows]
    place = {text: (index, n) for index, texts in enumerate(heard) for n, text in enumerate(texts)}
    kept = [place[text] for text in merged.text.split()]
    for (index, n), (next_index, next_n) in pairwise(kept):
        assert next_index > index or (next_index == index and next_n == n + 1)
    assert_in_time(merged, duration_s)
    assert len(merged.boundaries) == len(windows) - 1
    random.Random(seed).shuffle(windows)
    assert merge_windows(windows, duration_s) == merged


@settings(deadline=None)
@given(windows=any_windows())
def test_exclusive_words_are_never_lost_for_any_windows(windows: list[WindowTranscript]) -> None:
    written = set(merge_windows(windows, windows[-1].end_s).text.split())
    for one in windows:
        others = [other for other in windows if other is not one]
        for word in timed_words(one):
            slack_s = word.slack_s + 1e-6
            if not any(o.start_s - slack_s <= word.mid_s <= o.end_s + slack_s for o in others):
                assert word.text.strip() in written


# Segments, order, bounds.


def test_segments_that_lose_nothing_stay_as_they_are() -> None:
    first = window(0, 0.0, 30.0, (0.01, 1.64, " It was late."), (26.0, 29.0, " So we went home."))
    second = window(1, 25.0, 55.0, (26.0, 29.0, " So we went home."), (30.0, 33.3, " And slept."))
    segments = merge_windows([first, second], 55.0).segments
    assert segments[0] == first.segments[0]
    assert segments[-1] == second.segments[1]
    assert [segment.text for segment in segments] == [" It was late.", " So we went", " home.", " And slept."]


def test_a_segment_that_lost_words_has_the_times_and_scores_of_the_rest() -> None:
    first = window(0, 0.0, 30.0, (25.0, 29.0, " aaaa bbbb cccc dddd"))
    second = window(1, 25.0, 55.0, (25.0, 29.0, " aaaa bbbb cccc dddd"))
    second = replace(second, segments=tuple(replace(s, avg_logprob=-0.9) for s in second.segments))
    left, right = merge_windows([first, second], 55.0).segments
    assert (left.text, left.start_s, left.end_s, left.avg_logprob) == (" aaaa bbbb", 25.0, 27.0, -0.5)
    assert (right.text, right.start_s, right.end_s, right.avg_logprob) == (" cccc dddd", 27.0, 29.0, -0.9)


def test_times_that_overlap_meet_in_the_middle() -> None:
    first = window(0, 0.0, 30.0, (20.0, 29.0, " one"))
    second = window(1, 28.0, 58.0, (28.5, 33.0, " two"))
    left, right = merge_windows([first, second], 58.0).segments
    assert (left.text, left.end_s, right.text, right.start_s) == (" one", 28.75, " two", 28.75)


def test_no_time_is_after_the_recording() -> None:
    heard = window(0, 0.0, 30.0, (1.0, 12.0, " one"), (13.0, 14.0, " two"))
    one, two = merge_windows([heard], 11.0).segments
    assert (one.start_s, one.end_s, one.text) == (1.0, 11.0, " one")
    assert (two.start_s, two.end_s, two.text) == (11.0, 11.0, " two")


def test_no_cut_is_after_the_recording() -> None:
    first, second = window(0, 0.0, 30.0, (1.0, 2.0, " one")), window(1, 25.0, 55.0, (26.0, 27.0, " two"))
    assert merge_windows([first, second], 24.0).boundaries[0].time_s == 24.0


def test_segments_without_text_vanish() -> None:
    assert merge_windows([window(0, 0.0, 30.0, (1.0, 2.0, " "), (2.0, 3.0, ""))], 30.0).segments == ()


def test_characters_are_the_words_of_languages_without_spaces() -> None:
    first = window(0, 0.0, 30.0, (25.0, 29.0, "今日はいい天気"), language="ja")
    second = window(1, 25.0, 55.0, (26.1, 32.0, "はいい天気ですね。"), language="ja")
    merged = merge_windows([first, second], 55.0)
    assert merged.text == "今日はいい天気ですね。"
    assert merged.boundaries[0].kind is CutKind.RUN


def test_a_missing_window_is_a_gap_and_no_more() -> None:
    talk = make_talk(3, 120.0)
    windows, _ = recognise(talk, Recogniser(), 3)
    merged = merge_windows(windows[:1] + windows[2:], 120.0)
    assert merged.boundaries[0].kind is CutKind.DISJOINT
    assert merged.text.startswith(merge_windows(windows[:1], 120.0).text)
    assert merged.text.endswith(merge_windows(windows[2:], 120.0).text)


def test_cuts_of_three_windows_that_share_seconds_do_not_cross() -> None:
    spoken = " one two three four five six seven eight nine ten"  # second 20 to 30, which all three heard
    first = window(0, 0.0, 30.0, (20.0, 30.0, spoken))
    second = window(1, 10.0, 40.0, (20.0, 30.0, spoken))
    third = window(2, 20.0, 50.0, (20.0, 30.0, spoken))
    assert merge_windows([first, second, third], 50.0).text == spoken.strip()
    assert merge_windows([first, replace(second, segments=()), third], 50.0).text == spoken.strip()


def test_windows_without_text_give_an_empty_text() -> None:
    assert merge_windows([], 3.0) == Merged((), ())
    assert merge_windows([window(0, 0.0, 3.0)], 3.0).text == ""


@pytest.mark.parametrize("other", [(1, 25.0, 55.0), (2, 24.0, 56.0), (2, 26.0, 55.0), (0, 25.0, 55.0)])
def test_windows_that_do_not_follow_each_other_are_refused(other: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="do not follow each other"):
        merge_windows([window(1, 25.0, 55.0), window(*other)], 60.0)


def test_segments_that_lose_words_keep_the_others_with_their_times() -> None:
    talk = make_talk(3, 120.0)
    windows, _ = recognise(talk, Recogniser(word_jitter_s=0.1), 3)
    merged = merge_windows(windows, talk.duration_s)
    assert merged.text == talk.text
    shortened = {s.text for s in merged.segments} - {s.text for w in windows for s in w.segments}
    assert shortened
    last_s = 0.0
    for segment in merged.segments:
        assert "".join(word.text for word in segment.words) == segment.text
        for word in segment.words:
            assert last_s <= word.start_s <= word.end_s <= segment.end_s
            last_s = word.end_s
        assert segment.start_s <= segment.words[0].start_s


@pytest.mark.parametrize("seed", range(20))
def test_word_times_lose_and_double_nothing(seed: int) -> None:
    talk = make_talk(seed)
    windows, _ = recognise(talk, Recogniser(word_jitter_s=0.2), seed)
    assert merge_windows(windows, talk.duration_s).text == talk.text


@settings(deadline=None)
@given(windows=any_windows(), n_talks=st.integers(0, 3))
def test_segments_that_are_final_are_those_of_the_merged_recording(
    windows: list[WindowTranscript], n_talks: int
) -> None:
    talks = [packed_windows(make_talk(seed), seed) for seed in range(n_talks)]
    for recording in (windows, *talks):
        ordered = sorted(recording, key=lambda window: window.start_s)
        merger, final = WindowMerger(), list[Segment]()
        for window in ordered:
            merger.add(window)
            final += merger.pop_final()
        duration_s = max((window.end_s for window in ordered), default=0.0)
        expected = merge_windows(recording, duration_s).segments
        assert merger.merged(duration_s).segments == expected
        assert tuple(final) == expected[: len(final)]


def test_segments_become_final_while_windows_come() -> None:
    windows = packed_windows(make_talk(1), 1)
    merger, n_final = WindowMerger(), list[int]()
    assert merger.pop_final() == []
    for window in windows:
        merger.add(window)
        n_final.append(len(merger.pop_final()))
    n_segments = len(merger.merged(windows[-1].end_s).segments)
    assert n_segments - 15 < sum(n_final) < n_segments
    assert sum(n > 0 for n in n_final) > len(windows) // 2
