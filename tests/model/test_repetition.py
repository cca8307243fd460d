from collections.abc import Sequence

import jax.numpy as jnp
import pytest

from model.repetition import (
    MAX_PERIOD,
    MIN_COPIES,
    MIN_REPEATED_TOKENS,
    initial_repetition,
    is_repeating,
    update_repetition,
)


def detected_after(tokens: Sequence[int], timestamps_between: bool = False) -> int | None:
    """Number of text tokens after which repetition is detected; None if it is not."""
    state = initial_repetition(1)
    for n, token in enumerate(tokens, start=1):
        state = update_repetition(state, jnp.asarray([token]), jnp.asarray([True]))
        if timestamps_between:
            state = update_repetition(state, jnp.asarray([1000 + n]), jnp.asarray([False]))
        if is_repeating(state)[0]:
            return n
    return None


@pytest.mark.parametrize("timestamps_between", [False, True])
@pytest.mark.parametrize("period", [1, 7, 8, 20, MAX_PERIOD])
def test_repetition_is_detected_at_the_fourth_copy_or_24_tokens(
    period: int, timestamps_between: bool
) -> None:
    expected = period + max((MIN_COPIES - 1) * period, MIN_REPEATED_TOKENS)
    assert detected_after(list(range(period)) * 30, timestamps_between) == expected


def test_text_that_differs_is_not_repetition() -> None:
    assert detected_after([*range(10), *range(9), 77] * 3) is None
    assert detected_after([1] * (MIN_REPEATED_TOKENS - 1) + [2] + [1] * MIN_REPEATED_TOKENS) is None
    assert detected_after(list(range(MAX_PERIOD + 1)) * 5) is None  # longer than the longest period


def test_sequences_are_independent() -> None:
    state = initial_repetition(2)
    for n in range(40):
        state = update_repetition(state, jnp.asarray([5, n]), jnp.asarray([True, True]))
    assert is_repeating(state).tolist() == [True, False]
