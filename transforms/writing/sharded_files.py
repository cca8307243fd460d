"""Rows into files: sorted, sharded by a stable hash, the same bytes for the same rows.

Beam's own sinks give neither sorted rows nor files on every filesystem of fsspec, so these few lines do.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import IO, Any

import apache_beam as beam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection

from transforms.core.errors import redact
from transforms.core.metrics import count_seconds
from transforms.core.types import Failure, Segment, Transcript, Word
from transforms.sources.columns import metadata_text
from transforms.writing.atomic_files import published

Row = dict[str, Any]
"""A row with the types of JSON: text, numbers, None, lists and dicts."""

WORD_TYPE = pa.struct(
    [("start", pa.float64()), ("end", pa.float64()), ("word", pa.string()), ("probability", pa.float64())]
)
SEGMENT_TYPE = pa.struct(
    [
        ("id", pa.int32()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("text", pa.string()),
        ("avg_logprob", pa.float64()),
        ("no_speech_prob", pa.float64()),
        ("compression_ratio", pa.float64()),
        ("temperature", pa.float64()),
        ("fallback", pa.string()),
        ("language", pa.string()),
        ("words", pa.list_(WORD_TYPE)),
    ]
)
LANGUAGE_PROB_TYPE = pa.struct([("language", pa.string()), ("probability", pa.float64())])
STRETCH_TYPE = pa.struct([("start", pa.float64()), ("end", pa.float64())])
BOUNDARY_TYPE = pa.struct([("time", pa.float64()), ("kind", pa.string()), ("agreement", pa.float64())])
SCHEMA = pa.schema(
    [
        ("audio_id", pa.string()),
        ("uri", pa.string()),
        ("channel", pa.int32()),
        ("duration_s", pa.float64()),
        ("declared_s", pa.float64()),
        ("truncated", pa.bool_()),
        ("problem", pa.string()),
        ("speech_s", pa.float64()),
        ("skipped", pa.list_(STRETCH_TYPE)),
        ("language", pa.string()),
        ("language_probs", pa.list_(LANGUAGE_PROB_TYPE)),
        ("task", pa.string()),
        ("text", pa.string()),
        ("segments", pa.list_(SEGMENT_TYPE)),
        ("boundaries", pa.list_(BOUNDARY_TYPE)),
        ("model", pa.string()),
        ("reference", pa.string()),
        ("metadata", pa.string()),
    ]
)
LEAST_LANGUAGE_PROB = 0.001  # languages below this are noise, and there are a hundred
ROW_GROUP_ROWS = 10_000


def transcript_row(transcript: Transcript) -> Row:
    """The row of the dataset for one recording: the columns of `SCHEMA`, in their order."""
    metadata = metadata_text(transcript.metadata)
    return {
        "audio_id": transcript.audio_id,
        "uri": _storable(redact(transcript.uri)),
        "channel": transcript.channel,
        "duration_s": transcript.duration_s,
        "declared_s": transcript.declared_s,
        "truncated": transcript.truncated,
        "problem": None if transcript.problem is None else _storable(transcript.problem),
        "speech_s": transcript.speech_s,
        "skipped": [{"start": start_s, "end": end_s} for start_s, end_s in transcript.skipped],
        "language": transcript.language,
        "language_probs": [
            {"language": language, "probability": round(prob, 4)}
            for language, prob in transcript.language_probs.items()
            if prob >= LEAST_LANGUAGE_PROB
        ],
        "task": transcript.task,
        "text": _storable(transcript.text),
        "segments": [_segment_row(index, segment) for index, segment in enumerate(transcript.segments)],
        "boundaries": [
            {"time": boundary.time_s, "kind": boundary.kind.value, "agreement": boundary.agreement}
            for boundary in transcript.boundaries
        ],
        "model": transcript.model,
        "reference": None if transcript.reference is None else _storable(transcript.reference),
        "metadata": None if metadata is None else _storable(metadata),
    }


def failure_row(failure: Failure) -> Row:
    """The row of `failures/` for one failure."""
    texts = {"uri": _storable(failure.uri), "message": _storable(failure.message)}
    return {**asdict(failure), **texts}


def line_of(row: Row) -> bytes:
    """A row of any kind as a line of JSON: UTF-8, nothing escaped that need not be."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_parquet(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes transcript rows as one Parquet file with the nested types of `SCHEMA`, zstd inside.

    Args:
        lines: of `line_of`; those of one row group at a time are unpacked.
        file: to write to.
    """
    rest = iter(lines)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        # `datasets` cannot read a row group without rows, only a file without row groups
        while rows := [msgspec.json.decode(line) for line in itertools.islice(rest, ROW_GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def write_jsonl(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes rows of any kind, which are lines of JSON already."""
    file.writelines(lines)


WRITERS: dict[str, Callable[[Iterable[bytes], IO[bytes]], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}
"""By the name of the format, which is also its files' suffix."""


def shard_of(audio_id: str, num_shards: int) -> int:
    """The shard of a recording, 0 <= shard < num_shards: the same in every run, on every runner."""
    digest = hashlib.sha256(audio_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % num_shards


def part_name(shard: int, num_shards: int, suffix: str) -> str:
    """`part-00000-of-00001.parquet`."""
    return f"part-{shard:05d}-of-{num_shards:05d}.{suffix}"


@dataclass
class WriteRows(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes rows (dicts with `audio_id` and `uri`) to `num_shards` files a format.

    Every shard's file is there in the end, empty or not, so that a reader can see that none is missing.
    A retried bundle replaces its files by the same bytes. A shard is sorted in memory, a row as a line of
    JSON: unpacked it would take ten times as much.

    Args:
        folder: URL of the folder; made if there is none.
        formats: keys of `WRITERS`.
    """

    folder: str
    formats: tuple[str, ...]
    num_shards: int = 1

    def expand(self, rows: PCollection[Row]) -> PCollection[str]:
        """Gives the URL of each file, once it is written."""
        names = [_shard_key(shard) for shard in range(self.num_shards)]
        shards = rows.pipeline | "Shards" >> beam.Create([(name, b"") for name in names])
        keyed = rows | "To shard" >> beam.Map(_keyed, self.num_shards)
        files: PCollection[str] = (
            (keyed, shards)
            | "All shards" >> beam.Flatten()
            | "Group shard" >> beam.GroupByKey()
            | "Write shard" >> beam.FlatMap(_write_shard, self.folder, self.formats, self.num_shards)
        )
        return files


def _keyed(row: Row, num_shards: int) -> tuple[str, bytes]:
    return _shard_key(shard_of(row["audio_id"], num_shards)), line_of(row)


def _shard_key(shard: int) -> str:
    return f"{shard:05d}"


def _write_shard(
    keyed: tuple[str, Iterable[bytes]], folder: str, formats: Sequence[str], num_shards: int
) -> Iterator[str]:
    started = perf_counter()
    shard, lines = keyed
    ordered = sorted(filter(None, lines), key=_order)
    rows = [row for row, _ in itertools.groupby(ordered)]  # workers that share a bad file each say so
    for name in formats:
        url = f"{folder}/{part_name(int(shard), num_shards, name)}"
        with published(url) as file:
            WRITERS[name](rows, file)
        yield url
    count_seconds("write", perf_counter() - started)


def _order(line: bytes) -> tuple[str, ...]:
    """By place, as people list their recordings; failures of one recording by all there is of them."""
    row = msgspec.json.decode(line)
    told = ("message", "stage", "kind", "retryable", "attempts")
    failure = (repr(row[name]) for name in told if name in row)
    return row["uri"], row["audio_id"], *failure


def _segment_row(index: int, segment: Segment) -> Row:
    return {
        "id": index,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": _storable(segment.text),
        "avg_logprob": _finite(segment.avg_logprob),
        "no_speech_prob": _finite(segment.no_speech_prob),
        "compression_ratio": _finite(segment.compression_ratio),
        "temperature": _finite(segment.temperature),
        "fallback": segment.fallback,
        "language": segment.language,
        "words": [_word_row(word) for word in segment.words],
    }


def _word_row(word: Word) -> Row:
    return {
        "start": word.start_s,
        "end": word.end_s,
        "word": _storable(word.text),
        "probability": _finite(word.probability),
    }


def _finite(score: float) -> float | None:
    """JSON has no NaN; None says the same and every reader knows it."""
    return float(score) if math.isfinite(score) else None


def _storable(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of a file name that are not become `\udc80`, spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
