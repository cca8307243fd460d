"""Sums of an evaluation over its recordings, as JSON and as a table."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.evaluation.error_rates import Edit, ErrorCounts, counts_characters
from pipelines.evaluation.timestamp_errors import WITHIN_S, TimeErrors, TimeQuality

UNKNOWN = "unknown"  # language of recordings without a transcript, if the transcripts have several
ALL = "all"

_HEADER = ("", "recordings", "words", "WER %", "CER %", "substituted", "deleted", "inserted")


@dataclass(frozen=True)
class Scored:
    """Scores of a recording with a reference.

    Attributes:
        audio_id: `audio_id` of the row.
        uri: URI of the recording, without credentials.
        language: code of the recognised language. Without a transcript it is the language of all other
            recordings, or None if they have several.
        reference: the reference, not normalised.
        transcript: the transcript, not normalised; None if there is none.
        edits: alignment of the two, normalised.
        counts: errors of the alignment.
        by_character: whether the words are characters.
        times: differences of times; None if there are no times to compare.
        failure: reason for a missing transcript; None if there is one.
    """

    audio_id: str
    uri: str
    language: str | None
    reference: str
    transcript: str | None
    edits: tuple[Edit, ...]
    counts: ErrorCounts
    by_character: bool
    times: TimeQuality | None = None
    failure: str | None = None

    @property
    def error_rank(self) -> tuple[float, int, str, str]:
        """Sort key of the worst recordings: error rate, errors, then the name, so that ties are stable."""
        errors = self.counts.word_errors
        return errors / max(self.counts.n_words, 1), errors, self.uri, self.audio_id

    def row(self) -> dict[str, Any]:
        """Returns the recording's line of `recordings.jsonl`."""
        return {
            "audio_id": self.audio_id,
            "uri": self.uri,
            "language": self.language,
            "transcribed": self.transcript is not None,
            "unit": _unit(self.by_character),
            **_counts_as_json(self.counts),
            "timestamps": None if self.times is None else times_as_json(self.times),
        }


@dataclass
class Group:
    """Sums over a group of recordings."""

    recordings: int = 0
    not_transcribed: int = 0
    counts: ErrorCounts = field(default_factory=ErrorCounts)
    units: set[str] = field(default_factory=set)

    def add(self, scored: Scored) -> None:
        """Adds a recording."""
        self.recordings += 1
        self.not_transcribed += scored.transcript is None
        self.counts += scored.counts
        self.units.add(_unit(scored.by_character))

    def as_json(self) -> dict[str, Any]:
        """Returns the sums of the group as JSON values."""
        return {
            "recordings": self.recordings,
            "not_transcribed": self.not_transcribed,
            "unit": " and ".join(sorted(self.units, reverse=True)),
            **_counts_as_json(self.counts),
        }


@dataclass
class Tally:
    """Results of an evaluation: sums, and the worst recordings with their alignments.

    Attributes:
        n_kept: number of worst recordings kept, each of those with and without a transcript.
        total: sums over all recordings with a reference.
        languages: sums by language.
        times: differences of times of all recordings.
        n_timed: recordings with times to compare.
        without_reference: transcripts without a reference.
        empty_references: recordings whose reference has no words once it is normalised: it is none.
        failed_without_reference: recordings with neither transcript nor reference.
        ambiguous_names: recordings whose file name matches several references, or that share a reference.
        unused_references: references that match no recording of the run.
    """

    n_kept: int
    total: Group = field(default_factory=Group)
    languages: dict[str, Group] = field(default_factory=dict)
    times: TimeQuality = field(default_factory=TimeQuality)
    n_timed: int = 0
    without_reference: int = 0
    empty_references: int = 0
    failed_without_reference: int = 0
    ambiguous_names: int = 0
    unused_references: int = 0
    _heaps: dict[bool, list[tuple[Any, Scored]]] = field(default_factory=lambda: {True: [], False: []})

    def add(self, scored: Scored) -> None:
        """Adds a recording, and keeps it if it is among the worst."""
        self.total.add(scored)
        self.languages.setdefault(scored.language or UNKNOWN, Group()).add(scored)
        if scored.times is not None:
            self.n_timed += 1
            self.times.update(scored.times)
        if scored.counts.word_errors:
            heap = self._heaps[scored.transcript is not None]
            heapq.heappush(heap, (scored.error_rank, scored))
            if len(heap) > self.n_kept:
                heapq.heappop(heap)

    @property
    def only_language(self) -> str | None:
        """Language of all transcripts so far; None if they have several."""
        return next(iter(self.languages)) if len(self.languages) == 1 else None

    def worst(self, transcribed: bool) -> list[Scored]:
        """Returns the worst recordings, with or without a transcript, the worst first."""
        return [
            scored for _, scored in sorted(self._heaps[transcribed], key=lambda kept: kept[0], reverse=True)
        ]

    def groups(self) -> Iterator[tuple[str, Group]]:
        """Yields the groups with their names: each language, then `all` if there are several."""
        yield from sorted(self.languages.items())
        if len(self.languages) != 1:
            yield ALL, self.total

    def as_json(self) -> dict[str, Any]:
        """Returns the sums as JSON values."""
        return {
            "without_reference": self.without_reference,
            "empty_references": self.empty_references,
            "failed_without_reference": self.failed_without_reference,
            "ambiguous_names": self.ambiguous_names,
            "unused_references": self.unused_references,
            "total": self.total.as_json(),
            "languages": {language: group.as_json() for language, group in sorted(self.languages.items())},
            "timestamps": {"recordings": self.n_timed, **times_as_json(self.times)} if self.n_timed else None,
        }


def times_as_json(times: TimeQuality) -> dict[str, Any]:
    """Returns differences of times as JSON values."""
    return {"starts": _differences_as_json(times.starts), "ends": _differences_as_json(times.ends)}


def cells(tally: Tally) -> list[tuple[str, ...]]:
    """Returns the table of the corpus: a header, and a row for each group."""
    return [_HEADER, *(_cells(name, group) for name, group in tally.groups())]


def table(tally: Tally) -> str:
    """Formats the table as text, with names left-aligned and numbers right-aligned."""
    rows = cells(tally)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def notes(tally: Tally) -> list[str]:
    """Returns notes on recordings and references that the table excludes or counts in a special way."""
    notes = (
        ("recordings without a transcript, all words deleted", tally.total.not_transcribed),
        ("transcripts without a reference, not counted", tally.without_reference),
        ("references that are empty, or without words once normalised, not counted", tally.empty_references),
        ("recordings with neither, not counted (see --references)", tally.failed_without_reference),
        ("recordings whose file name matches several references or recordings", tally.ambiguous_names),
        ("references that match no recording of this run", tally.unused_references),
    )
    return [f"{note}: {number:,}" for note, number in notes if number]


def time_sentences(times: TimeQuality) -> list[str]:
    """Returns a sentence on the differences of starts and one on those of ends, if there are any."""
    return [
        f"{name}: {errors.n_compared:,} compared, half within {errors.quantile_s(0.5):.3f} s, 95 % within "
        f"{errors.quantile_s(0.95):.3f} s; "
        + ", ".join(f"{100 * (errors.share_within(s) or 0):.1f} % within {s:g} s" for s in WITHIN_S)
        for name, errors in (("starts of words", times.starts), ("ends of words", times.ends))
        if errors.n_compared
    ]


def _cells(name: str, group: Group) -> tuple[str, ...]:
    counts = group.counts
    numbers = (counts.substitutions, counts.deletions, counts.insertions)
    return (
        f"{name} (characters)" if counts_characters(name) else name,
        f"{group.recordings:,}",
        f"{counts.n_words:,}",
        _percent(counts.wer),
        _percent(counts.cer),
        *(f"{number:,}" for number in numbers),
    )


def _counts_as_json(counts: ErrorCounts) -> dict[str, Any]:
    return {
        "words": counts.n_words,
        "wer": _rounded(counts.wer),
        "cer": _rounded(counts.cer),
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "characters": counts.n_characters,
        "character_errors": counts.character_errors,
    }


def _differences_as_json(errors: TimeErrors) -> dict[str, Any]:
    return {
        "compared": errors.n_compared,
        "median_s": errors.quantile_s(0.5),
        "p95_s": errors.quantile_s(0.95),
        **{f"within_{seconds:g}_s": _rounded(errors.share_within(seconds)) for seconds in WITHIN_S},
    }


def _unit(by_character: bool) -> str:
    return "characters" if by_character else "words"


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
