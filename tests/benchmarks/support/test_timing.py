import pytest

from benchmarks.support.timing import Spread, in_turn, markdown_head, markdown_row


def test_spread_has_median_and_range() -> None:
    assert Spread.of([3.0, 1.0, 2.5, 9.0]) == Spread(2.75, 1.0, 9.0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ([0.01234, 0.02, 0.01], "0.012 (0.010-0.020)"),
        ([1.0], "1.00 (1.00-1.00)"),
        ([250.04], "250.0 (250.0-250.0)"),
    ],
)
def test_digits_of_a_formatted_spread(seconds: list[float], shown: str) -> None:
    assert str(Spread.of(seconds)) == shown


def test_runs_alternate() -> None:
    order = []
    runs = [lambda: order.append("a") or len(order), lambda: order.append("b") or len(order)]
    assert in_turn(runs, 3) == [[1, 3, 5], [2, 4, 6]]
    assert "".join(order) == "ababab"


def test_markdown_table() -> None:
    assert markdown_head(["a", "b"]) == "| a | b |\n|---|---|"
    assert markdown_row([1, "x"]) == "| 1 | x |"
