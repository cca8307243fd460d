"""What was said in a recording's windows, brought together: the language, the second look, the row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.errors import AudioError, to_failure
from transforms.language import outvoted, vote
from transforms.merge import merge_windows
from transforms.progress import count, count_seconds
from transforms.read import (
    ORIGINS,
    RECORDINGS,
    WINDOWS,
    Work,
    caught,
    failed,
    name_of,
    open_work,
    unexpected,
)
from transforms.types import AudioSource, AudioSpan, Failure, Recording, Transcript, WindowTranscript

SECOND_LOOK = "second_look"

Grouped = tuple[str, dict[str, list[Any]]]
"""What `CoGroupByKey` gives: an audio_id, and its values by the names of their collections."""


@dataclass(frozen=True)
class SecondLook:
    """Windows of a recording to be decoded again in its language, and where the recording was found."""

    audio_id: str
    language: str
    windows: frozenset[int]
    origin: Work


def second_looks(grouped: Grouped) -> Iterator[tuple[str, SecondLook]]:
    """Asks for the windows that the vote on the language overruled, keyed by where they are read from.

    Nothing is given for a recording whose windows agree, as nearly all do.
    """
    audio_id, values = grouped
    windows: list[WindowTranscript] = values[WINDOWS]
    if not windows or not values[RECORDINGS]:  # it failed, and its failure is on its way
        return
    language = vote(windows)
    indices = outvoted(windows, language)
    if indices:
        count("windows_redone", len(indices))
        origin = min(values[ORIGINS], key=repr)
        key = audio_id if isinstance(origin, AudioSource) else repr(origin)
        yield key, SecondLook(audio_id, language, indices, origin)


def open_again(
    grouped: tuple[str, Iterable[SecondLook]],
) -> Iterator[AudioSpan | TaggedOutput[str, Failure]]:
    """Second looks into spans; a shard is read once more for the payload of its rows.

    Payloads therefore cross no grouping, and only shards that hold such a recording are read twice.
    """
    looks = {look.audio_id: look for look in grouped[1]}
    origin = next(iter(looks.values())).origin
    for source in caught(open_work(origin), name_of(origin), "list"):
        if isinstance(source, Failure):
            yield failed(source)
            continue
        look = looks.pop(source.audio_id, None)
        if look is not None:
            yield AudioSpan(source, look.language, look.windows)
        if not looks:
            return


def choose_windows(
    language: str | None, first: Sequence[WindowTranscript], again: Sequence[WindowTranscript]
) -> tuple[str, list[WindowTranscript]]:
    """The language of a recording, and of each window the transcript that counts, in order.

    Args:
        language: the code that was given, or None to have the windows vote.
        first: at least one; what was said of each window in the language given, or in its own.
        again: what was said in the recording's language of those that the vote overruled. One that is
            missing here keeps its first transcript: text in another language is better than a hole.
    """
    once = {window.index: window for window in (*first, *again)}
    return language or vote(first), [once[index] for index in sorted(once)]


def language_failures(
    recording: Recording, language: str, windows: Sequence[WindowTranscript]
) -> Iterator[Failure]:
    """A failure for each window whose transcript is still in another language than its recording's."""
    for window in windows:
        if window.language != language:
            reason = (
                f"seconds {window.start_s:.2f} to {window.end_s:.2f} are transcribed in {window.language!r}, "
                f"for they could not be read again to be decoded in {language!r}; try --language {language}"
            )
            yield to_failure(recording.source, AudioError("transcribe", "other_language", reason))


class Assemble(beam.DoFn):
    """A recording's windows, of both looks, into its `Transcript`.

    A recording of which no window could be transcribed has no row: its failures say why.

    Args:
        language: the code that was given, or None to have the windows vote.
        task: `transcribe` or `translate`, for the row.
        model: the name of the model, for the row.
    """

    def __init__(self, language: str | None, task: str, model: str) -> None:
        self._language = language
        self._task = task
        self._model = model

    def process(self, grouped: Grouped) -> Iterator[Transcript | TaggedOutput[str, Failure]]:
        """Merges; a surprise while merging is the failure of this recording alone."""
        _, values = grouped
        recordings, first = sorted(values[RECORDINGS], key=repr), values[WINDOWS]
        if not recordings or not first:  # it could not be read to its end, or no window transcribed
            return
        count("duplicates", len(recordings) - 1)
        started = perf_counter()
        try:
            language, windows = choose_windows(self._language, first, values.get(SECOND_LOOK, []))
            transcript = self._transcript(recordings[0], language, windows)
        except Exception as error:  # one recording's surprise must not cost the others
            yield failed(unexpected(recordings[0].source, "merge", error))
            return
        finally:
            count_seconds("merge", perf_counter() - started)
        yield from map(failed, language_failures(recordings[0], language, windows))
        count("transcribed")
        count("audio_ms", round(transcript.duration_s * 1000))
        yield transcript

    def _transcript(
        self, recording: Recording, language: str, windows: Sequence[WindowTranscript]
    ) -> Transcript:
        merged = merge_windows(windows, recording.duration_s)
        return Transcript(
            audio_id=recording.source.audio_id,
            uri=recording.source.uri,
            duration_s=recording.duration_s,
            truncated=recording.truncated,
            language=language,
            task=self._task,
            text=merged.text,
            segments=merged.segments,
            model=self._model,
            reference=recording.source.reference,
        )
