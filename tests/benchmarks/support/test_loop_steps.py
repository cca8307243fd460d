import pytest

from benchmarks.support.loop_steps import loop_steps


@pytest.mark.parametrize(
    ("n_tokens", "n_rows", "n_steps"),
    [
        ([], 4, 0),
        ([10] * 4, 4, 10),
        ([1, 2, 30], 4, 30),
        ([10, 4, 3], 2, 10),  # the third takes the row of the second
        ([4, 10, 3, 8], 2, 15),
        ([5] * 9, 4, 15),
    ],
)
def test_a_window_takes_the_first_row_that_is_free(n_tokens: list[int], n_rows: int, n_steps: int) -> None:
    assert loop_steps(n_tokens, n_rows) == n_steps


def test_batches_share_windows_and_steps_are_added() -> None:
    assert loop_steps([10, 20, 10, 20], 1, 2) == 20 + 40
    assert loop_steps([10, 20, 10, 20], 2, 2) == 10 + 20


def test_a_prefix_takes_steps_of_each_window() -> None:
    assert loop_steps([10, 5, 5], 2, n_prefix=2) == 14
