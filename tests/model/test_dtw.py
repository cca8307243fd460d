import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.dtw import first_columns


def reference(costs: NDArray[np.float32]) -> list[int]:
    """The recurrence cell by cell; ties as in `whisper/timing.py`."""
    n_rows, n_columns = costs.shape
    total = np.full((n_rows + 1, n_columns + 1), np.inf, np.float32)
    total[0, 0] = 0
    came_from = {}
    for i in range(1, n_rows + 1):
        for j in range(1, n_columns + 1):
            both, row, column = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            if both < row and both < column:
                least, step = both, (1, 1)
            elif row < both and row < column:
                least, step = row, (1, 0)
            else:
                least, step = column, (0, 1)
            total[i, j] = costs[i - 1, j - 1] + least
            came_from[i, j] = step
    i, j = n_rows, n_columns
    first = {}
    while (i, j) != (0, 0):
        first[i - 1] = j - 1
        di, dj = came_from[i, j]
        i, j = i - di, j - dj
    return [first[row] for row in range(n_rows)]


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int], list[int]]:
    batch, n_rows, n_columns = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 12))
    # Few different values, so that ties occur; some are far below zero.
    size = batch * n_rows * n_columns
    values = draw(st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.0]), min_size=size, max_size=size))
    sizes = st.lists(st.integers(1, n_rows), min_size=batch, max_size=batch)
    widths = st.lists(st.integers(1, n_columns), min_size=batch, max_size=batch)
    costs = np.array(values, np.float32).reshape(batch, n_rows, n_columns)
    return costs, draw(sizes), draw(widths)


@settings(max_examples=300, deadline=None)
@given(batches())
def test_a_batch_equals_its_matrices_cell_by_cell(
    case: tuple[NDArray[np.float32], list[int], list[int]],
) -> None:
    costs, n_rows, n_columns = case
    found = first_columns(costs, n_rows, n_columns)
    expected = [reference(costs[b, :n, :m]) for b, (n, m) in enumerate(zip(n_rows, n_columns, strict=True))]
    assert [starts.tolist() for starts in found] == expected


def test_long_random_matrices() -> None:
    random = np.random.default_rng(0)
    costs = random.standard_normal((2, 30, 200)).astype(np.float32)
    found = first_columns(costs, [30, 21], [200, 133])
    assert found[0].tolist() == reference(costs[0])
    assert found[1].tolist() == reference(costs[1, :21, :133])


def test_the_path_follows_low_costs() -> None:
    costs = np.ones((1, 3, 9), np.float32)
    costs[0, 0, 0:2] = costs[0, 1, 2:7] = costs[0, 2, 7:9] = -1
    (starts,) = first_columns(costs, [3], [9])
    assert starts.tolist() == [0, 2, 7]


@pytest.mark.parametrize(("n_rows", "n_columns"), [(5, 1), (1, 5), (1, 1), (9, 2)])
def test_matrices_with_few_rows_or_columns(n_rows: int, n_columns: int) -> None:
    costs = np.random.default_rng(1).standard_normal((1, n_rows, n_columns)).astype(np.float32)
    (starts,) = first_columns(costs, [n_rows], [n_columns])
    assert len(starts) == n_rows
    assert starts[0] == 0
    assert (np.diff(starts) >= 0).all()
    assert starts[-1] < n_columns
