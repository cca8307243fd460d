from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.options import TranscribeOptions
from pipelines.output.finished_run import FinishedRun
from pipelines.output.run_folder import RunFolder
from pipelines.output.run_identity import ModelIdentity, identity_of
from pipelines.report.run_json import make_report, summary
from pipelines.report.run_tally import tally_run
from transforms.core.types import Failure, Segment, Transcript, Untranscribed
from transforms.writing.atomic_files import atomic_write
from transforms.writing.rows import failure_row, transcript_row
from transforms.writing.sharded_files import json_line, write_jsonl, write_parquet

OPTIONS = TranscribeOptions(
    input=("https://me:pw@host/a.wav",), output="out", format=("parquet", "srt", "txt")
)
COUNTERS = {
    "listed": 4,
    "transcribed": 2,
    "duplicates": 1,
    "passed_over_in_folders_.jpg": 3,
    "passed_over_in_archives_.cls": 2,
    "resumed": 1,
    "new_ms": 6_480_000,
    "windows": 5,
    "short_windows_repeated": 0,
    "windows_skipped": 3,
    "skipped_ms": 75_000,
    "speech_ms": 3_600_000,
    "windows_without_text": 1,
    "remainders_dropped": 6,
    "pieces_hole": 3,
    "pieces_run": 0,
    "holes_filled": 2,
    "windows_fallback": 2,
    "failed_loop": 1,
    "failed_avg_logprob": 4,
    "filtered_rate": 0,
    "filtered_no_speech": 7,
    "audio_ms": 7_200_000,
    "arithmetic_encoder and decoder float32 (none, chosen for ARM)": 2,
    "read_us": 1_500_000,
    "model_us": 60_000_000,
}


def transcript(name: str, text: str) -> Transcript:
    segments = (Segment(0, 1, text, 0.0, 0.0, 1.0, 0.0),)
    lost = () if text else (Untranscribed(0.25, 1.0, "no_speech", " thanks"),)
    uri = f"/talks/{name}"
    return Transcript(name, uri, 1.0, False, "en", "transcribe", text, segments, "m", untranscribed=lost)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    rows = [transcript_row(transcript("a.wav", "good " * 40)), transcript_row(transcript("b.wav", ""))]
    failed = [failure_row(Failure("c", "/talks/c.wav", "fetch", "not_found", "gone"))]
    with atomic_write(f"{tmp_path}/parquet/part-00000-of-00001.parquet") as file:
        write_parquet(map(json_line, rows), file)
    with atomic_write(f"{tmp_path}/failures/part-00000-of-00001.jsonl") as file:
        write_jsonl(map(json_line, failed), file)
    return RunFolder(str(tmp_path))


def report(folder: RunFolder) -> dict[str, Any]:
    files = folder.parts()
    tally = tally_run(FinishedRun(folder.url, {"files": files}))
    return make_report(
        OPTIONS, identity_of(OPTIONS, ModelIdentity("0a", ("en",)), []), COUNTERS, files, tally, wall_s=720.0
    )


def test_report_has_counts_times_and_files(folder: RunFolder) -> None:
    content = report(folder)
    assert content["counts"] == {
        "recordings": 3,
        "transcribed": 2,
        "not_transcribed": 1,
        "unfinished": 0,
        "kept": 0,
        "earlier_files_damaged": 0,
        "duplicates": 1,
        "passed_over": {"folders": {".jpg": 3}, "archives": {".cls": 2}},
        "done_before": 1,
        "failures": 1,
        "failures_by_kind": {"not_found": 1},
        "failures_retryable": 0,
        "windows": 5,
        "short_windows_repeated": 0,
        "windows_skipped": 3,
        "windows_redone": 0,
        "boundaries_redone": 0,
        "remainders": 0,
        "remainders_dropped": 6,
        "pieces": {"hole": 3},
        "holes_filled": 2,
        "windows_without_text": 1,
        "windows_fallback": 2,
        "fallback_by_reason": {"avg_logprob": 4, "loop": 1},
        "segments_filtered": {"no_speech": 7},
    }
    assert content["arithmetic"] == {"encoder and decoder float32 (none, chosen for ARM)": 2}
    assert (content["speech_hours"], content["skipped_hours"]) == (1.0, 0.020833)
    assert content["untranscribed_s"] == {"no_speech": 0.75}
    assert (content["audio_hours"], content["wall_s"], content["times_real_time"]) == (2.0, 720.0, 9.0)
    assert content["stage_s"] == {
        "read": 1.5,
        "load": 0.0,
        "compile": 0.0,
        "model": 60.0,
        "merge": 0.0,
        "write": 0.0,
    }
    assert content["files"] == ["failures/part-00000-of-00001.jsonl", "parquet/part-00000-of-00001.parquet"]
    assert content["recording_files"] == {"srt": 2, "txt": 2}
    assert content["hours_by_language"] == {"en": 0.000556}
    assert {"python", "apache-beam", "pyarrow"} <= content["versions"].keys()


def test_recordings_listed_twice_are_counted_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n in {"resumed": 4, "new_ms": 9_000_000}.items():
        monkeypatch.setitem(COUNTERS, name, n)
    content = report(folder)
    assert (content["counts"]["done_before"], content["counts"]["recordings"]) == (3, 3)
    assert content["times_real_time"] == 10.0


def test_report_is_json_without_credentials(folder: RunFolder) -> None:
    assert "pw" not in json.dumps(report(folder), allow_nan=False)


def test_summary_of_a_small_run_shows_the_text(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = summary(report(folder), folder).splitlines()
    assert lines[0] == "a.wav [en]"
    assert max(len(line) for line in lines[1:5]) <= 60
    assert lines[lines.index("b.wav [en]") + 1] == "  (no words)"
    text = "\n".join(lines)
    assert "of these, done by an earlier run: 1;" in text
    assert "computed with: encoder and decoder float32 (none, chosen for ARM)\n" in text
    assert "skipped as non-speech: 0.02 hours" in text
    assert "seconds without text, or with text deleted: no_speech 0.8; see untranscribed in" in text
    assert "2 of 3 recordings transcribed, 2.00 hours of audio in 12 min 00 s: 9.0 times real time" in text
    assert "passed over in folders: 3 .jpg (not taken for audio)" in text
    assert "passed over in archives: 2 .cls (not taken for audio)" in text
    assert "failures: 1 not_found; see" in text
    assert f"2 srt files: {folder.url}/srt" in text
    assert f"report: {folder.url}/report.html" in text


def test_summary_of_a_large_run_shows_no_text(folder: RunFolder) -> None:
    content = report(folder)
    content["counts"]["transcribed"] = 41
    assert "a.wav" not in summary(content, folder)


def test_summary_reads_texts_from_json_lines_without_parquet(folder: RunFolder) -> None:
    Path(folder.url, "parquet/part-00000-of-00001.parquet").unlink()
    with atomic_write(f"{folder.url}/jsonl/part-00000-of-00001.jsonl") as file:
        write_jsonl([json_line(transcript_row(transcript("c.wav", "other words")))], file)
    assert summary(report(folder), folder).startswith("c.wav [en]\n  other words")


def test_damaged_files_of_the_run_before_are_in_the_summary(folder: RunFolder) -> None:
    damaged = report(folder)
    assert "damaged files" not in summary(damaged, folder)
    damaged["counts"]["earlier_files_damaged"] = 2
    assert "damaged files of the run before: 2; rows in them may be missing" in summary(damaged, folder)
