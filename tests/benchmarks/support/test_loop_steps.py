import pytest

from benchmarks.support.loop_steps import loop_steps


@pytest.mark.parametrize(
    ("n_tokens", "steps"),
    [
        ([10] * 8, {8: 10}),
        ([1, 2, 3, 4, 5, 6, 7, 8], {8: 4, 4: 4}),
        ([5, 5, 5, 5, 5, 5, 5, 50], {8: 5, 4: 45}),
        ([7, 9, 8], {4: 9}),
        ([30], {4: 30}),
    ],
)
def test_batch_shrinks_when_half_of_its_rows_are_free(n_tokens: list[int], steps: dict[int, int]) -> None:
    assert {rows: n for rows, n in loop_steps(n_tokens, 8, shrinks=True).items() if n} == steps


def test_batch_that_does_not_shrink_runs_to_its_longest_window() -> None:
    assert loop_steps([1, 2, 30], 8, shrinks=False) == {8: 30}
    assert loop_steps([5], 1, shrinks=False) == {4: 5}
