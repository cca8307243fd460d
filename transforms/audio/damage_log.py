"""What of a recording is missing or was no sound: counted where it fell, and told in words."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from transforms.core.records import Record
from transforms.core.sections import BLOCK_S

TOLERANCE_S, TOLERANCE = 0.1, 0.001  # a header may be wrong by this much, absolute or relative
_STEPS = 1 << 32  # to the second: times are rounded down to these, so that sums are exact in any order


@dataclass(frozen=True)
class Damage(Record):
    """What is wrong with a part of a recording; nothing is, by default.

    Args:
        n_damaged: packets that could not be decoded, and were skipped.
        damaged_s: seconds in them, so far as they say.
        lost_s: seconds that are missing between the pages of an Ogg file.
        n_bad: samples that were no sound, and taken for silence.
        bad_s: seconds of these.
        cancelled_s: seconds for which the channels cancelled each other, and the loudest was taken.
        is_cut: the end of the file is not whole.
        broke_off: why reading ended before the file did; None where it did not.
    """

    n_damaged: int = 0
    damaged_s: float = 0.0
    lost_s: float = 0.0
    n_bad: int = 0
    bad_s: float = 0.0
    cancelled_s: float = 0.0
    is_cut: bool = False
    broke_off: str | None = None

    def __add__(self, other: Damage) -> Damage:
        """That of two parts."""
        return Damage(
            self.n_damaged + other.n_damaged,
            self.damaged_s + other.damaged_s,
            self.lost_s + other.lost_s,
            self.n_bad + other.n_bad,
            self.bad_s + other.bad_s,
            self.cancelled_s + other.cancelled_s,
            self.is_cut or other.is_cut,
            self.broke_off if self.broke_off is not None else other.broke_off,
        )


UNHARMED = Damage()


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


def truncated_and_problem(
    damage: Damage, declared_s: float | None, decoded_s: float
) -> tuple[bool, str | None]:
    """Whether a recording counts as truncated, and what is wrong with it.

    Args:
        damage: all of the recording's.
        declared_s: seconds that its header promises; None where it promises nothing.
        decoded_s: seconds that could be decoded.

    Returns:
        True when more than 0.1 s, and more than a thousandth, is missing or was no sound, or reading broke
        off; and what is missing or damaged, in words, or None when nothing is.
    """
    declared_s = declared_s or 0.0
    is_short = declared_s - decoded_s > max(TOLERANCE_S, TOLERANCE * declared_s)
    problems = [damage.broke_off] if damage.broke_off is not None else []
    if damage.is_cut:
        problems.append("the end of the file is not whole: it was cut short")
    if damage.n_damaged:
        problems.append(f"{damage.n_damaged} damaged packets were skipped")
    if damage.lost_s > TOLERANCE_S:
        problems.append(f"{damage.lost_s:.2f} s are missing in between")
    if is_short:
        problems.append(f"{decoded_s:.2f} s of {declared_s:.2f} s declared could be decoded")
    if damage.n_bad:
        problems.append(f"{damage.n_bad} samples that are not finite, or absurd, were taken for silence")
    if damage.cancelled_s:
        problems.append(
            f"channels cancel each other for {damage.cancelled_s:.2f} s: the loudest was taken there"
        )
    missing_s = max(damage.damaged_s, damage.lost_s, damage.bad_s)
    is_truncated = damage.broke_off is not None or damage.is_cut or is_short or missing_s > TOLERANCE_S
    return is_truncated, "; ".join(problems) or None
