"""Opens work items: yields the spans of each recording, and the origin that it can be reopened from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.core.audio_streams import StreamChoice
from transforms.core.clips import ClipTimes
from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import errors_as_failures
from transforms.core.log_redaction import hide_secrets
from transforms.core.metrics import timed
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSource, AudioSpan, Failure, file_id
from transforms.dofns.counters import BEAM_METRICS
from transforms.dofns.tags import LISTED, ORIGINS, SHARED, failed
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.range_split import split_into_ranges
from transforms.sources.work_items import Work, failure_source, open_work, origin_of


class OpenWork(beam.DoFn):
    """Yields the spans of each recording; on `ORIGINS`, by its audio_id, where it can be read again.

    Args:
        language: the code to decode in, or None to detect it in each window; a recording's own takes
            precedence.
        known: the codes of the languages that the model supports.
        channel: the channel to transcribe, from 0; None for a mix of all. A recording's own takes
            precedence.
        split: whether each channel is a recording, unless a recording has a channel of its own.
        stream: the audio stream to transcribe, of a file with several; None for the default one. A
            recording's own takes precedence.
        all_streams: whether each audio stream is a recording, unless a recording has a stream of its own.
        clips: the clips of each recording to transcribe; empty for all of it. A recording's own take
            precedence.
        policy: which URIs may be fetched, and which a list may contain.
        max_range_s: maximum seconds of a recording for one worker; a longer one is split into ranges, on
            `SHARED`. None for no maximum.
        list_ids: also yield the audio_id of each recording, on `LISTED`.
    """

    def __init__(
        self,
        language: str | None,
        known: Collection[str],
        channel: int | None = None,
        *,
        split: bool = False,
        stream: StreamChoice = None,
        all_streams: bool = False,
        clips: ClipTimes = (),
        policy: FetchPolicy = DEFAULT_POLICY,
        max_range_s: int | None = None,
        list_ids: bool = False,
    ) -> None:
        self._language = language
        self._known = frozenset(known)
        self._channel = channel
        self._split = split
        self._stream, self._all_streams = stream, all_streams
        self._clips = clips
        self._policy = policy
        self._max_range_s = max_range_s
        self._list_ids = list_ids

    def setup(self) -> None:
        """Removes credentials from the worker's log."""
        hide_secrets()

    def process(self, work: Work) -> Iterator[AudioSpan | TaggedOutput[str, Any]]:
        """Opens a work item row by row, so that the audio of one row is in memory at a time."""
        for found in errors_as_failures(
            timed(open_work(work, self._policy, BEAM_METRICS, self._known), "read", BEAM_METRICS),
            failure_source(work),
            "list",
        ):
            source = found if isinstance(found, Failure) else self._checked(found)
            if source.audio_id:  # a recording, not a failed shard
                BEAM_METRICS.count("listed")
                if self._list_ids:
                    yield TaggedOutput(LISTED, source.audio_id)
            if isinstance(source, Failure):
                PROGRESS.add(recordings=1 if source.audio_id else 0)
                yield failed(source)
                continue
            yield TaggedOutput(ORIGINS, (file_id(source.audio_id), origin_of(source, work)))
            yield from self._spans(self._span_of(source))

    def _span_of(self, source: AudioSource) -> AudioSpan:
        language = source.language or self._language
        has_channel, has_stream = source.channel is not None, source.stream is not None  # its line names them
        return AudioSpan(
            replace(
                source,
                channel=source.channel if has_channel else self._channel,
                stream=source.stream if has_stream else self._stream,
                clip_timestamps=source.clip_timestamps or self._clips,
            ),
            language,
            split=self._split and not has_channel,
            all_streams=self._all_streams and not has_stream,
        )

    def _spans(self, span: AudioSpan) -> Iterator[AudioSpan | TaggedOutput[str, AudioSpan]]:
        if self._max_range_s is None or span.has_tracks:  # their number is known only after reading
            yield span
            return
        ranges = split_into_ranges(span.source, self._max_range_s, self._policy)
        for start_s, stop_s in ranges:
            part = replace(span, start_s=start_s, stop_s=stop_s)
            yield part if len(ranges) == 1 else TaggedOutput(SHARED, part)

    def _checked(self, source: AudioSource) -> AudioSource | Failure:
        if source.language is None or source.language in self._known:
            return source
        known = ", ".join(sorted(self._known))
        message = f"its language is {source.language!r}, but the model knows only {known}"
        return to_failure(source, AudioError("list", "other_language", message))
