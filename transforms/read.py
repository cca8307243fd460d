"""Recordings into windows: the first half of the fused stage, where samples are made."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from model.interface import SAMPLE_RATE
from transforms.audio import AudioReader
from transforms.errors import AudioError, to_failure
from transforms.fetch import CAREFUL, open_audio
from transforms.logs import hide_secrets
from transforms.policy import FetchPolicy
from transforms.progress import PROGRESS, count, timed
from transforms.types import AudioSource, AudioSpan, Failure, Recording, Window, of_channel
from transforms.units import Begun, Ended, Step, Unit
from transforms.windows import WindowPlan, read_windows
from transforms.work import Work, name_of, open_work, origin_of

T = TypeVar("T")

FAILURES = "failures"
ORIGINS = "origins"
RECORDINGS = "recordings"
SPANS = "spans"
UNITS = "units"
WINDOWS = "windows"


class OpenWork(beam.DoFn):
    """Gives the span of each recording, and says on `ORIGINS` by its audio_id where it was found.

    Args:
        language: the code to decode in, or None to let each window detect it; a recording's own goes first.
        known: the codes of the languages that the model knows.
        channel: the one to be transcribed, from 0; None for the mean of all.
        split: each channel is a recording of its own.
        policy: what may be fetched, and what a list may name.
    """

    def __init__(
        self,
        language: str | None,
        known: Collection[str],
        channel: int | None = None,
        *,
        split: bool = False,
        policy: FetchPolicy = CAREFUL,
    ) -> None:
        self._language = language
        self._known = frozenset(known)
        self._channel = channel
        self._split = split
        self._policy = policy

    def setup(self) -> None:
        """Keeps the credentials of what is fetched out of the worker's log."""
        hide_secrets()

    def process(self, work: Work) -> Iterator[AudioSpan | TaggedOutput[str, Any]]:
        """Opens a shard row by row, so that one row's audio is held at a time."""
        for found in caught(open_work(work, self._policy), name_of(work), "list"):
            source = found if isinstance(found, Failure) else self._checked(found)
            if source.audio_id:  # it is a recording, and no shard as a whole
                count("listed")
            if isinstance(source, Failure):
                PROGRESS.add(recordings=1 if source.audio_id else 0)
                yield failed(source)
                continue
            yield TaggedOutput(ORIGINS, (source.audio_id, origin_of(source, work)))
            one = replace(source, channel=self._channel)
            yield AudioSpan(one, source.language or self._language, split=self._split)

    def _checked(self, source: AudioSource) -> AudioSource | Failure:
        if source.language is None or source.language in self._known:
            return source
        known = ", ".join(sorted(self._known))
        message = f"it is said to be in {source.language!r}, and the model knows {known} alone"
        return to_failure(source, AudioError("list", "other_language", message))


class ReadWindows(beam.DoFn):
    """Fetches, decodes and cuts a unit: gives each `Step` of it with a name that its reading has alone.

    The sources given on carry no payload. What goes wrong with a recording is a `Failure`, and the others go
    on.

    Args:
        plan: how recordings are cut.
        policy: what may be fetched.
    """

    def __init__(self, plan: WindowPlan, policy: FetchPolicy = CAREFUL) -> None:
        self._plan, self._policy = plan, policy

    def setup(self) -> None:
        """Keeps the credentials of what is fetched out of the worker's log."""
        hide_secrets()

    def process(self, unit: Unit) -> Iterator[tuple[str, Step]]:
        """Reads one window at a time; samples are held until their batch is done."""
        name = uuid.uuid4().hex
        yield name, Begun(unit.key, unit.attempt, alone=unit.n_deaths > 0)
        for step in self._steps(unit.span):
            yield name, step
        yield name, Ended()

    def _steps(self, span: AudioSpan) -> Iterator[Step]:
        items = read_recordings(span, self._plan, self._policy)
        first_look = span.windows is None
        heard = 0  # samples of the recording, those that windows share counted once
        for item in caught(timed(items, "read"), span.source, "decode"):
            PROGRESS.check()
            if isinstance(item, Failure):
                yield item
            elif isinstance(item, Recording):
                if first_look:  # the second look at a recording has nothing new to say of it as a whole
                    PROGRESS.add(audio_s=item.duration_s - heard / SAMPLE_RATE)  # where nobody spoke any more
                    yield item
                    yield from _truncation(item)
                heard = 0
            else:
                if first_look:
                    stop = item[1].pieces[-1][1]
                    PROGRESS.add(audio_s=(stop - heard) / SAMPLE_RATE)
                    heard = stop
                yield item
        if first_look:
            PROGRESS.add(recordings=1)


def _truncation(recording: Recording) -> Iterator[Failure]:
    """The failure of a recording that is not all there, if it is not."""
    if recording.truncated:
        reason = (
            f"{recording.problem or 'the audio breaks off'}; what could be decoded, "
            f"{recording.duration_s:.2f} s, was transcribed; fetch the recording again if it is longer"
        )
        yield to_failure(recording.source, AudioError("decode", "truncated", reason, retryable=False))


def read_recordings(
    span: AudioSpan, plan: WindowPlan, policy: FetchPolicy = CAREFUL
) -> Iterator[tuple[AudioSource, Window] | Recording | Failure]:
    """Fetches a file and reads it: as one recording, or channel by channel as one each.

    It is decoded once for each channel, since that costs little beside the model, and each channel then has
    windows of its own. How many there are is known once it was read.

    Yields:
        What `read_windows` gives, windows with their sources, which carry no payload; and the failure of a
        channel, which ends that one alone.

    Raises:
        AudioError: nothing could be fetched or decoded.
    """
    source = replace(span.source, payload=None)
    with open_audio(span.source, policy) as file:
        channel, n_channels = 0, 1
        while channel < n_channels:
            one = of_channel(source, channel) if span.split else source
            reader = AudioReader(file, one.channel)
            try:
                for item in read_windows(reader, replace(span, source=one), plan):
                    yield (one, item) if isinstance(item, Window) else item
            except AudioError as error:
                if not span.split or not reader.n_channels:  # all of the file is lost, and not a channel
                    raise
                yield to_failure(one, error)
            if span.split:
                n_channels = max(n_channels, reader.n_channels)
            channel += 1


def caught(items: Iterator[T], source: AudioSource, stage: str) -> Iterator[T | Failure]:
    """Passes the items on; an exception on the way ends them with a `Failure` of the source."""
    try:
        yield from items
    except AudioError as error:
        yield to_failure(source, error)
    except Exception as error:  # a library's surprise over one file must not cost the other ten thousand
        yield unexpected(source, stage, error)


def unexpected(source: AudioSource, stage: str, error: Exception) -> Failure:
    """The failure for an exception that nobody foresaw, with its type, so that it can be reported."""
    reason = f"{type(error).__name__}: {error}; if the recording plays elsewhere, please report this"
    return to_failure(source, AudioError(stage, "unexpected", reason, retryable=False))


def failed(failure: Failure) -> TaggedOutput[str, Failure]:
    """Counts a failure and puts it on its output."""
    count("failures")
    PROGRESS.add(failures=1)
    return TaggedOutput(FAILURES, failure)
