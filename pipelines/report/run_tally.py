"""Sums of a run's rows, computed in one pass, in memory that does not grow with their number."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipelines.output.finished_run import FinishedRun, Row
from transforms.checkpoint.spans import QUARANTINED
from transforms.core.types import CutKind

N_BINS = 20
MAX_LONGEST = 20
MAX_EXAMPLES = 3  # examples of each kind of failure
NO_LANGUAGE = ""  # the language of recordings without speech

_COLUMNS = (
    "uri",
    "duration_s",
    "clips.list.element.start",
    "clips.list.element.end",
    "speech_s",
    "language",
    "untranscribed.list.element.start",
    "untranscribed.list.element.end",
    "untranscribed.list.element.reason",
    "segments.list.element.avg_logprob",
    "segments.list.element.fallback",
    "boundaries.list.element.kind",
    "boundaries.list.element.agreement",
)


@dataclass
class Histogram:
    """Histogram of values between 0 and 1, in bins of equal width."""

    counts: list[int] = field(default_factory=lambda: [0] * N_BINS)

    def add(self, value: float) -> None:
        """Counts a value; one outside the range goes to the first or last bin."""
        self.counts[min(max(int(value * N_BINS), 0), N_BINS - 1)] += 1


@dataclass(frozen=True, order=True)
class LongRecording:
    """One of the recordings with the most audio decoded.

    Attributes:
        decoded_s: seconds passed to the model: those of speech, or all of them without VAD.
        fallback_share: share of its segments from windows that were decoded again at a higher temperature.
        confidence: mean probability of a token, averaged over its segments; None without segments.
    """

    decoded_s: float
    uri: str
    duration_s: float
    fallback_share: float
    confidence: float | None = field(compare=False)


@dataclass
class RunTally:
    """Sums of a run's rows.

    Attributes:
        rows: number of transcripts.
        retryable: number of failures that another run tries again by itself.
        seconds_by_language: seconds of audio by language.
        untranscribed_s: seconds that have no text, or have lost some of it, by reason.
        confidence: confidence of segments: the mean probability of a token, `exp(avg_logprob)`.
        agreement: agreement at the boundaries of overlapping windows.
        cuts: number of boundaries by kind.
        longest: heap of the recordings with the most audio decoded.
        failures: number of failures by kind.
        examples: the first few failures of each kind, (uri, message).
    """

    rows: int = 0
    retryable: int = 0
    seconds_by_language: Counter[str] = field(default_factory=Counter)
    untranscribed_s: Counter[str] = field(default_factory=Counter)
    confidence: Histogram = field(default_factory=Histogram)
    agreement: Histogram = field(default_factory=Histogram)
    cuts: Counter[str] = field(default_factory=Counter)
    longest: list[LongRecording] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def hours_by_language(self) -> dict[str, float]:
        """Returns hours of audio by language, the most frequent first."""
        ordered = sorted(self.seconds_by_language.items(), key=lambda item: (-item[1], item[0]))
        return {language: round(seconds / 3600, 6) for language, seconds in ordered}

    def add(self, row: Row) -> None:
        """Counts a transcript."""
        self.rows += 1
        self.seconds_by_language[row["language"] or NO_LANGUAGE] += _audio_s(row)
        for one in row["untranscribed"]:
            self.untranscribed_s[one["reason"]] += one["end"] - one["start"]
        scores = [math.exp(one["avg_logprob"]) for one in row["segments"] if one["avg_logprob"] is not None]
        for score in scores:
            self.confidence.add(score)
        for boundary in row["boundaries"]:
            self.cuts[boundary["kind"]] += 1
            if boundary["kind"] != CutKind.DISJOINT:
                self.agreement.add(boundary["agreement"])
        self._keep(row, sum(scores) / len(scores) if scores else None)

    def add_failure(self, row: Row) -> None:
        """Counts a failure."""
        self.failures[row["kind"]] += 1
        self.retryable += row["retryable"] and row["kind"] != QUARANTINED
        examples = self.examples.setdefault(row["kind"], [])
        if len(examples) < MAX_EXAMPLES:
            examples.append((row["uri"], row["message"]))

    def _keep(self, row: Row, confidence: float | None) -> None:
        segments, duration_s = row["segments"], _audio_s(row)
        fallback_share = sum(one["fallback"] is not None for one in segments) / max(len(segments), 1)
        decoded_s = duration_s if row["speech_s"] is None else row["speech_s"]
        recording = LongRecording(decoded_s, row["uri"], duration_s, fallback_share, confidence)
        keep = heapq.heappush if len(self.longest) < MAX_LONGEST else heapq.heappushpop
        keep(self.longest, recording)


def _audio_s(row: Row) -> Any:  # noqa: ANN401  # a number of JSON
    """Returns the seconds of audio of a row: those of its clips, if it has some."""
    clips_s = [clip["end"] - clip["start"] for clip in row["clips"]]
    return sum(clips_s) if clips_s else row["duration_s"]


def tally_run(run: FinishedRun) -> RunTally:
    """Reads all rows of a run, a few at a time, and sums them up."""
    tally = RunTally()
    for name in run.transcript_files():
        for row in run.transcripts(name, _COLUMNS):
            tally.add(row)
    for row in run.failures():
        tally.add_failure(row)
    return tally
