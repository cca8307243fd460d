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
from transforms.audio.resampling import MARGIN_S, resample, resampled_length

RATES = [4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 384_000]


def blocks_of(samples: Samples, size: int, first: int = 0) -> Iterator[tuple[int, Samples]]:
    for position in range(first, len(samples), size):
        yield position, samples[position : position + size]


def resampled(blocks: Iterator[tuple[int, Samples]], rate: int, starts_s: Iterable[int] = (0,)) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *resample(blocks, rate, starts_s)])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n_extra", [0, 1, 2, 7, 440, 1023])
def test_single_section_equals_one_shot_resampling(rate: int, n_extra: int) -> None:
    samples = speechlike(1, rate)[: rate // 2 + n_extra]
    found = resampled(blocks_of(samples, 1000), rate)
    np.testing.assert_array_equal(found, soxr.resample(samples, rate, SAMPLE_RATE))


@pytest.mark.parametrize("rate", RATES)
def test_length_is_predicted(rate: int) -> None:
    for n_samples in [*range(1, 60), 1001, 44_099]:
        found = resampled(iter([(0, np.zeros(n_samples, np.float32))]), rate)
        assert len(found) == resampled_length(n_samples, rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_sections_join_without_a_seam(rate: int) -> None:
    samples = speechlike(9.3, rate)
    found = resampled(blocks_of(samples, rate // 3), rate, (0, 3, 6))
    expected = soxr.resample(samples, rate, SAMPLE_RATE)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("end_s", [2.0, 2.5, 3.0, 3.0001, 3.5, 4.0, 4.5])
def test_end_near_a_seam_is_exact(end_s: float) -> None:
    samples = speechlike(end_s, 8_000)
    found = resampled(blocks_of(samples, 8_000), 8_000, (0, 3))
    np.testing.assert_allclose(found, soxr.resample(samples, 8_000, SAMPLE_RATE), atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    sizes=st.tuples(st.integers(200, 100_000), st.integers(200, 100_000)),
    seconds=st.floats(1.0, 8.0),
    start_s=st.sampled_from([2, 4]),
)
def test_output_from_a_section_on_does_not_depend_on_the_start(
    rate: int, sizes: tuple[int, int], seconds: float, start_s: int
) -> None:
    samples = speechlike(seconds, rate)
    starts_s = tuple(time_s for time_s in (0, 2, 4) if time_s >= start_s)
    first = (start_s - MARGIN_S) * rate
    later = resampled(blocks_of(samples, sizes[1], first), rate, starts_s)
    expected = resampled(blocks_of(samples, sizes[0]), rate, (0, 2, 4))[start_s * SAMPLE_RATE :]
    np.testing.assert_array_equal(later, expected)


def test_output_is_delayed_less_than_two_seconds() -> None:
    samples = speechlike(10, 8_000)
    fed_s = 0

    def counted() -> Iterator[tuple[int, Samples]]:
        nonlocal fed_s
        for placed in blocks_of(samples, 8_000):
            fed_s += 1
            yield placed

    emitted_s = 0.0
    for block in resample(counted(), 8_000, (0, 3, 6)):
        emitted_s += len(block) / SAMPLE_RATE
        assert fed_s - emitted_s < 2
    assert emitted_s == 10


def test_unbounded_sections_are_created_on_demand() -> None:
    found = resampled(blocks_of(speechlike(5, 8_000), 8_000), 8_000, itertools.count(0, 2))
    assert len(found) == 5 * SAMPLE_RATE
