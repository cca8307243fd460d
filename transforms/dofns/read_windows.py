"""Recordings into windows: the first half of the fused stage, where samples are made."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam

from transforms.checkpoint.spans import Step, Unit
from transforms.core.log_redaction import hide_secrets
from transforms.fetch.policy import CAREFUL, FetchPolicy
from transforms.reading.span_reader import UnitReading
from transforms.windows.plan import WindowPlan


class ReadWindows(beam.DoFn):
    """Fetches, decodes and cuts a unit: gives each `Step` of it with a name that its reading has alone.

    The sources given on carry no payload. What goes wrong with a recording is a `Failure`, and the others go
    on.

    Args:
        plan: how recordings are cut.
        policy: what may be fetched.
        span_s: the most seconds of a recording that are committed at a time; a multiple of 30.
    """

    def __init__(self, plan: WindowPlan, policy: FetchPolicy = CAREFUL, span_s: int = 1800) -> None:
        self._plan, self._policy, self._span_s = plan, policy, span_s

    def setup(self) -> None:
        """Keeps the credentials of what is fetched out of the worker's log."""
        hide_secrets()

    def process(self, unit: Unit) -> Iterator[tuple[str, Step]]:
        """Reads one window at a time; samples are held until their batch is done."""
        yield from UnitReading(unit, self._plan, self._policy, self._span_s).steps()
