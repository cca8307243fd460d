from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import output_digest
from benchmarks.output_digest import digests, main, run


def test_files_are_named_without_the_folder_of_their_format(tmp_path: Path) -> None:
    for name in ("parquet/a.parquet", "srt/b.srt", "failures/a.jsonl", "jsonl/a.jsonl", "run.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".whisper-beam").mkdir()
    (tmp_path / ".whisper-beam/x.jsonl").write_text("")
    found = {name: digest for digest, name in digests(tmp_path)}
    assert sorted(found) == ["a.jsonl", "a.parquet", "b.srt", "failures/a.jsonl"]
    assert len(set(found.values())) == 4


def test_a_run_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        run([str(tmp_path / "missing.wav")], tmp_path / "out", [])


def test_two_runs_print_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"<html>")
    monkeypatch.setattr(output_digest, "OPTIONS", {"default": []})
    monkeypatch.setattr(sys, "argv", ["output_digest", "--input", str(tmp_path), "--options", "default"])
    main()
    first = capsys.readouterr().out
    main()
    assert capsys.readouterr().out == first
    assert first.count("\n") == 3
