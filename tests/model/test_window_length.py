import pytest

from model.interface import SAMPLE_RATE, WINDOW_SAMPLES
from model.tokens import SAMPLES_PER_TIMESTAMP
from model.window_length import (
    DECODED_LENGTHS,
    ENCODED_LENGTHS,
    N_TIMESTAMPS,
    PAD,
    decoded_length,
    encoded_length,
    last_times,
)

SHORT_LENGTHS = [length for length in ENCODED_LENGTHS if length < WINDOW_SAMPLES]


@pytest.mark.parametrize("seconds", [1e-4, 0.29, 1.99, 3.0, 3.1, 7.3, 11.5, 12.01, 17.9, 18.0])
def test_a_short_window_has_two_seconds_of_padding_or_more(seconds: float) -> None:
    n_samples = max(1, round(seconds * SAMPLE_RATE))
    length = encoded_length(n_samples, full=False)
    assert length in SHORT_LENGTHS
    assert length - n_samples >= PAD
    shorter = [one for one in ENCODED_LENGTHS if one < length]
    assert all(one - n_samples < PAD for one in shorter)


@pytest.mark.parametrize("length", SHORT_LENGTHS)
def test_one_sample_more_than_has_its_padding_takes_the_next_length(length: int) -> None:
    following = ENCODED_LENGTHS[ENCODED_LENGTHS.index(length) + 1]
    assert encoded_length(length - PAD, full=False) == length
    assert encoded_length(length - PAD + 1, full=False) == following


@pytest.mark.parametrize("n_samples", [18 * SAMPLE_RATE + 1, 28 * SAMPLE_RATE + 1, WINDOW_SAMPLES])
def test_a_window_that_no_short_length_fits_has_30_s(n_samples: int) -> None:
    assert encoded_length(n_samples, full=False) == WINDOW_SAMPLES


@pytest.mark.parametrize("n_samples", [1, SAMPLE_RATE, WINDOW_SAMPLES])
def test_a_full_window_has_30_s(n_samples: int) -> None:
    assert encoded_length(n_samples, full=True) == WINDOW_SAMPLES


def test_the_decoder_has_room_for_each_length() -> None:
    for length in ENCODED_LENGTHS:
        assert length <= decoded_length(length)
        assert decoded_length(length) in DECODED_LENGTHS
    assert {decoded_length(length) for length in ENCODED_LENGTHS} == set(DECODED_LENGTHS)
    assert decoded_length(DECODED_LENGTHS[0]) == DECODED_LENGTHS[0]


def test_lengths_are_of_whole_positions() -> None:
    assert all(length % SAMPLES_PER_TIMESTAMP == 0 for length in (*ENCODED_LENGTHS, *DECODED_LENGTHS))
    assert sorted(ENCODED_LENGTHS) == list(ENCODED_LENGTHS)


@pytest.mark.parametrize(
    ("n_samples", "last_start", "last"),
    [
        (SAMPLE_RATE, 35, 50),  # 0.70 and 1.00 s
        (SAMPLE_RATE + 1, 35, 51),  # the last sample is in a step of its own
        (SAMPLE_RATE - 1, 34, 50),
        (4800, 0, 15),
        (4799, 0, 15),  # shorter than a segment: one may begin at its start
        (321, 0, 2),
        (1, 0, 1),
        (18 * SAMPLE_RATE, 885, 900),
    ],
)
def test_segments_begin_and_end_in_the_audio_of_a_short_window(
    n_samples: int, last_start: int, last: int
) -> None:
    assert last_times(n_samples, encoded_length(n_samples, full=False)) == (last_start, last)
    assert last_start < last


@pytest.mark.parametrize("n_samples", [1, SAMPLE_RATE, WINDOW_SAMPLES])
def test_a_window_of_30_s_has_no_limits(n_samples: int) -> None:
    assert last_times(n_samples, WINDOW_SAMPLES) == (1500, 1500)
    assert N_TIMESTAMPS == 1501
