"""Output folders of finished runs, with rows from a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.uris import audio_id_of
from transforms.writing.rows import SCHEMA

Row = dict[str, Any]


def row(uri: str, text: str, reference: str | None = None, language: str = "en", **more: Any) -> Row:  # noqa: ANN401
    segments = [{"id": 0, "start": 0.0, "end": 1.0, "text": f" {text}"}]
    named = {"audio_id": audio_id_of(uri), "uri": uri, "language": language, "task": "transcribe"}
    return {**named, "text": text, "segments": segments, "reference": reference, **more}


def failure(uri: str, kind: str = "not_found", message: str = "gone") -> Row:
    named = {"audio_id": audio_id_of(uri), "uri": uri}
    return {**named, "stage": "fetch", "kind": kind, "message": message, "retryable": False}


def write_run(
    out: Path,
    *shards: list[Row],
    failures: list[Row] | None = None,
    parquet: bool = False,
    task: str = "transcribe",
) -> Path:
    """Writes a finished run; the rows of each shard are sorted, as in a real run."""
    suffix = "parquet" if parquet else "jsonl"
    files = {"failures/part-00000-of-00001.jsonl": failures or []}
    for number, rows in enumerate(shards):
        files[f"{suffix}/part-{number:05d}-of-{len(shards):05d}.{suffix}"] = rows
    for name, rows in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = sorted(rows, key=lambda one: (one["uri"], one["audio_id"]))
        if name.endswith(".parquet"):
            pq.write_table(_table(rows), path)
        else:
            path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), "utf-8")
    report = {
        "identity": "0123",
        "options": {"model": "m", "task": task},
        "wall_s": 1.25,
        "files": sorted(files),
    }
    (out / "run.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "_SUCCESS").touch()
    return out


def _table(rows: list[Row]) -> pa.Table:
    """Returns the rows as a table, whose empty lists have the type that they have in a real run."""
    found = pa.Table.from_pylist(rows)
    empty = {field.name for field in found.schema if field.type == pa.list_(pa.null())}
    fields = [SCHEMA.field(one.name) if one.name in empty else one for one in found.schema]
    return found.cast(pa.schema(fields))


def evaluation(out: Path) -> Row:
    content: Row = json.loads((out / "run.json").read_text("utf-8"))["evaluation"]
    return content


def scored(out: Path) -> list[Row]:
    return [
        json.loads(line) for line in (out / "evaluation/recordings.jsonl").read_text("utf-8").splitlines()
    ]
