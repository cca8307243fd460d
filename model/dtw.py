"""Dynamic time warping: assigns a range of columns to each row, at the minimal total cost.

H. Sakoe, S. Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978. Steps
and tie-breaking are those of `dtw_cpu` in `whisper/timing.py` of openai/whisper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIAGONAL, _DOWN, _RIGHT = 0, 1, 2  # step of the path: next row and column, next row, next column


def first_columns(
    costs: NDArray[np.float32], n_rows: Sequence[int], n_columns: Sequence[int]
) -> list[NDArray[np.int64]]:
    """Returns the column at which the cheapest path through each matrix enters each row.

    A path leads from the first row and column to the last; it visits every row and never goes back.

    Args:
        costs: float32[B, N, M], finite inside each matrix.
        n_rows: rows of each matrix, 1 to N; the rest is padding and ignored.
        n_columns: columns of each matrix, 1 to M.

    Returns:
        For each matrix the first column of each row, int64[n_rows], non-decreasing.
    """
    steps = _best_steps(costs[:, : max(n_rows), : max(n_columns)])
    return [
        _trace_back(steps[:, index], rows, columns)
        for index, (rows, columns) in enumerate(zip(n_rows, n_columns, strict=True))
    ]


def _best_steps(costs: NDArray[np.float32]) -> NDArray[np.int8]:
    """Returns the step that leads to each cell, int8[N + M - 1, B, N]: by diagonal, then by row.

    The cells of a diagonal (row + column constant) depend only on the two diagonals before it, so each
    diagonal is one vector operation over all matrices.
    """
    batch, n_rows, _ = costs.shape
    diagonals = _by_diagonal(costs)
    steps = np.empty(diagonals.shape, np.int8)
    # Minimal costs on the last diagonal and the one before it, with an extra row above the first.
    last = np.full((batch, n_rows + 1), np.inf, np.float32)
    before = last.copy()
    before[:, 0] = 0
    for cost, step in zip(diagonals, steps, strict=True):
        diagonal, down, right = before[:, :-1], last[:, :-1], last[:, 1:]
        is_diagonal = (diagonal < down) & (diagonal < right)
        is_down = (down < diagonal) & (down < right)
        step[...] = np.where(is_diagonal, _DIAGONAL, np.where(is_down, _DOWN, _RIGHT))
        now = np.full_like(last, np.inf)
        np.add(cost, np.where(is_diagonal, diagonal, np.where(is_down, down, right)), out=now[:, 1:])
        before, last = last, now
    return steps


def _by_diagonal(costs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Matrices [B, N, M] as diagonals [N + M - 1, B, N]; entries outside a matrix have infinite cost."""
    batch, n_rows, n_columns = costs.shape
    diagonals = np.full((n_rows + n_columns - 1, batch, n_rows), np.inf, np.float32)
    for row in range(n_rows):
        diagonals[row : row + n_columns, :, row] = costs[:, row].T
    return diagonals


def _trace_back(steps: NDArray[np.int8], n_rows: int, n_columns: int) -> NDArray[np.int64]:
    starts = np.zeros(n_rows, np.int64)
    row, column = n_rows - 1, n_columns - 1
    while row:
        starts[row] = column
        step = steps[row + column, row]
        row -= step != _RIGHT
        column -= step != _DOWN
    return starts
