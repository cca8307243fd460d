"""Hypotheses: their arrays, and what they are compared by."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from model.hypotheses import flatten, score, split
from tests.model.test_sampling import RULES


def test_arrays_of_hypotheses_are_joined_and_divided() -> None:
    arrays = {"a": jnp.arange(12).reshape(2, 3, 2), "b": jnp.arange(6).reshape(2, 3)}
    joined = flatten(arrays)
    assert (joined["a"].shape, joined["b"].tolist()) == ((6, 2), [0, 1, 2, 3, 4, 5])
    assert joined["a"][4].tolist() == arrays["a"][1, 1].tolist()
    divided = split(joined, 3)
    assert all(divided[name].tolist() == array.tolist() for name, array in arrays.items())


@pytest.mark.parametrize("length_penalty", [None, 0.0, 0.6, 2.0])
def test_the_score_is_that_of_openai_whisper(length_penalty: float | None) -> None:
    """As `MaximumLikelihoodRanker.rank` of `whisper/decoding.py`, where a text is not empty."""
    sums, lengths = [[-3.0, -7.5], [-0.5, -40.0]], [[1, 10], [7, 224]]
    found = score(
        jnp.asarray(sums), jnp.asarray(lengths), replace(RULES, length_penalty=length_penalty)
    ).tolist()
    for row in range(2):
        for one in range(2):
            length = lengths[row][one]
            penalty = length if length_penalty is None else ((5 + length) / 6) ** length_penalty
            assert found[row][one] == pytest.approx(sums[row][one] / penalty, rel=1e-5)


def test_a_text_without_tokens_has_a_score() -> None:
    found = score(jnp.asarray([[-2.0]]), jnp.asarray([[0]]), RULES)
    assert np.asarray(found).tolist() == [[-2.0]]
