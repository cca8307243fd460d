"""The sizes of self-attention caches."""

import pytest

from model.cache_sizes import n_slots


@pytest.mark.parametrize(
    ("n_before", "k", "n_tokens", "expected"),
    [(0, 1, 1, 64), (0, 1, 64, 64), (0, 1, 65, 128), (64, 1, 64, 128), (0, 5, 228, 1152), (7, 2, 40, 135)],
)
def test_a_row_has_a_slot_for_each_token(n_before: int, k: int, n_tokens: int, expected: int) -> None:
    assert n_slots(n_before, k, n_tokens) == expected
