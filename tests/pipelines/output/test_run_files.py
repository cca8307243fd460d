from __future__ import annotations

from pathlib import Path

from pipelines.output.run_files import is_run_file
from tests.support.tone_backend import run, write_talk


def test_files_of_a_run_are_known_by_their_names(tmp_path: Path, out: Path) -> None:
    assert run(write_talk(tmp_path / "a.wav", 1), out, "--format", "jsonl,parquet,srt,txt") == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"_SUCCESS", "run.json"} < names
    assert [name for name in names if not is_run_file(name)] == []
    assert is_run_file(f"jsonl/.part-00000-of-00001.jsonl.{'0' * 32}.partial")
    assert is_run_file("partial/jsonl/part-00000-of-00001.jsonl")
    for name in (
        *("", "a.wav", "jsonl", "jsonl/a.wav", "srt/a.wav", "sub/run.json", "partial/a.wav"),
        "sub/jsonl/part-00000-of-00001.jsonl",
    ):
        assert not is_run_file(name)
