from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import speechlike
from transforms.audio.resampling import LEAD_S, resample, resampled_length

RATES = [4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 384_000]


def pieces_of(samples: Samples, size: int, first: int = 0) -> Iterator[tuple[int, Samples]]:
    for at in range(first, len(samples), size):
        yield at, samples[at : at + size]


def whole(pieces: Iterator[tuple[int, Samples]], rate: int, starts_s: Iterable[int] = (0,)) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *resample(pieces, rate, starts_s)])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n_extra", [0, 1, 2, 7, 440, 1023])
def test_a_single_section_is_one_shot_resampling(rate: int, n_extra: int) -> None:
    sound = speechlike(1, rate)[: rate // 2 + n_extra]
    found = whole(pieces_of(sound, 1000), rate)
    np.testing.assert_array_equal(found, soxr.resample(sound, rate, SAMPLE_RATE))


@pytest.mark.parametrize("rate", RATES)
def test_the_length_is_known_beforehand(rate: int) -> None:
    for n_samples in [*range(1, 60), 1001, 44_099]:
        found = whole(iter([(0, np.zeros(n_samples, np.float32))]), rate)
        assert len(found) == resampled_length(n_samples, rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_no_seam_is_seen(rate: int) -> None:
    sound = speechlike(9.3, rate)
    found = whole(pieces_of(sound, rate // 3), rate, (0, 3, 6))
    expected = soxr.resample(sound, rate, SAMPLE_RATE)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("end_s", [2.0, 2.5, 3.0, 3.0001, 3.5, 4.0, 4.5])
def test_an_end_near_a_seam_is_in_its_place(end_s: float) -> None:
    sound = speechlike(end_s, 8_000)
    found = whole(pieces_of(sound, 8_000), 8_000, (0, 3))
    np.testing.assert_allclose(found, soxr.resample(sound, 8_000, SAMPLE_RATE), atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    sizes=st.tuples(st.integers(200, 100_000), st.integers(200, 100_000)),
    seconds=st.floats(1.0, 8.0),
    start_s=st.sampled_from([2, 4]),
)
def test_who_begins_at_a_section_gets_the_same(
    rate: int, sizes: tuple[int, int], seconds: float, start_s: int
) -> None:
    sound = speechlike(seconds, rate)
    starts_s = tuple(time_s for time_s in (0, 2, 4) if time_s >= start_s)
    first = (start_s - LEAD_S) * rate
    later = whole(pieces_of(sound, sizes[1], first), rate, starts_s)
    expected = whole(pieces_of(sound, sizes[0]), rate, (0, 2, 4))[start_s * SAMPLE_RATE :]
    np.testing.assert_array_equal(later, expected)


def test_nothing_is_held_longer_than_a_section_needs() -> None:
    sound = speechlike(10, 8_000)
    heard_s = 0

    def watched() -> Iterator[tuple[int, Samples]]:
        nonlocal heard_s
        for at, samples in pieces_of(sound, 8_000):
            heard_s += 1
            yield at, samples

    given_s = 0.0
    for block in resample(watched(), 8_000, (0, 3, 6)):
        given_s += len(block) / SAMPLE_RATE
        assert heard_s - given_s < 2
    assert given_s == 10


def test_endless_sections_are_made_as_they_are_needed() -> None:
    found = whole(pieces_of(speechlike(5, 8_000), 8_000), 8_000, itertools.count(0, 2))
    assert len(found) == 5 * SAMPLE_RATE
