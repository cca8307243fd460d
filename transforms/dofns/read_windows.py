"""Recordings into windows: the first half of the fused stage, where samples are made."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam

from transforms.checkpoint.spans import ReadEvent, WorkUnit
from transforms.core.log_redaction import hide_secrets
from transforms.dofns.counters import BEAM_CONTEXT
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.span_reader import SpanReader
from transforms.windows.plan import WindowPlan


class ReadWindows(beam.DoFn):
    """Fetches, decodes and cuts a unit: gives each `ReadEvent` of it with a name that its reading has alone.

    The sources given on carry no payload. What goes wrong with a recording is a `Failure`, and the others go
    on.

    Args:
        plan: how recordings are cut.
        policy: what may be fetched.
        span_s: the most seconds of a recording that are committed at a time; a multiple of 30.
    """

    def __init__(self, plan: WindowPlan, policy: FetchPolicy = DEFAULT_POLICY, span_s: int = 1800) -> None:
        self._plan, self._policy, self._span_s = plan, policy, span_s

    def setup(self) -> None:
        """Keeps the credentials of what is fetched out of the worker's log."""
        hide_secrets()

    def process(self, unit: WorkUnit) -> Iterator[tuple[str, ReadEvent]]:
        """Reads one window at a time; samples are held until their batch is done."""
        reader = SpanReader(unit, self._plan, self._policy, self._span_s, BEAM_CONTEXT)
        yield from reader.events()
