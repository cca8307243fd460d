from __future__ import annotations

import json
from pathlib import Path

from transforms.core.types import Segment, Transcript
from transforms.writing.row_reader import BATCH_ROWS, read_rows
from transforms.writing.rows import transcript_row
from transforms.writing.sharded_files import json_line, write_shard

SEGMENT = Segment(0.0, 1.5, " Grüße.", -0.25, 0.125, 1.0, 0.0, "de")


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        transcript_row(
            Transcript(f"{number:016x}", f"/{number:05d}.wav", 1 / 3, False, "de", "transcribe", "Grüße.",
                       (SEGMENT,), "tiny", metadata=(("a", "1.5"),))
        )
        for number in range(BATCH_ROWS + 1)
    ]  # fmt: skip
    folders = {name: str(tmp_path / name) for name in ("parquet", "jsonl")}
    for url in write_shard(map(json_line, rows), 0, 1, folders):
        assert list(map(json_line, read_rows(url))) == list(map(json_line, rows))
        assert all({"uri", "text"} <= row.keys() for row in read_rows(url, ("uri", "text")))


def test_failures_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"audio_id": "1"}) + "\n")
    assert list(read_rows(str(tmp_path / "a.jsonl"))) == [{"audio_id": "1"}]
