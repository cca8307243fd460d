"""Windows in, finished window transcripts out: temperature fallback, further passes, filters and counts.

The decisions are pure steps (`next_step`, `finish`). The model is called through `ModelClient`, which is made
for a stream of requests; a batch scheduler implements it today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from model.interface import DecodingOptions, Request, WindowResult
from transforms.core.types import AudioSource, Failure, Segment, Window, WindowTranscript
from transforms.recognition.decode_passes import DecodePass
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS, FilterInput, apply_filters
from transforms.recognition.pieces import PieceKind
from transforms.recognition.window_decode import WindowDecode
from transforms.recognition.window_order import WindowOrder
from transforms.recognition.window_transcript import (
    failed_window,
    to_window_transcript,
    window_failure,
    within_speech,
)


class ModelClient(Protocol):
    """A model that decodes a stream of requests, in any order."""

    def submit(self, request: Request, priority: int = 0) -> None:
        """Adds a request: a new one with priority 0, or one that is repeated at a higher temperature."""

    def completed(self, *, wait: bool) -> list[tuple[Request, WindowResult | Exception]]:
        """Returns the requests decoded since the last call, each with its result or its exception.

        They are the same objects that were submitted: requests are compared by identity.

        Args:
            wait: whether to block until a request is decoded; the list is then empty only if none is pending.
                Otherwise it blocks only while the model has enough work.

        Raises:
            ModelError: the model does not work at all.
        """

    def cancel(self) -> None:
        """Drops all requests."""


@dataclass(frozen=True)
class FinishedWindow:
    """The result of one window.

    Attributes:
        key: the key that it was submitted with.
        transcript: its transcript; if no decoding succeeded (`failures`), without text and language.
        passes: its decodings, where windows follow its text, with the segments that were not removed and that
            no later window has, too.
        failures: failures of its decodings.
        counts: additions to the counters of the run, by name.
    """

    key: str
    transcript: WindowTranscript
    passes: tuple[DecodePass, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class Recognizer:
    """Decodes windows of any recordings until they are finished. For use by a single thread.

    Args:
        client: client of the model, used only by this recognizer.
        decoding: options of each request; its languages are codes of the model.
        policy: decides when a window is decoded again.
        filters: names of the hallucination filters that are on.
    """

    def __init__(
        self,
        client: ModelClient,
        decoding: DecodingOptions,
        fallback: FallbackPolicy,
        filters: tuple[str, ...] = tuple(FILTERS),
    ) -> None:
        self._client, self._decoding = client, decoding
        self._policy, self._filters = fallback, filters
        self._pending: dict[int, tuple[str, WindowDecode]] = {}  # by the identity of their request
        self._order = WindowOrder()

    def submit(self, source: AudioSource, window: Window, key: str = "") -> None:
        """Adds a window.

        Args:
            source: source of the window, without payload.
            window: the window; its samples are kept until it is finished.
            key: returned with the result.
        """
        decode = WindowDecode(source, window, languages=self._decoding.languages)
        if not self._decoding.condition_on_previous_text or window.section is None:
            self._request(key, decode)
        elif (next_one := self._order.added(key, decode)) is not None:
            self._request(*next_one)

    def completed(self, *, wait: bool) -> Iterator[list[FinishedWindow]]:
        """Yields lists of finished windows, as the model completes requests; lists may be empty.

        Args:
            wait: whether to continue until all windows are finished. Otherwise it blocks only while the model
                has enough work.

        Raises:
            ModelError: the model does not work at all. After any exception, and if the iterator is closed
                early, all windows are dropped.
        """
        try:
            while answers := self._client.completed(wait=wait or self._order.is_full):
                yield [finished for request, answer in answers for finished in self._step(request, answer)]
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Drops all windows."""
        self._client.cancel()
        self._pending.clear()
        self._order = WindowOrder()

    def _step(self, request: Request, answer: WindowResult | Exception) -> Iterator[FinishedWindow]:
        key, decode = self._pending.pop(id(request))
        decode = next_step(decode, answer, self._policy)
        if not decode.is_finished:
            self._request(key, decode)
            return
        finished = finish(key, decode, self._filters)
        if decode.previous is not None and (next_one := self._order.after(decode, finished.passes)):
            self._request(*next_one)
        yield finished

    def _request(self, key: str, decode: WindowDecode) -> None:
        request = decode.request(self._decoding, self._policy)
        self._pending[id(request)] = key, decode
        # A window that was rejected more often may still need all its other temperatures: it goes first.
        self._client.submit(request, priority=len(decode.attempts))


def next_step(
    decode: WindowDecode, answer: WindowResult | Exception, fallback: FallbackPolicy
) -> WindowDecode:
    """Returns the decode after the model's answer to its request."""
    if not isinstance(answer, Exception):
        return decode.with_result(answer, fallback)
    failure = window_failure(decode.source, decode.next_window, answer, is_decoded=_is_decoded(decode))
    return decode.with_failure(failure, fallback)


def _is_decoded(decode: WindowDecode) -> bool:
    """Whether what is to be decoded next was decoded otherwise, or may be yet, if its decoding fails."""
    piece = decode.pieces[0]
    if piece.kind in (PieceKind.LANGUAGE, PieceKind.TAIL):
        return piece.kind is PieceKind.LANGUAGE
    placed = (one for decode_pass in decode.passes for one in decode_pass.placed())
    return bool(decode.attempts) or any(start <= piece.start < stop for start, stop, _ in placed)


def finish(key: str, decode: WindowDecode, filters: tuple[str, ...]) -> FinishedWindow:
    """Returns the result of a finished decode: filtered, with segments trimmed to their speech."""
    counts = Counter(decode.counts)
    if not decode.passes:
        failed = failed_window(decode.window, decode.dropped)
        return FinishedWindow(key, failed, failures=decode.failures, counts=counts)
    repeated = tuple(
        to_window_transcript(decode.window, [one]).segments for one in decode.passes if one.result.repeated
    )
    transcript = to_window_transcript(decode.window, decode.passes, decode.dropped)
    filtered, n_removed = apply_filters(FilterInput(transcript, repeated), filters)
    counts["windows"] += 1
    counts["windows_fallback"] += any(one.fallback for one in decode.passes)
    counts["windows_without_text"] += not filtered.segments
    for name, n_segments in n_removed.items():
        counts[f"filtered_{name}"] += n_segments
    passes: tuple[DecodePass, ...] = ()
    if decode.previous is not None:
        passes = tuple(_kept_passes(decode, transcript.segments, filtered.segments))
    return FinishedWindow(key, within_speech(filtered), passes, decode.failures, counts)


def _kept_passes(
    decode: WindowDecode, segments: Sequence[Segment], kept: Collection[Segment]
) -> Iterator[DecodePass]:
    """Yields the passes of a decode with the segments that later windows follow.

    Args:
        decode: a finished decode.
        segments: its segments in seconds, before the filters.
        kept: those that the filters left as they were, and others.
    """
    in_seconds = iter(segments)
    for one in decode.passes:
        followed = tuple(
            segment
            for (_, stop, segment), filtered in zip(one.placed(), in_seconds, strict=False)
            if filtered in kept and stop <= decode.window.n_unshared
        )
        yield replace(one, result=replace(one.result, segments=followed))
