"""Which windows a lane takes at once."""

import pytest

from transforms.recognition.due_groups import due_groups, longest_wait_s


@pytest.mark.parametrize(
    ("waiting", "running", "due"),
    [
        ("", "", ""),
        ("", "aaaaaaaa", "a"),
        ("a", "", "a"),
        ("ab", "", "ab"),
        ("a", "aaaaaaaa", "a"),
        ("b", "aaaaaaaa", "a"),
        ("b", "aaaa", "a"),
        ("b", "aaa", "ab"),  # most rows are free
        ("", "aaaaaaaabb", "a"),  # few rows of a batch wait for others
        ("bb", "aaaaaaaabb", "a"),
        ("bbbb", "aaaaaaaabb", "ab"),  # six of eight rows
        ("bbbbbb", "aaaaaaaa", "ab"),
        ("", "aaaabbbbb", "b"),  # the most windows, where none has enough
        ("aa", "aaaabbbbb", "a"),
        ("abbbbbb", "aaaacccc", "b"),
    ],
)
def test_windows_wait_while_a_lane_has_many_of_other_groups(waiting: str, running: str, due: str) -> None:
    assert due_groups(waiting, running, "", 8) == set(due)


@pytest.mark.parametrize(("waiting", "running"), [("bbcc", "aaaaaaaa"), ("c", "aaaaaaaabb")])
def test_after_some_time_windows_wait_no_longer(waiting: str, running: str) -> None:
    assert due_groups(waiting, running, "b", 8) == {"a", "b"}


@pytest.mark.parametrize(("running", "due"), [("", "b"), ("a", "ab"), ("c", "bc")])
def test_a_lane_of_one_row_takes_every_window(running: str, due: str) -> None:
    assert due_groups("b", running, "", 1) == set(due)


def test_clients_with_few_windows_wait_for_less_than_a_turn() -> None:
    assert longest_wait_s(is_short=True) < 0.2 < longest_wait_s(is_short=False)
