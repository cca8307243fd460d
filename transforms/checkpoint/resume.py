"""What was committed before is not done again: the Beam half of `transforms.checkpoint.commit_log`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transforms.checkpoint.commit_log import LogIndex
from transforms.checkpoint.spans import (
    Place,
    SpanResult,
    Unit,
    place_of,
)
from transforms.core.sections import BLOCK_S
from transforms.core.types import AudioSpan


@dataclass(frozen=True)
class Resuming:
    """Where a run keeps what it has done.

    Attributes:
        log: URL of the folder of its commit log.
        retry_failed: do again what ended with a failure.
    """

    log: str
    retry_failed: bool = False


_LIFTED = ("forbidden", "forbidden_host", "forbidden_uri")
"""Kinds of failures that an option, or a permission, may have lifted since."""


def _again(result: SpanResult, resuming: Resuming) -> bool:
    """Whether a span that is done is to be done again."""
    lifted = any(failure.retryable or failure.kind in _LIFTED for failure in result.failures)
    return lifted or (resuming.retry_failed and result.has_failed)


def _is_in(place: Place, span: AudioSpan) -> bool:
    """Whether what begins there is this range's of the recording."""
    start_s = place[1]
    return span.start_s <= start_s and (span.stop_s is None or start_s < span.stop_s)


def _resumed(unit: Unit, done: Sequence[SpanResult], index: LogIndex) -> Unit:
    """The unit, with what is known of it from before.

    Other ranges of it may be under way in other processes, which have not died; and who died of a span that
    is done now did not die of what is missing.
    """
    keys = index.keys_of(unit.key)
    is_done = {result.key for result in done}
    open_here = [key for key in keys if key not in is_done and _is_in(place_of(key), unit.span)]
    return replace(
        unit,
        done=tuple((result.place[0], result.range) for result in done),
        attempts={key: index.next_attempt(key) for key in keys if key in index},
        n_channels=max((result.n_channels for result in done), default=1),
        n_deaths=max((index.n_open[key] for key in open_here), default=0),
    )


def _lacks_channels(unit: Unit) -> bool:
    others = range(1, unit.n_channels)
    return unit.span.split and any(next(unit.missing(one, BLOCK_S), None) is not None for one in others)
