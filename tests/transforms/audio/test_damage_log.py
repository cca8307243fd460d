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
from transforms.core.damage import NO_DAMAGE, Damage
from transforms.core.recording_parts import truncated_and_problem

SECONDS = st.floats(0, 30)
DAMAGES = st.builds(Damage, st.integers(0, 9), SECONDS, SECONDS, st.integers(0, 9), SECONDS, SECONDS, SECONDS)
TIMES = st.floats(0, 600, exclude_max=True)


def test_damage_round_trips_through_json() -> None:
    damage = Damage(1, 0.5, read_error="a disk")
    assert Damage(**json.loads(json.dumps(asdict(damage)))) == damage


@given(
    st.lists(st.tuples(TIMES, DAMAGES), max_size=20),
    DAMAGES,
    st.sets(st.integers(1, 19).map(lambda n: 30 * n)),
    st.randoms(),
)
def test_ranges_of_any_partition_sum_to_the_whole(
    events: list[tuple[float, Damage]], end: Damage, bounds: set[int], random: Random
) -> None:
    log = DamageLog()
    for time_s, damage in events:
        log.add(time_s, damage)
    log.add_at_end(end)
    limits: list[int | None] = [0, *sorted(bounds), None]
    parts = [log.between(start, stop) for start, stop in itertools.pairwise(limits)]
    random.shuffle(parts)
    assert reduce(add, parts) == log.between(0, None)


def test_damage_at_a_bound_belongs_to_the_following_range() -> None:
    log = DamageLog()
    log.add(30.0, Damage(n_damaged=1))
    log.add(29.999, Damage(n_invalid=1))
    assert log.between(0, 30) == Damage(n_invalid=1)
    assert log.between(30, 60) == Damage(n_damaged=1)


def test_sum_of_tolerated_damage_is_exact() -> None:
    log = DamageLog()
    for _ in range(5):
        log.add(0.0, Damage(n_damaged=1, damaged_s=0.02))
    assert truncated_and_problem(log.between(0, None), None, 5.0)[0] is False


def test_damage_at_the_end_belongs_to_the_unbounded_range() -> None:
    log = DamageLog()
    log.add_at_end(Damage(is_cut=True))
    log.add_at_end(Damage(lost_s=2.0))
    assert log.between(0, 600) == NO_DAMAGE
    assert log.between(600, None) == Damage(is_cut=True, lost_s=2.0)


def test_blocks_without_damage_are_not_stored() -> None:
    log = DamageLog()
    for time_s in range(0, 360_000, 30):
        log.add(time_s, Damage(lost_s=1e-12))  # rounding error of timestamps
    assert not log._blocks


@pytest.mark.parametrize(
    ("damage", "declared_s", "decoded_s", "truncated", "problem"),
    [
        (NO_DAMAGE, None, 5.0, False, None),
        (NO_DAMAGE, 5.09, 5.0, False, None),
        (NO_DAMAGE, 5.2, 5.0, True, "5.00 s of 5.20 s declared could be decoded"),
        (NO_DAMAGE, 1000.9, 1000.0, False, None),
        (Damage(is_cut=True), None, 5.0, True, "the end of the file is not whole: it was cut short"),
        (Damage(n_damaged=2, damaged_s=0.1), None, 5.0, False, "2 damaged packets were skipped"),
        (Damage(n_damaged=2, damaged_s=0.2), None, 5.0, True, "2 damaged packets were skipped"),
        (Damage(lost_s=0.1), None, 5.0, False, None),
        (Damage(lost_s=0.5), None, 5.0, True, "0.50 s are missing in between"),
        (Damage(n_invalid=3, invalid_s=0.2), None, 5.0, True,
         "3 samples that are not finite, or absurd, were taken for silence"),
        (Damage(cancelled_s=3.0), None, 5.0, False,
         "channels cancel each other for 3.00 s: the loudest was taken there"),
        (Damage(other_channel_s=5.0), None, 5.0, False,
         "the file has a single channel for 5.00 s, which was taken for the one named"),
        (Damage(read_error="the disk failed", is_cut=True), None, 5.0, True,
         "the disk failed; the end of the file is not whole: it was cut short"),
    ],
)  # fmt: skip
def test_truncated_and_problem(
    damage: Damage, declared_s: float | None, decoded_s: float, truncated: bool, problem: str | None
) -> None:
    assert truncated_and_problem(damage, declared_s, decoded_s) == (truncated, problem)


def test_damage_of_another_log_is_added() -> None:
    log, other = DamageLog(), DamageLog()
    log.add(1.0, Damage(n_damaged=1))
    other.add(2.0, Damage(n_damaged=2))
    other.add(65.0, Damage(n_invalid=3))
    other.add_at_end(Damage(is_cut=True))
    log.include(other)
    assert log.between(0, 30) == Damage(n_damaged=3)
    assert log.between(30, None) == Damage(n_invalid=3, is_cut=True)
    assert other.between(0, None) == Damage(n_damaged=2, n_invalid=3, is_cut=True)


def test_popped_damage_is_in_one_log_only() -> None:
    log = DamageLog()
    log.add(1.0, Damage(n_damaged=1))
    log.add_at_end(Damage(is_cut=True))
    popped = log.pop()
    log.add(1.0, Damage(n_damaged=5))
    assert popped.between(0, None) == Damage(n_damaged=1, is_cut=True)
    assert log.between(0, None) == Damage(n_damaged=5)
