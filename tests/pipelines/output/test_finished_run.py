from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.output.finished_run import NoRunError, open_run
from tests.support.finished_runs import failure, row, write_run
from transforms.writing.row_reader import BATCH_ROWS


@pytest.mark.parametrize("parquet", [False, True])
def test_rows_of_either_format(tmp_path: Path, parquet: bool) -> None:
    many = [row(f"/{number:04d}.wav", "words") for number in range(BATCH_ROWS + 5)]
    run = open_run(str(write_run(tmp_path, many, [], failures=[failure("/x.wav")], parquet=parquet)))
    found = [one for name in run.transcript_files() for one in run.transcripts(name, ["uri", "text"])]
    assert [(one["uri"], one["text"]) for one in found] == [(one["uri"], one["text"]) for one in many]
    assert [one["kind"] for one in run.failures()] == ["not_found"]
    assert [uri for _, uri in run.recordings()] == [*(one["uri"] for one in many), "/x.wav"]


def test_parquet_is_read_if_there_are_two_formats(tmp_path: Path) -> None:
    write_run(tmp_path, [row("/a.wav", "lines")])
    files = json.loads((tmp_path / "run.json").read_text())["files"]
    write_run(tmp_path, [row("/a.wav", "table")], parquet=True)
    report = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**report, "files": files + report["files"]}))
    run = open_run(str(tmp_path))
    assert [[one["text"] for one in run.transcripts(name, ["text"])] for name in run.transcript_files()] == [
        ["table"]
    ]


@pytest.mark.parametrize("name", ["_SUCCESS", "run.json"])
def test_unfinished_run_is_refused(tmp_path: Path, name: str) -> None:
    (write_run(tmp_path, []) / name).unlink()
    with pytest.raises(NoRunError, match=f"--run {tmp_path}: no finished run is there"):
        open_run(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [("half {", "is not JSON"), ("[]", "not written by"), ('{"files": []}', "not written by")],
)
def test_invalid_report_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (write_run(tmp_path, []) / "run.json").write_text(content)
    with pytest.raises(NoRunError, match=reason):
        open_run(str(tmp_path))


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (f"{tmp_path}/file", f"{tmp_path}/none", "memory://none"):
        with pytest.raises(NoRunError, match="no finished run"):
            open_run(url)
    with pytest.raises(NoRunError, match="--run nowhere://x cannot be opened: Protocol not known"):
        open_run("nowhere://x")
