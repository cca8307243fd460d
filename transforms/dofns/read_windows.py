"""Reads recordings and cuts them into windows: the first half of the fused stage, which decodes samples."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam

from transforms.checkpoint.spans import ReadEvent, WorkUnit
from transforms.core.log_redaction import hide_secrets
from transforms.core.sections import SPAN_S
from transforms.dofns.counters import BEAM_CONTEXT
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.span_reader import SpanReader
from transforms.windows.plan import WindowPlan


class ReadWindows(beam.DoFn):
    """Fetches, decodes and cuts a work unit; emits its `ReadEvent`s, each with a name unique to its reading.

    The emitted sources have no payload. An error of a recording becomes a `Failure`, and the others continue.

    Args:
        plan: how recordings are cut.
        policy: which URIs may be fetched.
        span_s: maximum seconds of a recording that are committed at a time; a multiple of 30.
    """

    def __init__(self, plan: WindowPlan, policy: FetchPolicy = DEFAULT_POLICY, span_s: int = SPAN_S) -> None:
        self._plan, self._policy, self._span_s = plan, policy, span_s

    def setup(self) -> None:
        """Removes credentials from the worker's log."""
        hide_secrets()

    def process(self, unit: WorkUnit) -> Iterator[tuple[str, ReadEvent]]:
        """Reads one window at a time; samples are buffered until their batch is done."""
        reader = SpanReader(unit, self._plan, self._policy, self._span_s, BEAM_CONTEXT)
        yield from reader.events()
