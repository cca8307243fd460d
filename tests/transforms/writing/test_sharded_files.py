from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import datasets
import fsspec
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipelines.options import RECORDING_FORMATS, ROW_FORMATS
from transforms.core.types import Failure, Segment, Transcript
from transforms.dofns.write import WriteRows
from transforms.writing import sharded_files
from transforms.writing.rows import failure_row, transcript_row
from transforms.writing.sharded_files import line_of, part_name, shard_of
from transforms.writing.subtitles import RENDERERS


def transcript(number: int, text: str = " Grüße, 世界") -> Transcript:
    segment = Segment(
        0.0, 2.5, text, avg_logprob=-0.25, no_speech_prob=0.1, compression_ratio=1.2, temperature=0
    )
    return Transcript(
        audio_id=f"id{number}",
        uri=f"/talks/{number:03d}.wav",
        duration_s=2.5,
        truncated=False,
        language="de",
        task="transcribe",
        text=text.strip(),
        segments=(segment,),
        model="openai/whisper-base",
        reference=None if number % 2 else "Grüße",
    )


def run(rows: list[sharded_files.Row], folder: Path | str, *args: str, num_shards: int = 1) -> None:
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(args))) as pipeline:
        _ = pipeline | beam.Create(rows) | WriteRows(str(folder), ("parquet", "jsonl"), num_shards)


def test_columns_are_those_of_the_schema_in_both_formats(tmp_path: Path) -> None:
    run([transcript_row(transcript(1))], tmp_path)
    line = json.loads((tmp_path / "part-00000-of-00001.jsonl").read_text("utf-8"))
    assert list(line) == sharded_files.SCHEMA.names
    assert list(line["segments"][0]) == [field.name for field in sharded_files.SEGMENT_TYPE]
    assert pq.read_table(tmp_path / "part-00000-of-00001.parquet").to_pylist() == [line]


def test_rows_are_sorted_by_place_and_utf8_is_not_escaped(tmp_path: Path) -> None:
    run([transcript_row(transcript(n)) for n in (3, 1, 2)], tmp_path)
    content = (tmp_path / "part-00000-of-00001.jsonl").read_text("utf-8")
    assert [json.loads(line)["uri"] for line in content.splitlines()] == [
        "/talks/001.wav",
        "/talks/002.wav",
        "/talks/003.wav",
    ]
    assert "Grüße, 世界" in content


def test_bytes_depend_neither_on_the_order_of_rows_nor_on_retried_bundles(tmp_path: Path) -> None:
    rows = [transcript_row(transcript(n)) for n in range(20)]
    run(rows, tmp_path / "a", num_shards=3)
    run(rows[::-1], tmp_path / "b", "--direct_runner_bundle_repeat=1", num_shards=3)
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert a == b
    assert len(a) == 6


@pytest.mark.parametrize("name", list(sharded_files.WRITERS))
def test_bytes_do_not_depend_on_how_a_shard_was_grouped(name: str, tmp_path: Path) -> None:
    lines = [line_of(transcript_row(transcript(n))) for n in range(50)]
    groups = {"a": lines, "b": [b"", *random.Random(0).sample(lines, len(lines))]}
    for out, group in groups.items():
        list(sharded_files._write_shard(("00000", group), str(tmp_path / out), (name,), 1))
    (a,), (b,) = ((path.read_bytes() for path in (tmp_path / out).iterdir()) for out in "ab")
    assert a == b


def test_failures_that_differ_in_little_have_an_order(tmp_path: Path) -> None:
    failure = Failure("a", "/a.wav", "fetch", "not_found", "gone")
    others = [{"stage": "list"}, {"kind": "timeout"}, {"retryable": True}, {"attempts": 2}]
    rows = [line_of(failure_row(one)) for one in (failure, *(replace(failure, **other) for other in others))]
    for out, group in (("a", rows), ("b", rows[::-1])):
        list(sharded_files._write_shard(("00000", group), str(tmp_path / out), ("jsonl",), 1))
    a, b = ((tmp_path / out / "part-00000-of-00001.jsonl").read_bytes() for out in "ab")
    assert a == b


def test_every_row_is_in_one_shard_and_an_empty_shard_has_its_file(tmp_path: Path) -> None:
    run([transcript_row(transcript(n)) for n in range(3)], tmp_path, num_shards=8)
    names = [part_name(shard, 8, "parquet") for shard in range(8)]
    rows = [pq.read_table(tmp_path / name).num_rows for name in names]
    assert sum(rows) == 3
    assert 0 in rows


def test_a_shard_is_stable_and_shards_are_even() -> None:
    assert [shard_of(f"id{n}", 4) for n in range(6)] == [3, 1, 1, 3, 1, 2]
    sizes = Counter(shard_of(f"id{n}", 4) for n in range(4000))
    assert all(900 < sizes[shard] < 1100 for shard in range(4))


def test_datasets_and_pyarrow_read_what_is_written(tmp_path: Path) -> None:
    run([transcript_row(transcript(n)) for n in range(4)], tmp_path / "out", num_shards=8)
    files = sorted(str(path) for path in (tmp_path / "out").glob("*.parquet"))
    loaded = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert sorted(loaded["uri"]) == [f"/talks/{n:03d}.wav" for n in range(4)]
    assert loaded[0]["segments"][0]["end"] == 2.5
    table = pyarrow.dataset.dataset(files, format="parquet").to_table()
    assert table.schema.equals(sharded_files.SCHEMA)
    row_groups = [pq.ParquetFile(file).metadata for file in files]
    assert {m.row_group(0).column(0).compression for m in row_groups if m.num_rows} == {"ZSTD"}


def test_rows_can_go_to_any_filesystem(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/out"
    run([transcript_row(transcript(1))], url)
    with fsspec.open(f"{url}/part-00000-of-00001.parquet", "rb") as file:
        assert pq.read_table(file).num_rows == 1


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_null_in_both_formats(score: float, tmp_path: Path) -> None:
    segment = Segment(0, 1, "a", score, score, score, 0.0)
    row = transcript_row(Transcript("i", "u", 1.0, False, "en", "transcribe", "a", (segment,), "m"))
    run([row], tmp_path)
    line = json.loads((tmp_path / "part-00000-of-00001.jsonl").read_text())
    assert line["segments"][0]["avg_logprob"] is None
    read = pq.read_table(tmp_path / "part-00000-of-00001.parquet").to_pylist()[0]
    assert read["segments"][0]["avg_logprob"] is None


def test_text_that_is_no_unicode_is_spelt_out() -> None:
    row = transcript_row(transcript(1, text="a\udc80b"))
    assert json.loads(line_of(row))["text"] == "a\\udc80b"


def test_credentials_stay_out_of_the_rows() -> None:
    source = Transcript("i", "https://me:pw@host/a.wav?X-Amz-Signature=abc", 1, False, "en", "t", "", (), "m")
    assert transcript_row(source)["uri"] == "https://host/a.wav"


def test_failures_are_rows_in_a_stable_order(tmp_path: Path) -> None:
    failures = [
        Failure("b", "/b.wav", "transcribe", "model_error", "seconds 30 to 60"),
        Failure("b", "/b.wav", "transcribe", "model_error", "seconds 0 to 30"),
        Failure("a", "/a.wav", "fetch", "not_found", "gone", retryable=True),
    ]
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        rows = pipeline | beam.Create(failures) | beam.Map(failure_row)
        _ = rows | WriteRows(str(tmp_path), ("jsonl",))
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


def test_a_shard_is_unpacked_one_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a shard wait in memory, where one that is unpacked takes ten times its text."""
    monkeypatch.setattr(sharded_files, "ROW_GROUP_ROWS", 50)
    lines = [line_of(transcript_row(transcript(n))) for n in range(1050)]
    for name in sharded_files.WRITERS:
        list(sharded_files._write_shard(("00000", lines[:10]), str(tmp_path), (name,), 1))  # imports, caches
        tracemalloc.start()
        list(sharded_files._write_shard(("00000", iter(lines)), str(tmp_path), (name,), 1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(lines) * len(lines[0])
    table = pq.ParquetFile(tmp_path / "part-00000-of-00001.parquet")
    assert [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)] == [50] * 21


def test_the_formats_on_offer_are_those_that_can_be_written() -> None:
    assert (tuple(sharded_files.WRITERS), tuple(RENDERERS)) == (ROW_FORMATS, RECORDING_FORMATS)


def test_further_columns_are_one_column_of_json(tmp_path: Path) -> None:
    metadata = (("speaker", '"ü"'), ("bad\udce9", '["\udce9"]'))
    run([transcript_row(replace(transcript(1), metadata=metadata)), transcript_row(transcript(2))], tmp_path)
    first, second = pq.read_table(tmp_path / "part-00000-of-00001.parquet").column("metadata").to_pylist()
    assert json.loads(first) == {"speaker": "ü", "bad\udce9": ["\udce9"]}
    assert second is None
