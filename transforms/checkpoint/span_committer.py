"""Commits spans to the log as soon as they are finished: log writer, pending spans and isolation together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from transforms.checkpoint.commit_log import LogWriter
from transforms.checkpoint.isolation import SharedExclusiveLock
from transforms.checkpoint.pending_spans import PendingSpans
from transforms.checkpoint.spans import SpanEnded, SpanResult, SpanStarted, to_record
from transforms.core.types import Failure, RecordingPart, WindowTranscript


class SpanCommitter:
    """Pending spans of one thread. The log records the start of each span, and its results once finished.

    Args:
        log: URL of the folder of the commit log; None to neither record nor isolate spans.
        lock: lock of the process; a span that may crash the process holds it exclusively.
        check: called while waiting for the lock; may raise.
    """

    def __init__(self, log: str | None, lock: SharedExclusiveLock, check: Callable[[], None]) -> None:
        self._log, self._lock, self._check = log, lock, check
        self._writer: LogWriter | None = None
        self._pending = PendingSpans()

    def must_finish_before(self, started: SpanStarted) -> bool:
        """Whether all pending spans must be finished, and the lock released, before this span starts.

        This span or one of another thread may crash the process: no other span may be pending then, because
        the crash would be attributed to it.
        """
        return self._log is not None and (started.exclusive or self._lock.wanted)

    def start(self, name: str, started: SpanStarted) -> None:
        """Waits for the lock and records that work on the span starts.

        Args:
            name: name of the reading.
            started: its first event.

        Raises:
            OSError: it cannot be recorded.
        """
        if self._log is not None:
            self._writer = self._writer or LogWriter(self._log)
            self._lock.acquire(self, exclusive=started.exclusive, check=self._check)
            if started.key not in self._pending.keys():  # noqa: SIM118  # a recording that is listed twice is one crash
                self._writer.begin([started.key])
        self._pending.start(name, started)

    def add(self, name: str, item: RecordingPart | Failure) -> None:
        """See `PendingSpans`."""
        self._pending.add(name, item)

    def add_window(self, name: str) -> None:
        """See `PendingSpans`."""
        self._pending.add_window(name)

    def finish_window(
        self,
        name: str,
        transcript: WindowTranscript,
        failures: Iterable[Failure],
        counts: Mapping[str, int],
    ) -> None:
        """See `PendingSpans`."""
        self._pending.finish_window(name, transcript, failures, counts)

    def end(self, name: str, ended: SpanEnded) -> bool:
        """See `PendingSpans`."""
        return self._pending.end(name, ended)

    def commit_finished(self) -> list[SpanResult]:
        """Commits the spans that are finished by now, and returns their results.

        Raises:
            OSError: they cannot be written; the log then counts no crash for them.
        """
        results = self._pending.pop_finished()
        if self._writer is not None:
            try:
                self._writer.commit([(result.key, to_record(result)) for result in results])
            except BaseException:  # raised again: the disk failed, or a signal came, and not these spans
                with suppress(OSError):
                    self._writer.release([result.key for result in results])
                raise
        return results

    def release_lock(self) -> None:
        """Lets exclusive spans of other threads run; no span may be pending."""
        self._lock.release(self)

    def abandon(self) -> None:
        """Drops the pending spans and records their release, as the process did not crash."""
        if self._writer is not None:
            with suppress(OSError):  # the error that ended the work is the one to report
                self._writer.release_all()
        self._lock.release(self)
        self._pending = PendingSpans()

    def close(self) -> None:
        """Drops the pending spans and closes the log."""
        self.abandon()
        if self._writer is not None:
            self._writer.close()
