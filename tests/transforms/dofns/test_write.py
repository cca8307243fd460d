from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from tests.support.transcripts import TEXT, transcript
from transforms.core.types import Failure
from transforms.dofns.write import WriteRecordingFiles, WriteRows
from transforms.writing.rows import Row, failure_row, transcript_row
from transforms.writing.sharded_files import WRITERS, part_name


def run(rows: list[Row], write: Any, *args: str) -> dict[str, int]:  # noqa: ANN401
    """Runs the transform on the rows; returns the counters of the run."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(args)))
    _ = pipeline | beam.Create(rows) | write
    found = pipeline.run().metrics().query()["counters"]
    return {one.key.metric.name: one.result for one in found}


def folders_in(folder: Path | str) -> dict[str, str]:
    return {name: f"{folder}/{name}" for name in WRITERS}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_format_is_written_to_its_folder_and_the_time_is_counted(tmp_path: Path) -> None:
    folders = {"parquet": f"{tmp_path}/a", "jsonl": f"{tmp_path}/b/c"}
    counters = run([transcript_row(transcript(1))], WriteRows(folders))
    line = json.loads((tmp_path / "b/c/part-00000-of-00001.jsonl").read_text("utf-8"))
    assert line["text"] == TEXT
    assert pq.read_table(tmp_path / "a/part-00000-of-00001.parquet").to_pylist() == [line]
    assert set(files_in(tmp_path)) == {"a/part-00000-of-00001.parquet", "b/c/part-00000-of-00001.jsonl"}
    assert counters["write_us"] > 0


def test_rows_are_sorted_by_place(tmp_path: Path) -> None:
    run([transcript_row(transcript(n)) for n in (3, 1, 2)], WriteRows({"jsonl": str(tmp_path)}))
    content = (tmp_path / "part-00000-of-00001.jsonl").read_text("utf-8")
    assert [json.loads(line)["uri"] for line in content.splitlines()] == [
        "/talks/001.wav",
        "/talks/002.wav",
        "/talks/003.wav",
    ]


def test_bytes_depend_neither_on_the_order_of_rows_nor_on_retried_bundles(tmp_path: Path) -> None:
    rows = [transcript_row(transcript(n)) for n in range(20)]
    run(rows, WriteRows(folders_in(tmp_path / "a"), 3))
    run(rows[::-1], WriteRows(folders_in(tmp_path / "b"), 3), "--direct_runner_bundle_repeat=1")
    a, b = (files_in(tmp_path / name) for name in "ab")
    assert a == b
    assert len(a) == 6


def test_every_row_is_in_one_shard_and_an_empty_shard_has_its_file(tmp_path: Path) -> None:
    run([transcript_row(transcript(n)) for n in range(3)], WriteRows({"parquet": str(tmp_path)}, 8))
    n_rows = [pq.read_table(tmp_path / part_name(shard, 8, "parquet")).num_rows for shard in range(8)]
    assert sum(n_rows) == 3
    assert 0 in n_rows


def test_without_rows_every_shard_has_its_file(tmp_path: Path) -> None:
    run([], WriteRows(folders_in(tmp_path), 2))
    assert len(files_in(tmp_path)) == 4
    assert pq.read_table(tmp_path / "parquet" / part_name(1, 2, "parquet")).num_rows == 0


def test_rows_can_go_to_any_filesystem(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/out"
    run([transcript_row(transcript(1))], WriteRows({"parquet": url}))
    with fsspec.open(f"{url}/part-00000-of-00001.parquet", "rb") as file:
        assert pq.read_table(file).num_rows == 1


def test_failures_are_rows_in_a_stable_order(tmp_path: Path) -> None:
    failures = [
        Failure("b", "/b.wav", "transcribe", "model_error", "seconds 30 to 60"),
        Failure("b", "/b.wav", "transcribe", "model_error", "seconds 0 to 30"),
        Failure("a", "/a.wav", "fetch", "not_found", "gone", retryable=True),
    ]
    run([failure_row(failure) for failure in failures], WriteRows({"jsonl": str(tmp_path)}))
    lines = (tmp_path / "part-00000-of-00001.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["gone", "seconds 0 to 30", "seconds 30 to 60"]
    assert json.loads(lines[0]) == {
        "audio_id": "a",
        "uri": "/a.wav",
        "stage": "fetch",
        "kind": "not_found",
        "message": "gone",
        "retryable": True,
        "attempts": 1,
    }


def test_files_of_recordings_are_written_and_their_time_counted(tmp_path: Path) -> None:
    ids = [f"{n:016x}" for n in range(2)]
    rows = [{**transcript_row(transcript(n)), "audio_id": ids[n]} for n in range(2)]
    counters = run(rows, WriteRecordingFiles(str(tmp_path), ("txt", "srt")))
    assert set(files_in(tmp_path)) == {
        f"{name}/{n:03d}.{ids[n]}.{name}" for n in range(2) for name in ("txt", "srt")
    }
    assert counters["write_us"] > 0
