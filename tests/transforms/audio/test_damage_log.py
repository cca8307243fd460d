from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from functools import reduce
from operator import add
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.audio.damage_log import DamageLog
from transforms.core.recording_parts import truncated_and_problem
from transforms.core.types import UNHARMED, Damage

SECONDS = st.floats(0, 30)
DAMAGES = st.builds(Damage, st.integers(0, 9), SECONDS, SECONDS, st.integers(0, 9), SECONDS, SECONDS)
TIMES = st.floats(0, 600, exclude_max=True)


def test_two_parts_are_added() -> None:
    one, other = Damage(1, 0.5, 1.0, 2, 0.25, 3.0), Damage(2, 1.0, 0.5, 3, 0.5, 1.0, True, "a disk")
    assert one + other == Damage(3, 1.5, 1.5, 5, 0.75, 4.0, True, "a disk")
    assert (other + Damage(broke_off="another")).broke_off == "a disk"
    assert Damage() + Damage() == Damage()


def test_it_goes_through_json() -> None:
    damage = Damage(1, 0.5, broke_off="a disk")
    assert Damage(**json.loads(json.dumps(asdict(damage)))) == damage


@given(
    st.lists(st.tuples(TIMES, DAMAGES), max_size=20),
    DAMAGES,
    st.sets(st.integers(1, 19).map(lambda n: 30 * n)),
    st.randoms(),
)
def test_the_ranges_of_any_partition_sum_to_the_whole(
    events: list[tuple[float, Damage]], end: Damage, bounds: set[int], random: Random
) -> None:
    log = DamageLog()
    for time_s, damage in events:
        log.add(time_s, damage)
    log.end(end)
    places: list[int | None] = [0, *sorted(bounds), None]
    parts = [log.between(start, stop) for start, stop in itertools.pairwise(places)]
    random.shuffle(parts)
    assert reduce(add, parts) == log.between(0, None)


def test_what_falls_on_a_bound_belongs_to_what_follows() -> None:
    log = DamageLog()
    log.add(30.0, Damage(n_damaged=1))
    log.add(29.999, Damage(n_bad=1))
    assert log.between(0, 30) == Damage(n_bad=1)
    assert log.between(30, 60) == Damage(n_damaged=1)


def test_as_much_as_is_tolerated_stays_that_much_in_parts() -> None:
    log = DamageLog()
    for _ in range(5):
        log.add(0.0, Damage(n_damaged=1, damaged_s=0.02))
    assert truncated_and_problem(log.between(0, None), None, 5.0)[0] is False


def test_the_end_belongs_to_the_range_without_one() -> None:
    log = DamageLog()
    log.end(Damage(is_cut=True))
    log.end(Damage(lost_s=2.0))
    assert log.between(0, 600) == UNHARMED
    assert log.between(600, None) == Damage(is_cut=True, lost_s=2.0)


def test_what_is_not_damaged_takes_no_memory() -> None:
    log = DamageLog()
    for time_s in range(0, 360_000, 30):
        log.add(time_s, Damage(lost_s=1e-12))  # the rounding of a clock
    assert not log._blocks


@pytest.mark.parametrize(
    ("damage", "declared_s", "decoded_s", "truncated", "problem"),
    [
        (UNHARMED, None, 5.0, False, None),
        (UNHARMED, 5.09, 5.0, False, None),
        (UNHARMED, 5.2, 5.0, True, "5.00 s of 5.20 s declared could be decoded"),
        (UNHARMED, 1000.9, 1000.0, False, None),
        (Damage(is_cut=True), None, 5.0, True, "the end of the file is not whole: it was cut short"),
        (Damage(n_damaged=2, damaged_s=0.1), None, 5.0, False, "2 damaged packets were skipped"),
        (Damage(n_damaged=2, damaged_s=0.2), None, 5.0, True, "2 damaged packets were skipped"),
        (Damage(lost_s=0.1), None, 5.0, False, None),
        (Damage(lost_s=0.5), None, 5.0, True, "0.50 s are missing in between"),
        (Damage(n_bad=3, bad_s=0.2), None, 5.0, True,
         "3 samples that are not finite, or absurd, were taken for silence"),
        (Damage(cancelled_s=3.0), None, 5.0, False,
         "channels cancel each other for 3.00 s: the loudest was taken there"),
        (Damage(broke_off="the disk failed", is_cut=True), None, 5.0, True,
         "the disk failed; the end of the file is not whole: it was cut short"),
    ],
)  # fmt: skip
def test_what_is_said_of_it(
    damage: Damage, declared_s: float | None, decoded_s: float, truncated: bool, problem: str | None
) -> None:
    assert truncated_and_problem(damage, declared_s, decoded_s) == (truncated, problem)
