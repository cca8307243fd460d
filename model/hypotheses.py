"""Hypotheses of windows: their arrays, and how they are compared. B is rows, K hypotheses of each."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp

from model.rules import DecodingRules

State = TypeVar("State")


def flatten(state: State) -> State:
    """Reshapes arrays [B, K, ...] to [B * K, ...]."""
    joined: State = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
    return joined


def split(state: State, k: int) -> State:
    """Reshapes arrays [B * K, ...] to [B, K, ...]."""
    divided: State = jax.tree.map(lambda x: x.reshape(-1, k, *x.shape[1:]), state)
    return divided


def score(sum_logprob: jax.Array, n_tokens: jax.Array, rules: DecodingRules) -> jax.Array:
    """Returns what hypotheses are compared by (`MaximumLikelihoodRanker` of `whisper/decoding.py`).

    Args:
        sum_logprob: float32[B, K], natural log, the end of text included.
        n_tokens: int32[B, K], tokens before the end of text.
        rules: the decoding rules.

    Returns:
        float32[B, K]: log probabilities over the length, or over its penalty (Wu et al., 2016, equation 14).
    """
    if rules.length_penalty is None:
        return sum_logprob / jnp.maximum(n_tokens, 1).astype(jnp.float32)
    penalty = ((5 + n_tokens) / 6) ** rules.length_penalty
    scores: jax.Array = sum_logprob / penalty
    return scores
