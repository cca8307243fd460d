"""Number of decoding steps of running batches, whose free rows take the next windows."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def loop_steps(n_tokens: Sequence[int], n_rows: int, n_batches: int = 1, *, n_prefix: int = 0) -> int:
    """Returns the number of steps of all batches, of which each is of all rows.

    Windows take the first row that is free. They are divided over the batches in turn, as lanes share them
    evenly.

    Args:
        n_tokens: generated tokens of each window, the end of text included, in the order of their decoding.
        n_rows: rows of a batch.
        n_batches: batches that run at the same time.
        n_prefix: steps of a window before its first token is generated.
    """
    return sum(_steps(n_tokens[first::n_batches], n_rows, n_prefix) for first in range(n_batches))


def _steps(n_tokens: Sequence[int], n_rows: int, n_prefix: int) -> int:
    free_from = [0] * n_rows
    for n in n_tokens:
        heapq.heapreplace(free_from, free_from[0] + n_prefix + n)
    return max(free_from)
