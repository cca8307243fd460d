"""Reads recordings and cuts them into windows: the first half of the fused stage, which decodes samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from transforms.checkpoint.spans import ReadEvent, WorkUnit
from transforms.core.log_redaction import hide_secrets
from transforms.core.sections import SPAN_S
from transforms.dofns.counters import BEAM_CONTEXT
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.fetch_ahead import FetchAhead
from transforms.reading.kept_file import KeptFile
from transforms.reading.span_reader import SpanReader
from transforms.windows.plan import WindowPlan

NamedEvent = tuple[str, ReadEvent]


class ReadWindows(beam.DoFn):
    """Fetches, decodes and cuts a work unit; emits its `ReadEvent`s, each with a name unique to its reading.

    URLs are fetched ahead, in threads, and read in the order in which they arrive; all else is read at once.
    Parts of a file that follow each other are read from one copy of it, and decoded in one pass.
    The emitted sources have no payload. An error of a recording becomes a `Failure`, and the others continue.

    Args:
        plan: how recordings are cut.
        policy: which URIs may be fetched.
        span_s: maximum seconds of a recording that are committed at a time; a multiple of 30.
    """

    def __init__(self, plan: WindowPlan, policy: FetchPolicy = DEFAULT_POLICY, span_s: int = SPAN_S) -> None:
        self._plan, self._policy, self._span_s = plan, policy, span_s
        self._ahead: FetchAhead | None = None
        self._kept = KeptFile()

    def setup(self) -> None:
        """Removes credentials from the worker's log."""
        hide_secrets()

    def start_bundle(self) -> None:
        """Drops what a failed bundle was fetching and reading."""
        self.teardown()

    def teardown(self) -> None:
        """Ends the downloads of a bundle that Beam abandoned."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        self._kept.close()

    def process(self, unit: WorkUnit) -> Iterator[NamedEvent]:
        """Reads one window at a time; samples are buffered until their batch is done."""
        is_new = True
        if FetchAhead.accepts(unit) and not self._kept.is_of(unit):
            if self._ahead is None:
                self._ahead = FetchAhead(self._policy, BEAM_CONTEXT.check)
            is_new = self._ahead.submit(unit)
        else:
            yield from self._read([unit], open_audio)
        # More parts of a file that is being fetched may follow: it is read once another one comes.
        while is_new and self._ahead and (fetched := self._take(self._ahead, block=self._ahead.is_full)):
            yield from self._read(*fetched)

    def finish_bundle(self) -> Iterator[Any]:
        """Reads what is still being fetched."""
        while self._ahead and (fetched := self._take(self._ahead, block=True)):
            for event in self._read(*fetched):
                yield GlobalWindows.windowed_value(event)
        self.teardown()

    def _take(self, ahead: FetchAhead, *, block: bool) -> tuple[list[WorkUnit], Opener] | None:
        if block:
            self._kept.close()  # its copy may have the place on the disk that others wait for
        return ahead.take(block=block)

    def _read(self, units: Sequence[WorkUnit], opener: Opener) -> Iterator[NamedEvent]:
        """Reads the units of a file, one after the other."""
        for unit in units:
            self._kept.close_unless_of(unit)
            keep = len(units) > 1 or KeptFile.accepts(unit)
            chosen = self._kept.opener(opener) if keep else opener
            reader = SpanReader(unit, self._plan, self._policy, self._span_s, BEAM_CONTEXT, chosen)
            yield from reader.events()
