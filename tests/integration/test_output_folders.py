"""The folder of each format is a dataset by itself, for the libraries that people read it with."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow.dataset
import pytest

from tests.support.tone_backend import expected_text, rows, run, write_talk


@pytest.mark.parametrize("num_shards", ["1", "5"])
def test_datasets_and_pyarrow_read_the_folder_of_a_format(tmp_path: Path, out: Path, num_shards: str) -> None:
    for n in range(3):
        write_talk(tmp_path / f"talks/{n}.wav", 2 + n)
    assert run(tmp_path / "talks", out, "--format", "parquet,jsonl,srt", "--num_shards", num_shards) == 0
    expected = sorted(expected_text("en", 2 + n) for n in range(3))
    assert sorted(row["text"] for row in rows(out)) == expected
    table = pyarrow.dataset.dataset(out / "parquet").to_table()
    assert sorted(table["text"].to_pylist()) == expected
    for folder in ("parquet", "jsonl"):
        loaded = datasets.load_dataset(
            str(out / folder), split="train", cache_dir=str(tmp_path / f"cache-{folder}")
        )
        assert sorted(loaded["text"]) == expected
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        ".whisper-beam", "failures", "jsonl", "parquet", "srt",
    ]  # fmt: skip
