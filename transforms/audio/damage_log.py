"""Damage of a recording, recorded by the block that it fell into."""

from __future__ import annotations

from dataclasses import astuple

from transforms.core.damage import NO_DAMAGE, Damage
from transforms.core.sections import BLOCK_S

_STEPS_PER_S = 1 << 32  # seconds are rounded down to multiples of 1 / this: sums are exact in any order


class DamageLog:
    """The damage of each damaged block of a recording, and of its end."""

    def __init__(self) -> None:
        self._blocks: dict[int, Damage] = {}
        self._end = NO_DAMAGE

    def add(self, time_s: float, damage: Damage) -> None:
        """Adds damage to the block that contains this time."""
        damage = _rounded_down(damage)
        if any(astuple(damage)):
            number = int(time_s // BLOCK_S)
            self._blocks[number] = self._blocks.get(number, NO_DAMAGE) + damage

    def add_at_end(self, damage: Damage) -> None:
        """Adds damage that is detected only at the end of the file."""
        self._end += _rounded_down(damage)

    def include(self, other: DamageLog) -> None:
        """Adds all damage of another log of the same recording."""
        for number, damage in other._blocks.items():
            self._blocks[number] = self._blocks.get(number, NO_DAMAGE) + damage
        self._end += other._end

    def pop(self) -> DamageLog:
        """Returns the damage so far as a log of its own, and removes it here."""
        popped = DamageLog()
        popped._blocks, self._blocks = self._blocks, popped._blocks
        popped._end, self._end = self._end, popped._end
        return popped

    def between(self, start_s: int, stop_s: int | None) -> Damage:
        """Returns the damage of a time range; see `AudioDecoder.damage`."""
        total = NO_DAMAGE
        for number, damage in self._blocks.items():
            if start_s <= number * BLOCK_S and (stop_s is None or number * BLOCK_S < stop_s):
                total += damage
        return total if stop_s is not None else total + self._end


def _rounded_down(damage: Damage) -> Damage:
    return Damage(
        damage.n_damaged,
        _whole_steps(damage.damaged_s),
        _whole_steps(damage.lost_s),
        damage.n_invalid,
        _whole_steps(damage.invalid_s),
        _whole_steps(damage.cancelled_s),
        _whole_steps(damage.other_channel_s),
        damage.is_cut,
        damage.read_error,
    )


def _whole_steps(seconds: float) -> float:
    return int(seconds * _STEPS_PER_S) / _STEPS_PER_S
