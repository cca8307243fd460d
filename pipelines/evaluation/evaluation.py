"""Evaluation of a finished run: scores its rows against references in one pass, in little memory.

DIR/evaluation/recordings.jsonl   one line per recording, sorted by `uri`
DIR/evaluation/report.html        sums over the corpus, and the worst recordings with their alignments
DIR/run.json                      the sums are added as `evaluation`; the rest does not change
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, Any

from pipelines.evaluation.error_rates import align, count_errors, counts_characters, normalised_words
from pipelines.evaluation.page import page
from pipelines.evaluation.references import Matches, Reference, match, read_references
from pipelines.evaluation.tally import Scored, Tally
from pipelines.evaluation.timestamp_errors import TimedText, compare_times
from pipelines.output.finished_run import FinishedRun, Row, open_run
from transforms.core.redaction import redact
from transforms.writing.atomic_files import atomic_write

RECORDINGS_FILE = "evaluation/recordings.jsonl"
PAGE_FILE = "evaluation/report.html"
NORMALISER = "whisper-normalizer"


class EvaluationError(ValueError):
    """The run cannot be evaluated; the message says why and what to do."""


def evaluate(
    run: str,
    references: str | None = None,
    *,
    html: str | None = None,
    worst: int = 20,
    audio_column: str | None = None,
    text_column: str | None = None,
) -> Tally:
    """Scores a run, writes the three files, and returns the sums.

    Args:
        run: the folder or URL that `pipelines.transcribe` wrote to.
        references: a manifest with references, which take precedence over those in the rows.
        html: path of the page; None for `PAGE_FILE` in the run's folder.
        worst: number of recordings that the page shows with their alignments.
        audio_column: column of the manifest with the audio, if it has an unusual name.
        text_column: column of the manifest with the references, if it has an unusual name.

    Raises:
        ValueError: no finished run, no reference for any of its recordings, or an invalid manifest.
        OSError: a file cannot be read or written.
    """
    if worst < 0:
        raise EvaluationError(f"--worst {worst}: must be at least 0")
    found = open_run(run)
    given = None if references is None else read_references(references, audio_column, text_column)
    matches = Matches({}) if given is None else match(given, found.recordings())
    tally = Tally(worst, ambiguous_names=matches.n_ambiguous, unused_references=matches.n_unused)
    with tempfile.TemporaryFile() as spool:
        lines = _SortedLines(spool, _Scorer(found, matches.by_id, tally).lines())
        if not tally.total.recordings:
            raise EvaluationError(_nothing_to_score(run, references, given, tally.empty_references))
        with atomic_write(found.file_url(RECORDINGS_FILE)) as file:
            file.writelines(lines)
    with atomic_write(html or found.file_url(PAGE_FILE)) as file:
        file.write(page(redact(run), found.report["options"].get("model"), tally).encode())
    sums: dict[str, Any] = {
        "references": "rows" if references is None else redact(references),
        "normaliser": f"{NORMALISER} {version(NORMALISER)}, with marks",
        **tally.as_json(),
    }
    found.write_report({**found.report, "evaluation": sums})
    return tally


def _nothing_to_score(
    run: str, references: str | None, given: Mapping[str, Reference] | None, n_empty: int
) -> str:
    if n_empty:
        return (
            f"{redact(run)}: {n_empty:,} references are empty, or without words once they are normalised, "
            "and there are no others; give --references a manifest with their texts"
        )
    if given is None:
        return (
            f"--run {redact(run)}: none of its rows has a reference; give --references a manifest with "
            "the reference transcripts (.jsonl, .csv, .tsv)"
        )
    sample = next((f", such as {one.uri}," for one in given.values()), "")
    return (
        f"--references {references}: none of its {len(given)} references{sample} belongs to a recording of "
        f"{redact(run)}; references are matched by path or URL, or else by a file name that is unique"
    )


@dataclass(frozen=True)
class _Scorer:
    """Scores the recordings of a run and adds them to a tally."""

    run: FinishedRun
    references: Mapping[str, Reference]
    tally: Tally

    def lines(self) -> Iterator[Iterator[bytes]]:
        """Yields the lines of each file of transcripts, then of recordings without one; each sorted by `uri`.

        Each iterator must be exhausted before the next one is requested.
        """
        failed: dict[str, Row] = {}
        for row in self.run.failures():
            failed.setdefault(row["audio_id"], row)
        for name in self.run.transcript_files():
            yield self._transcribed(name, failed)
        yield self._not_transcribed(failed.values())

    def _transcribed(self, name: str, failed: dict[str, Row]) -> Iterator[bytes]:
        columns = ["audio_id", "uri", "language", "text", "reference"]
        if any(reference.times for reference in self.references.values()):
            columns.append("segments")
        for row in self.run.transcripts(name, columns):
            failed.pop(row["audio_id"], None)  # only parts of it failed
            given = self.references.get(row["audio_id"])
            reference = row["reference"] if given is None else _text(given)
            if reference is None:
                self.tally.without_reference += 1
            elif _has_words(scored := self._scored(row, reference, given)):
                yield self._count(scored)
            else:
                self.tally.empty_references += 1

    def _not_transcribed(self, failed: Iterable[Row]) -> Iterator[bytes]:
        language = self.tally.only_language
        for row in sorted(failed, key=lambda row: (row["uri"], row["audio_id"])):
            reference = self.references.get(row["audio_id"])
            if reference is None:
                self.tally.failed_without_reference += 1
            elif _has_words(scored := self._scored_failed(row, _text(reference), language)):
                yield self._count(scored)
            else:
                self.tally.empty_references += 1

    def _count(self, scored: Scored) -> bytes:
        self.tally.add(scored)
        return json.dumps(scored.row(), ensure_ascii=False, allow_nan=False).encode() + b"\n"

    def _scored(self, row: Row, reference: str, given: Reference | None) -> Scored:
        language = self._language_of_text(row["language"])
        by_character = counts_characters(language)
        edits = align(normalised_words(reference, language), normalised_words(row["text"], language))
        times = None
        if given is not None and given.times:
            times = compare_times(given.times, _timed_texts(row["segments"]), language)
        return Scored(
            row["audio_id"],
            row["uri"],
            row["language"],
            reference,
            row["text"],
            edits,
            count_errors(edits, by_character),
            by_character,
            times,
        )

    def _scored_failed(self, row: Row, reference: str, spoken: str | None) -> Scored:
        """Scores a recording without a transcript: all words of its reference count as deleted."""
        language = self._language_of_text(spoken)
        by_character = counts_characters(language)
        edits = align(normalised_words(reference, language), [])
        return Scored(
            row["audio_id"],
            row["uri"],
            spoken,
            reference,
            None,
            edits,
            count_errors(edits, by_character),
            by_character,
            failure=f"{row['kind']}: {row['message']}",
        )

    def _language_of_text(self, spoken: str | None) -> str | None:
        return "en" if self.run.report["options"].get("task") == "translate" else spoken


def _has_words(scored: Scored) -> bool:
    """Whether a reference has a letter or digit; of `...`, the English normaliser leaves a full stop."""
    return any(char.isalnum() for edit in scored.edits for word in edit.reference for char in word)


def _text(reference: Reference) -> str:
    """Returns the text of a reference; joined from its timed words if it has no text."""
    if reference.text is not None and (reference.text.strip() or not reference.times):
        return reference.text
    return " ".join(timed.text.strip() for timed in reference.times)


def _timed_texts(segments: Iterable[Row]) -> Iterator[TimedText]:
    """Yields the timed words of each segment, or the segment itself if its words are not timed."""
    for segment in segments:
        for timed in segment.get("words") or [segment]:
            yield TimedText(timed["start"], timed["end"], timed.get("word", timed.get("text")))


class _SortedLines:
    """Merges several sorted sequences of lines through a file, with one line of each in memory.

    Args:
        spool: an empty file, open for reading and writing.
        runs: sequences of JSON lines, each sorted by `uri`; consumed in order, immediately.
    """

    def __init__(self, spool: IO[bytes], runs: Iterable[Iterable[bytes]]) -> None:
        self._spool = spool
        self._bounds = [0]
        for run in runs:
            spool.writelines(run)
            self._bounds.append(spool.tell())

    def __iter__(self) -> Iterator[bytes]:
        pairs = zip(self._bounds, self._bounds[1:], strict=False)
        return heapq.merge(*(self._read(start, stop) for start, stop in pairs), key=_order)

    def _read(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            self._spool.seek(start)
            line = self._spool.readline()
            start += len(line)
            yield line


def _order(line: bytes) -> tuple[str, str]:
    row = json.loads(line)
    return row["uri"], row["audio_id"]
