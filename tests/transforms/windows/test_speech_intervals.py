"""Tests hysteresis, lengths and padding on made-up probabilities, one for each 32 ms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.interface import SPEECH_CHUNK
from transforms.windows.speech_intervals import (
    MAX_DOUBT_SAMPLES,
    MIN_SILENCE_SAMPLES,
    MIN_SPEECH_SAMPLES,
    PADDING_SAMPLES,
    PART_SAMPLES,
    SILENCE_THRESHOLD,
    SPEECH_THRESHOLD,
    SpeechPart,
    SpeechSegmenter,
    padding_of,
    speech_intervals,
    whole_intervals,
)

BETWEEN = (SPEECH_THRESHOLD + SILENCE_THRESHOLD) / 2
SHORTEST_SPEECH = -(-MIN_SPEECH_SAMPLES // SPEECH_CHUNK)  # chunks
SHORTEST_SILENCE = -(-MIN_SILENCE_SAMPLES // SPEECH_CHUNK)
LONGEST_DOUBT = -(-MAX_DOUBT_SAMPLES // SPEECH_CHUNK)


def probabilities(*runs: tuple[int, float]) -> NDArray[np.float32]:
    return np.concatenate([np.full(n_chunks, p, np.float32) for n_chunks, p in runs])


def intervals(*runs: tuple[int, float]) -> tuple[tuple[int, int], ...]:
    values = probabilities(*runs)
    return speech_intervals(values, len(values) * SPEECH_CHUNK)


def around(start: int, stop: int) -> tuple[int, int]:
    """An interval of chunks with its padding, in samples."""
    return start * SPEECH_CHUNK - PADDING_SAMPLES, stop * SPEECH_CHUNK + PADDING_SAMPLES


def test_no_samples() -> None:
    assert speech_intervals(np.empty(0, np.float32), 0) == ()


def test_silence() -> None:
    assert intervals((1000, 0.0)) == ()


def test_speech_throughout() -> None:
    assert intervals((1000, 1.0)) == ((0, 1000 * SPEECH_CHUNK),)


def test_speech_is_padded() -> None:
    assert intervals((100, 0.0), (50, 1.0), (100, 0.0)) == (around(100, 150),)


def test_padding_stays_inside_the_recording() -> None:
    assert intervals((2, 0.0), (50, 1.0), (2, 0.0)) == ((0, 54 * SPEECH_CHUNK),)


def test_an_interval_ends_with_the_last_partial_chunk() -> None:
    values = probabilities((100, 0.0), (50, 1.0))
    n_samples = 149 * SPEECH_CHUNK + 7
    assert speech_intervals(values, n_samples) == ((around(100, 150)[0], n_samples),)


def test_the_thresholds_themselves() -> None:
    assert intervals((50, SPEECH_THRESHOLD - 0.01)) == ()
    assert intervals((50, SPEECH_THRESHOLD + 0.01)) == ((0, 50 * SPEECH_CHUNK),)


def test_chunks_between_the_thresholds_neither_start_nor_end_speech() -> None:
    found = intervals((100, BETWEEN), (50, 1.0), (100, BETWEEN), (50, 1.0), (100, 0.0))
    assert found == (around(100, 300),)


@pytest.mark.parametrize("n_between", [LONGEST_DOUBT - 2, LONGEST_DOUBT - 1])
def test_doubtful_end_of_speech_is_final_after_a_second(n_between: int) -> None:
    found = intervals((100, 0.0), (50, 1.0), (1, 0.0), (n_between, BETWEEN), (50, 1.0), (100, 0.0))
    assert len(found) == (1 if n_between < LONGEST_DOUBT - 1 else 2)


def test_chunks_between_the_thresholds_after_silence_are_silence() -> None:
    assert intervals((100, 0.0), (50, 1.0), (3, 0.0), (100, BETWEEN), (100, 0.0)) == (around(100, 150),)


@pytest.mark.parametrize("n_silent", [1, SHORTEST_SILENCE - 1])
def test_a_short_silence_does_not_end_speech(n_silent: int) -> None:
    assert intervals((100, 0.0), (50, 1.0), (n_silent, 0.0), (50, 1.0), (100, 0.0)) == (
        around(100, 200 + n_silent),
    )


def test_a_pause_shorter_than_two_paddings_is_cut_in_its_middle() -> None:
    first, second = intervals((100, 0.0), (50, 1.0), (SHORTEST_SILENCE, 0.0), (50, 1.0), (100, 0.0))
    middle = 150 * SPEECH_CHUNK + SHORTEST_SILENCE * SPEECH_CHUNK // 2
    assert first == (around(100, 150)[0], middle)
    assert second == (middle, around(0, 200 + SHORTEST_SILENCE)[1])


def test_a_long_pause_is_in_no_interval() -> None:
    found = intervals((100, 0.0), (50, 1.0), (100, 0.0), (50, 1.0), (100, 0.0))
    assert found == (around(100, 150), around(250, 300))


@pytest.mark.parametrize(("n_chunks", "n_found"), [(SHORTEST_SPEECH - 1, 0), (SHORTEST_SPEECH, 1)])
def test_short_sound_is_not_speech(n_chunks: int, n_found: int) -> None:
    assert len(intervals((100, 0.0), (n_chunks, 1.0), (100, 0.0))) == n_found


def test_short_sounds_close_together_are_speech() -> None:
    syllable = [(3, 1.0), (4, 0.0)]
    assert intervals((100, 0.0), *(syllable * 3), (100, 0.0)) == (around(100, 117),)


def test_an_end_in_a_short_silence() -> None:
    assert intervals((100, 0.0), (50, 1.0), (3, 0.0)) == ((around(100, 150)[0], 153 * SPEECH_CHUNK),)


def test_silence_at_the_end_does_not_lengthen_a_short_sound() -> None:
    assert intervals((100, 0.0), (SHORTEST_SPEECH - 1, 1.0), (SHORTEST_SILENCE - 1, 0.0)) == ()


@pytest.mark.parametrize(("n_chunks", "n_samples"), [(2, 512), (1, 513), (1, 0), (0, 1)])
def test_wrong_number_of_probabilities_is_an_error(n_chunks: int, n_samples: int) -> None:
    with pytest.raises(ValueError, match=f"{n_samples} samples are .* chunks of 512, but .*{n_chunks}"):
        speech_intervals(np.zeros(n_chunks, np.float32), n_samples)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1, width=32)), max_size=30), st.integers(1, 512))
def test_intervals_are_sorted_inside_the_recording_and_cover_certain_speech(
    runs: list[tuple[int, float]], n_last: int
) -> None:
    values = probabilities((0, 0.0), *runs)
    n_samples = max(0, len(values) - 1) * SPEECH_CHUNK + (n_last if len(values) else 0)
    found = speech_intervals(values, n_samples)
    assert all(0 <= start < stop <= n_samples for start, stop in found)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(found))
    first = 0
    for n_chunks, probability in runs:
        if probability >= SPEECH_THRESHOLD and n_chunks > SHORTEST_SPEECH:
            start, stop = first * SPEECH_CHUNK, min((first + n_chunks) * SPEECH_CHUNK, n_samples)
            assert any(a <= start and stop <= b for a, b in found)
        first += n_chunks


def expected_intervals(values: NDArray[np.float32], n_samples: int) -> tuple[tuple[int, int], ...]:
    """Applies the rule to all probabilities at once."""
    speech, start, quiet = list[tuple[int, int]](), -1, -1
    for index, probability in enumerate([*values, *[0.0] * SHORTEST_SILENCE]):
        if probability >= SPEECH_THRESHOLD:
            start, quiet = (index if start < 0 else start), -1
        elif start >= 0:
            quiet = index if quiet < 0 and probability < SILENCE_THRESHOLD else quiet
            needed = SHORTEST_SILENCE if probability < SILENCE_THRESHOLD else LONGEST_DOUBT
            if quiet >= 0 and index + 1 - quiet >= needed:
                bounds = start * SPEECH_CHUNK, min(quiet * SPEECH_CHUNK, n_samples)
                speech += [bounds] if bounds[1] - bounds[0] >= MIN_SPEECH_SAMPLES else []
                start = quiet = -1
    middles = [(stop + start) // 2 for (_, stop), (start, _) in pairwise(speech)]
    return tuple(
        (max(start - PADDING_SAMPLES, lower), min(stop + PADDING_SAMPLES, upper))
        for (start, stop), lower, upper in zip(speech, [0, *middles], [*middles, n_samples], strict=False)
    )


@st.composite
def sounds(draw: st.DrawFn) -> tuple[NDArray[np.float32], int]:
    """Probabilities, and their number of samples."""
    runs = st.tuples(st.integers(1, 60), st.floats(0, 1, width=32) | st.just(BETWEEN))
    values = probabilities((0, 0.0), *draw(st.lists(runs, max_size=20)))
    return values, max(0, len(values) * SPEECH_CHUNK - draw(st.integers(0, SPEECH_CHUNK - 1)))


@settings(deadline=None)
@given(sounds())
def test_intervals_equal_those_of_the_rule_applied_at_once(sound: tuple[NDArray[np.float32], int]) -> None:
    assert speech_intervals(*sound) == expected_intervals(*sound)


def segmented(
    values: NDArray[np.float32], n_samples: int, bounds: list[int]
) -> tuple[list[SpeechPart], list[tuple[int, int]]]:
    """Feeds probabilities cut at bounds: the parts, and after each feed what is settled and samples fed."""
    segmenter, parts, settled = SpeechSegmenter(), list[SpeechPart](), list[tuple[int, int]]()
    for start, stop in pairwise([0, *sorted(bounds), len(values)]):
        before = segmenter.settled
        found = segmenter.feed(values[start:stop], min(stop * SPEECH_CHUNK, n_samples))
        assert all(before <= part.start for part in found)
        assert not found or found[-1].stop <= segmenter.settled
        parts += found
        settled.append((segmenter.settled, min(stop * SPEECH_CHUNK, n_samples)))
    last = segmenter.finish()
    assert all(part.start >= settled[-1][0] for part in last)
    return parts + last, settled


@settings(deadline=None)
@given(sounds(), st.data())
def test_parts_do_not_depend_on_how_probabilities_are_fed(
    sound: tuple[NDArray[np.float32], int], data: st.DataObject
) -> None:
    values, n_samples = sound
    bounds = data.draw(st.lists(st.integers(0, len(values)), max_size=10))
    parts, _ = segmented(values, n_samples, bounds)
    assert parts == segmented(values, n_samples, [])[0]
    assert tuple((whole.start, whole.stop) for whole in whole_intervals(parts)) == expected_intervals(
        values, n_samples
    )
    assert all(0 < part.n_samples <= PART_SAMPLES + PADDING_SAMPLES * 2 for part in parts)


@settings(deadline=None)
@given(sounds())
def test_at_most_a_few_seconds_are_unsettled(sound: tuple[NDArray[np.float32], int]) -> None:
    values, n_samples = sound
    _, settled = segmented(values, n_samples, list(range(len(values))))
    # A part, its pause, and a sound of which it is not clear whether it is speech.
    late = PART_SAMPLES + 2 * PADDING_SAMPLES + MIN_SPEECH_SAMPLES + MAX_DOUBT_SAMPLES + 2 * SPEECH_CHUNK
    assert all(n_fed - before <= late for before, n_fed in settled)


def test_pauses_are_from_speech_to_speech() -> None:
    values = probabilities((100, 0.0), (50, 1.0), (20, 0.0), (50, 1.0), (70, 0.0), (20, 1.0))
    segmenter = SpeechSegmenter()
    parts = segmenter.feed(values, len(values) * SPEECH_CHUNK) + segmenter.finish()
    assert [part.pause // SPEECH_CHUNK for part in parts if part.pause] == [100, 20, 70]
    assert len(parts) > len(whole_intervals(parts)) == 3


@pytest.mark.parametrize("pause_chunks", [10, 20, 24, 25, 26, 60])
def test_the_padding_before_speech_follows_from_the_pause(pause_chunks: int) -> None:
    values = probabilities((50, 1), (pause_chunks, 0), (50, 1))
    segmenter = SpeechSegmenter()
    _, second = whole_intervals(segmenter.feed(values, len(values) * SPEECH_CHUNK) + segmenter.finish())
    assert second.pause == pause_chunks * SPEECH_CHUNK
    assert second.start + padding_of(second.pause) == (50 + pause_chunks) * SPEECH_CHUNK
