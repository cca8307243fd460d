"""Damage of a recording, which its row describes (`transforms.core.recording_parts`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transforms.core.record import Record


@dataclass(frozen=True)
class Damage(Record):
    """Damage of a part of a recording; none by default.

    Args:
        n_damaged: packets that could not be decoded and were skipped.
        damaged_s: seconds in these packets, as far as they declare them.
        lost_s: seconds without sound in the container; they are silent, unless they are over an hour.
        n_invalid: invalid samples (not finite, or absurdly large), which became silence.
        invalid_s: seconds of these.
        cancelled_s: seconds in which the channels cancelled each other and the loudest was used.
        other_channel_s: seconds in which the file has a single channel, which was used for another one.
        is_cut: the end of the file is incomplete.
        read_error: message of the error that ended decoding before the end of the file; None if none did.
    """

    n_damaged: int = 0
    damaged_s: float = 0.0
    lost_s: float = 0.0
    n_invalid: int = 0
    invalid_s: float = 0.0
    cancelled_s: float = 0.0
    other_channel_s: float = 0.0
    is_cut: bool = False
    read_error: str | None = None

    def __add__(self, other: Damage) -> Damage:
        """Returns the damage of two parts together."""
        *numbers, is_cut, read_error = vars(self).values()
        *more, is_cut_too, other_error = vars(other).values()
        values: list[Any] = [one + too for one, too in zip(numbers, more, strict=True)]
        values += [is_cut or is_cut_too, other_error if read_error is None else read_error]
        return Damage(*values)


NO_DAMAGE = Damage()
