"""Merges the windows of each recording, grouped by `audio_id`, into its transcript."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.core.metrics import count_seconds
from transforms.core.types import CutKind, Failure, Recording, Transcript
from transforms.dofns.counters import BEAM_METRICS
from transforms.dofns.tags import PARTS, SECOND_PASS, WINDOWS, failed
from transforms.merging.assemble import assemble
from transforms.merging.settings import MergeSettings

Grouped = tuple[str, dict[str, list[Any]]]
"""An element of `CoGroupByKey`: an audio_id, and its values by the names of their collections."""


class Assemble(beam.DoFn):
    """Merges the windows of a recording; see `transforms.merging.assemble`."""

    def __init__(self, settings: MergeSettings) -> None:
        self._settings = settings

    def process(self, grouped: Grouped) -> Iterator[Transcript | TaggedOutput[str, Failure]]:
        """Emits the transcript, and the failures of the recording as a whole."""
        _, values = grouped
        parts, started = values[PARTS], perf_counter()
        assembled = assemble(parts, values[WINDOWS], values.get(SECOND_PASS, ()), self._settings)
        count_seconds(BEAM_METRICS, "merge", perf_counter() - started)
        yield from map(failed, assembled.failures)
        if assembled.recording is not None and assembled.transcript is not None:
            count_transcript(assembled.recording, assembled.transcript)
            yield assembled.transcript


def count_transcript(recording: Recording, transcript: Transcript) -> None:
    """Adds a transcript to the counters of the run."""
    skipped_s = sum(end_s - start_s for start_s, end_s in recording.skipped)
    BEAM_METRICS.count("transcribed")
    BEAM_METRICS.count("audio_ms", round(1000 * _audio_s(transcript)))
    BEAM_METRICS.count("skipped_ms", round(1000 * skipped_s))
    BEAM_METRICS.count("speech_ms", round((recording.speech_s or 0.0) * 1000))
    BEAM_METRICS.distribute("recording_s", transcript.duration_s)
    for boundary in transcript.boundaries:
        if boundary.kind is not CutKind.DISJOINT:  # disjoint windows share nothing to disagree on
            BEAM_METRICS.distribute("boundary_agreement_percent", 100 * boundary.agreement)


def _audio_s(transcript: Transcript) -> float:
    """Returns the seconds of audio that were asked for: those of the clips, if there are some."""
    clips_s = [end_s - start_s for start_s, end_s in transcript.clips]
    return sum(clips_s) if clips_s else transcript.duration_s
