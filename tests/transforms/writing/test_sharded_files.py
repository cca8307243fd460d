from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import datasets
import fsspec
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipelines.option_groups import RECORDING_FORMATS, ROW_FORMATS
from tests.support.transcripts import TEXT, transcript
from transforms.core.types import Failure, Segment
from transforms.writing import sharded_files
from transforms.writing.rows import SCHEMA, failure_row, transcript_row
from transforms.writing.sharded_files import WRITERS, json_line, part_name, shard_of, write_shard
from transforms.writing.subtitles import RENDERERS


def write(lines: Iterable[bytes], folder: Path, *formats: str) -> list[Path]:
    """Writes one shard of a format each, into folders of its name."""
    folders = {name: str(folder / name) for name in formats or WRITERS}
    return [Path(url) for url in write_shard(lines, 0, 1, folders)]


def transcript_lines(n: int) -> list[bytes]:
    return [json_line(transcript_row(transcript(number))) for number in range(n)]


def test_each_format_has_a_file_in_its_folder(tmp_path: Path) -> None:
    folders = {"parquet": f"{tmp_path}/a/b", "jsonl": f"{tmp_path}/c"}
    files = list(write_shard(transcript_lines(2), 3, 8, folders))
    assert files == [
        f"{tmp_path}/a/b/part-00003-of-00008.parquet", f"{tmp_path}/c/part-00003-of-00008.jsonl",
    ]  # fmt: skip
    assert pq.read_table(files[0]).to_pylist() == [
        json.loads(line) for line in Path(files[1]).read_text("utf-8").splitlines()
    ]


def test_columns_are_those_of_the_schema_in_both_formats(tmp_path: Path) -> None:
    parquet, jsonl = write(transcript_lines(1), tmp_path)
    line = json.loads(jsonl.read_text("utf-8"))
    assert list(line) == SCHEMA.names
    assert pq.read_table(parquet).to_pylist() == [line]


def test_rows_are_sorted_by_place_and_utf8_is_not_escaped(tmp_path: Path) -> None:
    (file,) = write([transcript_lines(4)[n] for n in (3, 1, 2)], tmp_path, "jsonl")
    content = file.read_text("utf-8")
    assert [json.loads(line)["uri"] for line in content.splitlines()] == [
        "/talks/001.wav",
        "/talks/002.wav",
        "/talks/003.wav",
    ]
    assert TEXT in content


@pytest.mark.parametrize("name", list(WRITERS))
def test_bytes_do_not_depend_on_the_order_of_lines_or_on_repeated_ones(name: str, tmp_path: Path) -> None:
    lines = transcript_lines(50)
    (a,) = write(lines, tmp_path / "a", name)
    (b,) = write([b"", *random.Random(0).sample(lines, len(lines)), *lines[:3]], tmp_path / "b", name)
    assert a.read_bytes() == b.read_bytes()


def test_failures_that_differ_in_one_field_have_an_order(tmp_path: Path) -> None:
    failure = Failure("a", "/a.wav", "fetch", "not_found", "gone")
    others = [{"stage": "list"}, {"kind": "timeout"}, {"retryable": True}, {"attempts": 2}]
    lines = [
        json_line(failure_row(one))
        for one in (failure, *(replace(failure, **other) for other in others))  # type: ignore[arg-type]
    ]
    (a,), (b,) = write(lines, tmp_path / "a", "jsonl"), write(lines[::-1], tmp_path / "b", "jsonl")
    assert a.read_bytes() == b.read_bytes()
    assert len(a.read_bytes().splitlines()) == 5


def test_a_failure_that_several_workers_report_is_written_once(tmp_path: Path) -> None:
    failure = json_line(failure_row(Failure("a", "/a.wav", "fetch", "not_found", "gone")))
    (file,) = write([failure] * 3, tmp_path, "jsonl")
    assert file.read_bytes() == failure


def test_the_shard_of_a_recording_is_stable_and_shards_are_even() -> None:
    assert [shard_of(f"id{n}", 4) for n in range(6)] == [3, 1, 1, 3, 1, 2]
    sizes = Counter(shard_of(f"id{n}", 4) for n in range(4000))
    assert all(900 < sizes[shard] < 1100 for shard in range(4))


def test_datasets_and_pyarrow_read_the_files(tmp_path: Path) -> None:
    num_shards, folders = 8, {"parquet": str(tmp_path / "out")}
    lines: list[list[bytes]] = [[] for _ in range(num_shards)]
    for number, line in enumerate(transcript_lines(4)):
        lines[shard_of(f"id{number}", num_shards)].append(line)
    files = [
        file for shard in range(num_shards) for file in write_shard(lines[shard], shard, num_shards, folders)
    ]
    assert [Path(file).name for file in files] == [part_name(n, 8, "parquet") for n in range(8)]
    loaded = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert sorted(loaded["uri"]) == [f"/talks/{n:03d}.wav" for n in range(4)]
    assert loaded[0]["segments"][0]["end"] == 2.5
    table = pyarrow.dataset.dataset(files, format="parquet").to_table()
    assert table.schema.equals(SCHEMA)
    row_groups = [pq.ParquetFile(file).metadata for file in files]
    assert 0 in [one.num_rows for one in row_groups]  # an empty shard has a file
    assert {m.row_group(0).column(0).compression for m in row_groups if m.num_rows} == {"ZSTD"}


def test_rows_can_go_to_any_filesystem(tmp_path: Path) -> None:
    (url,) = write_shard(transcript_lines(1), 0, 1, {"parquet": f"memory://{tmp_path.name}/out"})
    with fsspec.open(url, "rb") as file:
        assert pq.read_table(file).num_rows == 1


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_null_in_both_formats(score: float, tmp_path: Path) -> None:
    segment = Segment(0, 1, "a", score, score, score, 0.0)
    row = transcript_row(replace(transcript(1), segments=(segment,)))
    parquet, jsonl = write([json_line(row)], tmp_path)
    line = json.loads(jsonl.read_text())
    assert line["segments"][0]["avg_logprob"] is None
    assert pq.read_table(parquet).to_pylist()[0]["segments"][0]["avg_logprob"] is None


def test_text_that_utf8_cannot_encode_is_escaped() -> None:
    row = transcript_row(transcript(1, text="a\udc80b"))
    assert json.loads(json_line(row))["text"] == "a\\udc80b"


def test_further_columns_are_one_column_of_json(tmp_path: Path) -> None:
    metadata = (("speaker", '"ü"'), ("bad\udce9", '["\udce9"]'))
    rows = [transcript_row(replace(transcript(1), metadata=metadata)), transcript_row(transcript(2))]
    (file,) = write(map(json_line, rows), tmp_path, "parquet")
    first, second = pq.read_table(file).column("metadata").to_pylist()
    assert json.loads(first) == {"speaker": "ü", "bad\udce9": ["\udce9"]}
    assert second is None


def test_a_shard_is_decoded_one_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a shard are in memory, where a decoded one takes ten times its text."""
    monkeypatch.setattr(sharded_files, "ROW_GROUP_ROWS", 50)
    lines = transcript_lines(1050)
    for name in WRITERS:
        write(lines[:10], tmp_path, name)  # imports, caches
        tracemalloc.start()
        write(iter(lines), tmp_path, name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(lines) * len(lines[0])
    table = pq.ParquetFile(tmp_path / "parquet/part-00000-of-00001.parquet")
    assert [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)] == [50] * 21


def test_the_formats_of_the_options_are_those_that_can_be_written() -> None:
    assert (tuple(WRITERS), tuple(RENDERERS)) == (ROW_FORMATS, RECORDING_FORMATS)
