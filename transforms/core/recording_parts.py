"""What was read of a recording range by range, and all of it put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from model.interface import SAMPLE_RATE
from transforms.core.types import Damage, Intervals, Recording, RecordingPart

TOLERANCE_S, TOLERANCE = 0.1, 0.001  # a header may be wrong by this much, absolute or relative


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


LEAST_GAP = SAMPLE_RATE
"""Samples, 1 s: what is cut out of a shorter pause is not worth telling."""

Range = tuple[int, int | None]
"""(start, stop) in seconds, multiples of 30; None for the recording's end."""


class Coverage:
    """What the windows of a range cover, of windows that come by their start."""

    def __init__(self) -> None:
        self.covered: tuple[int, int] | None = None
        self.gaps: list[tuple[int, int]] = []

    def add(self, pieces: Intervals) -> None:
        """Adds a window's pieces, in samples."""
        for start, stop in pieces:
            if self.covered is None:
                self.covered = (start, stop)
                continue
            first, last = self.covered
            if start - last >= LEAST_GAP:
                self.gaps.append((last, start))
            self.covered = (first, max(last, stop))


def missing(start_s: int, stop_s: int | None, done: Iterable[Range], length_s: int) -> Iterator[Range]:
    """The ranges from `start_s` to `stop_s` that are not done, each of at most `length_s`.

    Without end where `stop_s` is None. They begin at multiples of the length, or where a range is done.
    """
    at = start_s
    for begins, ends in sorted(done, key=lambda one: one[0]):
        if ends is not None and ends <= at:
            continue
        if stop_s is not None and begins >= stop_s:
            break
        if begins > at:
            yield from _pieces(at, begins, length_s)
        if ends is None:
            return
        at = max(at, ends)
    yield from _pieces(at, stop_s, length_s)


def _pieces(start_s: int, stop_s: int | None, length_s: int) -> Iterator[Range]:
    while stop_s is None or start_s < stop_s:
        following = (start_s // length_s + 1) * length_s
        yield start_s, following if stop_s is None else min(following, stop_s)
        start_s = following


def is_damaged(part: RecordingPart) -> bool:
    """Whether something is missing in a part, or at the recording's end if that is its end."""
    decoded_s = (part.n_samples or 0) / SAMPLE_RATE
    return truncated_and_problem(part.damage, part.declared_s, decoded_s)[0]


def chosen(parts: Iterable[RecordingPart]) -> list[RecordingPart] | None:
    """Parts that are the recording, each range once, in order; None where one is missing.

    A recording that was named twice, with other hints, has some twice: the same are chosen in every run.
    """
    by_start = {part.start_s: part for part in sorted(parts, key=repr, reverse=True)}
    found, at = list[RecordingPart](), 0
    while True:
        following = by_start.get(at)
        if following is None:
            return None
        found.append(following)
        if following.stop_s is None:
            return found
        at = following.stop_s


def whole(parts: Sequence[RecordingPart]) -> Recording:
    """The recording of parts that follow each other, from its start to its end."""
    last = parts[-1]
    n_samples = last.n_samples or 0
    damage = sum((part.damage for part in parts), Damage())
    truncated, problem = truncated_and_problem(damage, last.declared_s, n_samples / SAMPLE_RATE)
    n_spoken = [part.n_spoken for part in parts if part.n_spoken is not None]
    return Recording(
        source=last.source,
        duration_s=n_samples / SAMPLE_RATE,
        n_windows=sum(part.n_windows for part in parts),
        n_skipped=sum(part.n_skipped for part in parts),
        speech_s=sum(n_spoken) / SAMPLE_RATE if n_spoken else None,
        skipped=tuple(_skipped(parts, n_samples)),
        truncated=truncated,
        problem=problem,
        declared_s=last.declared_s,
    )


def _skipped(parts: Iterable[RecordingPart], n_samples: int) -> Iterator[tuple[float, float]]:
    """The stretches of a second and more that no window covers, in seconds."""
    covered = 0
    for part in parts:
        if part.covered is not None:
            first, last = part.covered
            yield from _gap(covered, first)
            for gap in part.gaps:
                yield from _gap(*gap)
            covered = max(covered, last)
    yield from _gap(covered, n_samples)


def _gap(start: int, stop: int) -> Iterator[tuple[float, float]]:
    if stop - start >= LEAST_GAP:
        yield start / SAMPLE_RATE, stop / SAMPLE_RATE
