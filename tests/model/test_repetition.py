from collections.abc import Sequence

import jax.numpy as jnp
import pytest

from model.repetition import COPIES, LEAST_REPEATED, MAX_PERIOD, follow, is_looping, no_loop


def caught_after(tokens: Sequence[int], times_between: bool = False) -> int | None:
    """How many tokens of text are written when the loop is caught; None when it is not."""
    state = no_loop(1)
    for n, token in enumerate(tokens, start=1):
        state = follow(state, jnp.asarray([token]), jnp.asarray([True]))
        if times_between:
            state = follow(state, jnp.asarray([1000 + n]), jnp.asarray([False]))
        if is_looping(state)[0]:
            return n
    return None


@pytest.mark.parametrize("times_between", [False, True])
@pytest.mark.parametrize("period", [1, 7, 8, 20, MAX_PERIOD])
def test_a_loop_is_caught_at_its_fourth_copy_or_two_dozen_tokens(period: int, times_between: bool) -> None:
    written = period + max((COPIES - 1) * period, LEAST_REPEATED)
    assert caught_after(list(range(period)) * 30, times_between) == written


def test_what_is_not_the_same_is_no_loop() -> None:
    assert caught_after([*range(10), *range(9), 77] * 3) is None
    assert caught_after([1] * (LEAST_REPEATED - 1) + [2] + [1] * LEAST_REPEATED) is None
    assert caught_after(list(range(MAX_PERIOD + 1)) * 5) is None  # longer than what is looked for


def test_sequences_are_followed_each_on_its_own() -> None:
    state = no_loop(2)
    for n in range(40):
        state = follow(state, jnp.asarray([5, n]), jnp.asarray([True, True]))
    assert is_looping(state).tolist() == [True, False]
