"""What an evaluation adds up to, recording by recording, and how that is told: as JSON and as a table."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.evaluation.error_rates import Edit, ErrorCounts, counts_characters
from pipelines.evaluation.timestamp_errors import WITHIN_S, TimeErrors, TimeQuality

UNKNOWN = "unknown"  # the language of recordings without a transcript, where the others have several
ALL = "all"

_HEADER = ("", "recordings", "words", "WER %", "CER %", "substituted", "deleted", "inserted")


@dataclass(frozen=True)
class Scored:
    """A recording with a reference.

    Attributes:
        audio_id: of the row.
        uri: without credentials.
        language: code, as heard; without a transcript that of all others, None where they have several.
        reference: what was said, as it was given.
        transcript: what was written; None where there is no transcript.
        edits: the alignment of the two, normalised.
        counts: its errors.
        by_character: words are characters.
        times: differences of times; None where there is nothing to compare.
        failure: why there is no transcript; None where there is one.
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
    def badness(self) -> tuple[float, int, str, str]:
        """What the worst are chosen by: errors per word said, then errors; the name makes it repeatable."""
        errors = self.counts.word_errors
        return errors / max(self.counts.n_words, 1), errors, self.uri, self.audio_id

    def row(self) -> dict[str, Any]:
        """Its line in `recordings.jsonl`."""
        return {
            "audio_id": self.audio_id,
            "uri": self.uri,
            "language": self.language,
            "transcribed": self.transcript is not None,
            "unit": _unit(self.by_character),
            **_told_counts(self.counts),
            "timestamps": None if self.times is None else told_times(self.times),
        }


@dataclass
class Group:
    """Recordings that are counted together."""

    recordings: int = 0
    not_transcribed: int = 0
    counts: ErrorCounts = field(default_factory=ErrorCounts)
    units: set[str] = field(default_factory=set)

    def add(self, scored: Scored) -> None:
        """Counts one recording."""
        self.recordings += 1
        self.not_transcribed += scored.transcript is None
        self.counts += scored.counts
        self.units.add(_unit(scored.by_character))

    def told(self) -> dict[str, Any]:
        """The group as JSON."""
        return {
            "recordings": self.recordings,
            "not_transcribed": self.not_transcribed,
            "unit": " and ".join(sorted(self.units, reverse=True)),
            **_told_counts(self.counts),
        }


@dataclass
class Tally:
    """All that is kept of an evaluation: sums, and the worst recordings with their alignments.

    Attributes:
        n_kept: how many of the worst are kept, with and without a transcript each.
        total: all recordings with a reference.
        languages: the same by language.
        times: differences of times of all recordings.
        n_timed: recordings that have some.
        without_reference: transcripts that could not be scored.
        failed_without_reference: recordings with neither transcript nor reference.
        ambiguous_names: recordings whose file name fits several references, or several the same one.
        unused_references: references of no recording of the run.
    """

    n_kept: int
    total: Group = field(default_factory=Group)
    languages: dict[str, Group] = field(default_factory=dict)
    times: TimeQuality = field(default_factory=TimeQuality)
    n_timed: int = 0
    without_reference: int = 0
    failed_without_reference: int = 0
    ambiguous_names: int = 0
    unused_references: int = 0
    _heaps: dict[bool, list[tuple[Any, Scored]]] = field(default_factory=lambda: {True: [], False: []})

    def add(self, scored: Scored) -> None:
        """Counts one recording, and keeps it if it is among the worst."""
        self.total.add(scored)
        self.languages.setdefault(scored.language or UNKNOWN, Group()).add(scored)
        if scored.times is not None:
            self.n_timed += 1
            self.times.update(scored.times)
        if scored.counts.word_errors:
            heap = self._heaps[scored.transcript is not None]
            heapq.heappush(heap, (scored.badness, scored))
            if len(heap) > self.n_kept:
                heapq.heappop(heap)

    @property
    def only_language(self) -> str | None:
        """The language of all transcripts so far, if they have one in common."""
        return next(iter(self.languages)) if len(self.languages) == 1 else None

    def worst(self, transcribed: bool) -> list[Scored]:
        """The worst recordings, the worst first: those with a transcript, or those without."""
        return [
            scored for _, scored in sorted(self._heaps[transcribed], key=lambda kept: kept[0], reverse=True)
        ]

    def groups(self) -> Iterator[tuple[str, Group]]:
        """The groups with their names: each language, and all of them where there are several."""
        yield from sorted(self.languages.items())
        if len(self.languages) != 1:
            yield ALL, self.total

    def told(self) -> dict[str, Any]:
        """The sums as JSON."""
        return {
            "without_reference": self.without_reference,
            "failed_without_reference": self.failed_without_reference,
            "ambiguous_names": self.ambiguous_names,
            "unused_references": self.unused_references,
            "total": self.total.told(),
            "languages": {language: group.told() for language, group in sorted(self.languages.items())},
            "timestamps": {"recordings": self.n_timed, **told_times(self.times)} if self.n_timed else None,
        }


def told_times(times: TimeQuality) -> dict[str, Any]:
    """Differences of times as JSON."""
    return {"starts": _told_differences(times.starts), "ends": _told_differences(times.ends)}


def cells(tally: Tally) -> list[tuple[str, ...]]:
    """The table of the corpus: a header, and a row for each group."""
    return [_HEADER, *(_cells(name, group) for name, group in tally.groups())]


def table(tally: Tally) -> str:
    """The table for the screen: names to the left, numbers to the right."""
    rows = cells(tally)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def notes(tally: Tally) -> list[str]:
    """What a reader of the table must know of what it leaves out, or takes in: a sentence each."""
    lost = tally.total.not_transcribed
    told = (
        ("recordings without a transcript, all words deleted", lost),
        ("transcripts without a reference, not counted", tally.without_reference),
        ("recordings with neither, not counted (see --references)", tally.failed_without_reference),
        ("recordings whose file name does not tell which reference is theirs", tally.ambiguous_names),
        ("references of no recording of this run", tally.unused_references),
    )
    return [f"{what}: {number:,}" for what, number in told if number]


def time_sentences(times: TimeQuality) -> list[str]:
    """What there is to say of times, a sentence for starts and one for ends."""
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


def _told_counts(counts: ErrorCounts) -> dict[str, Any]:
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


def _told_differences(errors: TimeErrors) -> dict[str, Any]:
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
