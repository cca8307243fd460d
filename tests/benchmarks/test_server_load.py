import json
from pathlib import Path

import pytest

from benchmarks import server_load
from benchmarks.server_load import PARTS, PARTS_BY_OPTIONS, find_clips, parse


def test_clips_are_english_and_of_ten_seconds(tmp_path: Path) -> None:
    entries = [("en", 10.0), ("fr", 10.0), ("en", 8.4), ("en", 11.6), ("en", 9.0), ("en", 9.5)]
    lines = [
        json.dumps({"path": f"{n}.flac", "language": language, "duration_s": duration_s})
        for n, (language, duration_s) in enumerate(entries)
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    assert [clip.path.name for clip in find_clips(tmp_path, 10)] == ["0.flac", "4.flac", "5.flac"]
    assert [clip.path.name for clip in find_clips(tmp_path, 2)] == ["0.flac", "4.flac"]


def test_options_are_greedy_and_beam_5_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["server_load"])
    assert parse().options == [["--beam_size", "1"], ["--beam_size", "5"]]
    monkeypatch.setattr("sys.argv", ["server_load", "--options", "--beam_size 2 --task translate"])
    assert parse().options == [["--beam_size", "2", "--task", "translate"]]


def test_each_part_is_described() -> None:
    described = server_load.__doc__ or ""
    assert all(f"\n- {part}: " in described for part in PARTS)
    assert set(PARTS_BY_OPTIONS) <= set(PARTS)
