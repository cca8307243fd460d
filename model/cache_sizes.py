"""Sizes of self-attention caches. No JAX, as a launcher counts memory with them."""

from __future__ import annotations

MAX_PREFIX = 4
"""Tokens before a text: start of the transcript, language, task, and that there are no timestamps."""

_MULTIPLE = 64
"""XLA's products are fastest where the number of slots is a multiple."""


def n_slots(n_before: int, k: int, n_tokens: int) -> int:
    """Returns the slots of a row: `n_before` for its prompt, and K for each token behind it."""
    return n_before + -(-k * n_tokens // _MULTIPLE) * _MULTIPLE
