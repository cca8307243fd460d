"""Number of decoding steps at each size of the batch, which may shrink as windows finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from model.batch_decoder import MIN_ROWS


def loop_steps(n_tokens: Sequence[int], batch_size: int, *, shrinks: bool) -> Counter[int]:
    """Returns the number of steps by rows of the batch.

    As in `model.batch_decoder`, a batch is padded to its full size. If it shrinks, then once half of its rows
    are free, to the smallest size for the remaining windows.

    Args:
        n_tokens: generated tokens of each window, the end of text included.
        batch_size: batch size of the run.
        shrinks: whether finished windows are removed from the batch, which is not done on a CPU.
    """
    steps: Counter[int] = Counter()
    lengths = sorted(n_tokens, reverse=True)
    rows, done = max(batch_size, MIN_ROWS), 0
    while lengths:
        max_unfinished = rows // 2 if shrinks and rows // 2 >= MIN_ROWS else 0
        until = lengths[max_unfinished] if max_unfinished < len(lengths) else done
        steps[rows] += until - done
        done = until
        lengths = [length for length in lengths if length > done]
        rows = _size_for(len(lengths), rows) if shrinks else rows
    return steps


def _size_for(n: int, size: int) -> int:
    while size % 2 == 0 and size // 2 >= max(n, MIN_ROWS):
        size //= 2
    return size
