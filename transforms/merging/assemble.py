"""What was said in a recording's windows, brought together: the language, the second look, the row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import caught, failed, unexpected
from transforms.core.metrics import count, count_seconds, distribute
from transforms.core.recording_parts import chosen, whole
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    CutKind,
    Failure,
    Recording,
    RecordingPart,
    Transcript,
    WindowTranscript,
    file_id,
)
from transforms.dofns.read_windows import ORIGINS, PARTS, WINDOWS
from transforms.fetch.open_audio import CAREFUL
from transforms.fetch.policy import FetchPolicy
from transforms.merging.language_vote import outvoted, posteriors, vote
from transforms.merging.merge import merge_windows
from transforms.merging.time_shift import moved
from transforms.merging.weak_boundaries import about_weak_boundaries, is_extra, with_better_boundaries
from transforms.sources.work_items import Work, name_of, open_work

SECOND_LOOK = "second_look"

Grouped = tuple[str, dict[str, list[Any]]]
"""What `CoGroupByKey` gives: an audio_id, and its values by the names of their collections."""


@dataclass(frozen=True)
class Assembly:
    """How a recording's windows are brought together.

    Attributes:
        language: the code that was given, or None; a recording's own goes first.
        per_window: without a given one, each window keeps its own language instead of the one voted for.
        redecode_below: boundaries that agree less are decoded again (`transforms.merging.weak_boundaries`);
        0 for none.
        window_s: seconds in a window about such a boundary.
        task: `transcribe` or `translate`, for the row.
        model: the name of the model, for the row.
    """

    language: str | None = None
    per_window: bool = False
    redecode_below: float = 0.0
    window_s: float = 30.0
    task: str = "transcribe"
    model: str = ""

    def language_of(self, source: AudioSource) -> str | None:
        """The language that was given for a recording, or None."""
        return source.language or self.language

    def votes_on(self, source: AudioSource) -> bool:
        """Whether a recording's windows in another language than most are decoded again."""
        return self.language_of(source) is None and not self.per_window

    @property
    def looks_twice(self) -> bool:
        """Whether any window may be decoded a second time."""
        return (self.language is None and not self.per_window) or self.redecode_below > 0


@dataclass(frozen=True)
class SecondLook:
    """Windows of a recording to be decoded again, and where the recording was found.

    Attributes:
        windows: indices of the plan.
        extra: windows off the plan, as in `AudioSpan`.
        channel: as in `AudioSource`.
    """

    audio_id: str
    language: str
    windows: frozenset[int]
    extra: tuple[tuple[int, int], ...]
    origin: Work
    channel: int | None = None


def by_file(keyed: tuple[str, Any]) -> tuple[str, Any]:
    """Keys a value by its file, where it is keyed by a channel: all channels are found where the file was."""
    audio_id, value = keyed
    return file_id(audio_id), value


def second_looks(grouped: Grouped, assembly: Assembly) -> Iterator[tuple[str, SecondLook]]:
    """Asks for what is to be decoded again of a file's recordings, keyed by where they are read from.

    It has one, or one for each channel. That is the windows that the vote on the language overruled, and a
    window about each weak boundary between two that it did not. Nothing is given where windows agree, as
    nearly all do.
    """
    _, values = grouped
    by_id: dict[str, list[RecordingPart]] = defaultdict(list)
    for part in values[PARTS]:
        by_id[part.source.audio_id].append(part)
    for audio_id in sorted(by_id):
        windows = [window for window in values[WINDOWS] if window.audio_id == audio_id]
        parts = chosen(by_id[audio_id])
        if windows and parts:  # else it failed, and its failure is on its way
            origin = min(values[ORIGINS], key=repr)
            yield from _second_look(parts[0].source, windows, origin, assembly)


def _second_look(
    source: AudioSource, windows: Sequence[WindowTranscript], origin: Work, assembly: Assembly
) -> Iterator[tuple[str, SecondLook]]:
    language = assembly.language_of(source) or vote(windows)
    indices = outvoted(windows, language) if assembly.votes_on(source) else frozenset()
    settled = [window for window in windows if window.index not in indices and window.language == language]
    extra = about_weak_boundaries(settled, assembly.redecode_below, assembly.window_s)
    if indices or extra:
        count("windows_redone", len(indices))
        count("boundaries_redone", len(extra))
        key = origin.audio_id if isinstance(origin, AudioSource) else repr(origin)
        yield key, SecondLook(source.audio_id, language, indices, extra, origin, source.channel)


def open_again(
    grouped: tuple[str, Iterable[SecondLook]], policy: FetchPolicy = CAREFUL
) -> Iterator[AudioSpan | TaggedOutput[str, Failure]]:
    """Second looks into spans; a shard is read once more for the payload of its rows.

    Payloads therefore cross no grouping, and only shards that hold such a recording are read twice.
    """
    looks: dict[str, dict[str, SecondLook]] = defaultdict(dict)  # by the file, then by the recording
    for look in grouped[1]:
        looks[file_id(look.audio_id)][look.audio_id] = look
        origin = look.origin  # the same for all
    broken = None
    for source in caught(open_work(origin, policy), name_of(origin), "list"):
        if isinstance(source, Failure):
            broken = source  # of another recording, and told at the first look; or else the last one
            continue
        for audio_id, look in sorted(looks.pop(source.audio_id, {}).items()):
            again = replace(source, audio_id=audio_id, channel=look.channel)
            yield AudioSpan(again, look.language, look.windows, look.extra)
        if not looks:
            return
    if broken is not None:
        yield failed(broken)


def choose_windows(
    first: Sequence[WindowTranscript], again: Sequence[WindowTranscript]
) -> list[WindowTranscript]:
    """Of each window the transcript that counts, and the windows about boundaries that make these better.

    Args:
        first: at least one; what was said of each window in the language given, or in its own.
        again: what was said in the recording's language of those that the vote overruled, and of those off
            the plan. A window that is missing here keeps its first transcript: text in another language is
            better than a hole.
    """
    # Sorted: of a recording that was named twice, with other hints, the same transcript wins in every run.
    ordered = (*sorted(first, key=repr), *sorted(again, key=repr))
    planned = {window.index: window for window in ordered if not is_extra(window)}
    return with_better_boundaries(
        [planned[index] for index in sorted(planned)], [window for window in ordered if is_extra(window)]
    )


def language_failures(
    recording: Recording, language: str, windows: Sequence[WindowTranscript]
) -> Iterator[Failure]:
    """A failure for each window whose transcript is still in another language than its recording's."""
    offset_s = recording.source.start_s or 0.0
    for window in windows:
        if window.language != language:
            reason = (
                f"seconds {offset_s + window.start_s:.2f} to {offset_s + window.end_s:.2f} are transcribed "
                f"in {window.language!r}, for they could not be read again to be decoded in {language!r}; "
                f"try --language {language}"
            )
            yield to_failure(recording.source, AudioError("transcribe", "other_language", reason))


def truncation(recording: Recording) -> Iterator[TaggedOutput[str, Failure]]:
    """The failure of a recording that is not all there, if it is not."""
    if recording.truncated:
        reason = (
            f"{recording.problem or 'the audio breaks off'}; what could be decoded, "
            f"{recording.duration_s:.2f} s, was transcribed; fetch the recording again if it is longer"
        )
        yield failed(to_failure(recording.source, AudioError("decode", "truncated", reason, retryable=False)))


class Assemble(beam.DoFn):
    """A recording's windows, of both looks, into its `Transcript`.

    A recording in which nobody speaks has an empty one. One of which no window could be transcribed has none:
    its failures say why.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly

    def process(self, grouped: Grouped) -> Iterator[Transcript | TaggedOutput[str, Failure]]:
        """Merges; a surprise while merging is the failure of this recording alone."""
        _, values = grouped
        parts, first = chosen(values[PARTS]), values[WINDOWS]
        if not parts:  # it could not be read to its end
            return
        recording = whole(parts)
        yield from truncation(recording)
        first = _in_its_language(first, self._assembly.language_of(recording.source))
        if not first and recording.n_skipped < recording.n_windows:  # no window could be transcribed
            return
        count("duplicates", sum(part.start_s == 0 for part in values[PARTS]) - 1)
        started = perf_counter()
        try:
            windows = choose_windows(first, values.get(SECOND_LOOK, [])) if first else []
            transcript = self._transcript(recording, first, windows)
        except Exception as error:  # one recording's surprise must not cost the others
            yield failed(unexpected(recording.source, "merge", error))
            return
        finally:
            count_seconds("merge", perf_counter() - started)
        if self._assembly.votes_on(recording.source) and transcript.language is not None:
            yield from map(failed, language_failures(recording, transcript.language, windows))
        count("transcribed")
        count("audio_ms", round(transcript.duration_s * 1000))
        count("skipped_ms", round(1000 * sum(end_s - start_s for start_s, end_s in recording.skipped)))
        count("speech_ms", round((recording.speech_s or 0.0) * 1000))
        distribute("recording_s", transcript.duration_s)
        for boundary in transcript.boundaries:
            if boundary.kind is not CutKind.DISJOINT:  # which share nothing that they could disagree on
                distribute("boundary_agreement_percent", 100 * boundary.agreement)
        yield moved(transcript, recording.source.start_s or 0.0)

    def _transcript(
        self,
        recording: Recording,
        first: Sequence[WindowTranscript],
        windows: Sequence[WindowTranscript],
    ) -> Transcript:
        """The row; the vote goes by what each window said of its language at the first look."""
        merged = merge_windows(windows, recording.duration_s)
        given = self._assembly.language_of(recording.source)
        probs = posteriors(first) if first and given is None else {}
        return Transcript(
            audio_id=recording.source.audio_id,
            uri=recording.source.name,
            duration_s=recording.duration_s,
            truncated=recording.truncated,
            language=given or next(iter(probs), None),
            task=self._assembly.task,
            text=merged.text,
            segments=merged.segments,
            model=self._assembly.model,
            reference=recording.source.reference,
            language_probs=probs,
            speech_s=recording.speech_s,
            skipped=recording.skipped,
            boundaries=merged.boundaries,
            channel=recording.source.channel,
            declared_s=recording.declared_s,
            problem=recording.problem,
            metadata=recording.source.metadata,
        )


def _in_its_language(windows: Sequence[WindowTranscript], given: str | None) -> list[WindowTranscript]:
    """Of a recording that was named twice, once with its language, the windows that were decoded in it."""
    return [window for window in windows if window.language == given] or list(windows)
