"""What of a recording is missing or was no sound: counted where it fell, and told in words."""

from __future__ import annotations

from dataclasses import astuple

from transforms.core.sections import BLOCK_S
from transforms.core.types import UNHARMED, Damage

_STEPS = 1 << 32  # to the second: times are rounded down to these, so that sums are exact in any order


class DamageLog:
    """The damage of each block of a recording that has any, and of its end."""

    def __init__(self) -> None:
        self._blocks: dict[int, Damage] = {}
        self._end = UNHARMED

    def add(self, time_s: float, damage: Damage) -> None:
        """Takes what fell into the block that this time is in."""
        damage = _in_steps(damage)
        if any(astuple(damage)):
            number = int(time_s // BLOCK_S)
            self._blocks[number] = self._blocks.get(number, UNHARMED) + damage

    def end(self, damage: Damage) -> None:
        """Takes what showed at the end of the file alone."""
        self._end += _in_steps(damage)

    def between(self, start_s: int, stop_s: int | None) -> Damage:
        """What fell into a range, as `AudioReader.damage` has it."""
        total = UNHARMED
        for number, damage in self._blocks.items():
            if start_s <= number * BLOCK_S and (stop_s is None or number * BLOCK_S < stop_s):
                total += damage
        return total if stop_s is not None else total + self._end


def _in_steps(damage: Damage) -> Damage:
    return Damage(
        damage.n_damaged,
        _rounded(damage.damaged_s),
        _rounded(damage.lost_s),
        damage.n_bad,
        _rounded(damage.bad_s),
        _rounded(damage.cancelled_s),
        damage.is_cut,
        damage.broke_off,
    )


def _rounded(seconds: float) -> float:
    return int(seconds * _STEPS) / _STEPS
