"""The windows of a recording into its transcript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import unexpected
from transforms.core.metrics import count, count_seconds, distribute
from transforms.core.recording_parts import chosen, whole
from transforms.core.types import (
    CutKind,
    Failure,
    Recording,
    Transcript,
    WindowTranscript,
)
from transforms.dofns.tags import PARTS, SECOND_LOOK, WINDOWS, failed
from transforms.merging.assemble import choose_windows, language_failures
from transforms.merging.language_vote import posteriors
from transforms.merging.merge import merge_windows
from transforms.merging.settings import Assembly, Grouped
from transforms.merging.time_shift import moved


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
