"""How many steps the decoding loop takes at each size of its batch, as windows finish and leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from model.batch_decoder import LEAST_ROWS


def loop_steps(n_tokens: Sequence[int], batch_size: int, *, shrinks: bool) -> Counter[int]:
    """Steps by rows, for a batch of windows of which so many tokens are written.

    As `model.batch_decoder` does it: a batch is padded to its full size; where it shrinks, it moves once
    half of its rows are free to the smallest size for those that are left.

    Args:
        n_tokens: of each window, the end of the text included.
        batch_size: of the run.
        shrinks: whether windows that have finished leave, which they do not on a CPU.
    """
    steps: Counter[int] = Counter()
    lengths = sorted(n_tokens, reverse=True)
    rows, done = max(batch_size, LEAST_ROWS), 0
    while lengths:
        n_left = rows // 2 if shrinks and rows // 2 >= LEAST_ROWS else 0
        until = lengths[n_left] if n_left < len(lengths) else done
        steps[rows] += until - done
        done = until
        lengths = [length for length in lengths if length > done]
        rows = _size_for(len(lengths), rows) if shrinks else rows
    return steps


def _size_for(n: int, size: int) -> int:
    while size % 2 == 0 and size // 2 >= max(n, LEAST_ROWS):
        size //= 2
    return size
