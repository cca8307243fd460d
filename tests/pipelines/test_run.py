"""Runs over generated tones, through Beam, from files to files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from model.config import CheckpointDefaults
from model.interface import SAMPLE_RATE
from pipelines.transcribe import main
from tests.support.tone_backend import (
    LOADED,
    TONES,
    expected_text,
    failures,
    rows,
    run,
    snapshot,
    write_sparse,
    write_talk,
)


def test_recordings_become_rows(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talk(tmp_path / "talks/long.wav", 70)
    write_talk(tmp_path / "talks/deep/short.flac", 3)
    assert run(tmp_path / "talks", out) == 0
    short, long = rows(out)
    assert (short["uri"], long["uri"]) == tuple(
        str(tmp_path / "talks" / name) for name in ("deep/short.flac", "long.wav")
    )
    assert long["text"] == expected_text("en", 70)
    assert (long["duration_s"], long["language"], long["task"]) == (70.0, "en", "transcribe")
    assert (long["model"], long["truncated"], long["reference"]) == ("openai/whisper-base", False, None)
    assert [segment["id"] for segment in long["segments"]] == list(range(70))
    assert [segment["start"] for segment in long["segments"]] == pytest.approx(range(70), abs=0.01)
    assert long["segments"][0]["avg_logprob"] == -0.5
    assert len(LOADED) == 1
    assert failures(out) == []
    output = capsys.readouterr()
    assert "short.flac [en]" in output.out
    assert "en0 en1 en2" in output.out
    assert "2 of 2 recordings transcribed" in output.out
    assert "Done: all 2 recordings" in output.err


@pytest.mark.parametrize(
    ("flags", "language", "task", "reported"),
    [
        ([], "fr", "translate", ["--language fr", "--task translate"]),
        (["--language", "auto"], "en", "translate", ["--task translate"]),
        (["--languages", "en,de"], "en", "translate", ["--task translate"]),
        (["--language", "de", "--task", "transcribe"], "de", "transcribe", []),
    ],
)
def test_what_the_checkpoint_is_configured_for_is_followed_and_reported(
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    language: str,
    task: str,
    reported: list[str],
) -> None:
    write_talk(tmp_path / "a.wav", 3)
    backend = replace(TONES, defaults=lambda _: CheckpointDefaults("fr", "translate"))
    assert main(["--input", str(tmp_path / "a.wav"), "--output", str(out), *flags], backend) == 0
    (row,) = rows(out)
    assert (row["language"], row["task"]) == (language, task)
    options = json.loads((out / "run.json").read_text())["options"]
    assert (options["language"], options["task"]) == ("auto" if language == "en" else language, task)
    lines = [line for line in capsys.readouterr().err.splitlines() if "is configured for" in line]
    assert len(lines) == len(reported)
    assert all(
        f"is configured for {one}, which is followed" in line
        for one, line in zip(reported, lines, strict=True)
    )


def test_run_json_and_success_are_written(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 40)
    assert run(tmp_path / "a.wav", out, "--num_shards", "2") == 0
    report = json.loads((out / "run.json").read_text())
    assert report["counts"] == {
        "recordings": 1,
        "transcribed": 1,
        "not_transcribed": 0,
        "duplicates": 0,
        "done_before": 0,
        "unfinished": 0,
        "kept": 0,
        "earlier_files_damaged": 0,
        "failures": 0,
        "failures_by_kind": {},
        "failures_retryable": 0,
        "windows": 2,
        "short_windows_repeated": 0,
        "windows_skipped": 0,
        "windows_redone": 0,
        "boundaries_redone": 0,
        "remainders": 0,
        "remainders_dropped": 0,
        "pieces": {},
        "holes_filled": 0,
        "windows_without_text": 0,
        "windows_fallback": 0,
        "fallback_by_reason": {},
        "segments_filtered": {},
        "passed_over": {},
    }
    assert report["audio_hours"] == pytest.approx(40 / 3600, abs=1e-6)
    assert report["times_real_time"] == pytest.approx(40 / report["wall_s"], rel=0.01)
    assert set(report["stage_s"]) == {"read", "load", "compile", "model", "merge", "write"}
    assert 0 < report["stage_s"]["read"] < report["wall_s"]
    assert report["options"]["model"] == "openai/whisper-base"
    assert "apache-beam" in report["versions"]
    assert [name for name in report["files"] if not (out / name).is_file()] == []
    assert len(report["files"]) == 6
    assert (out / "_SUCCESS").read_bytes() == b""


def test_output_does_not_depend_on_order_and_batch_size(tmp_path: Path) -> None:
    names = [str(write_talk(tmp_path / f"{n}.wav", 20 + 9 * n, french_from=10 * n)) for n in range(4)]
    for out, order, flags in (
        ("a", names, ["--batch_size=1"]),
        ("b", names[::-1], ["--batch_size=3", "--direct_runner_bundle_repeat=1"]),
    ):
        assert main(["--input", *order, "--output", str(tmp_path / out), *flags], TONES) == 0
    first, second = (
        {
            name: content
            for name, content in snapshot(tmp_path / out).items()
            if name.startswith(("parquet/", "jsonl/"))
        }
        for out in "ab"
    )
    assert first == second
    assert len(first) == 2


FILES = "parquet,srt,vtt,tsv,txt"


def test_each_recording_has_subtitle_files(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "one/talk.wav", 2)
    write_talk(tmp_path / "two/talk.wav", 3)
    write_sparse(tmp_path / "silent.wav")
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    assert run(f"{tmp_path}/**/*.wav", out, "--format", FILES) == 2
    assert run(f"{tmp_path}/**/*.wav", out, "--format", FILES) == 2  # the run is finished, its files exist
    ids = {row["uri"]: row["audio_id"] for row in pq.read_table(out / "parquet").to_pylist()}
    assert len(ids) == 3
    for name in ("srt", "vtt", "tsv", "txt"):
        found = {path.name for path in (out / name).iterdir()}
        assert found == {f"{Path(uri).stem}.{audio_id}.{name}" for uri, audio_id in ids.items()}
    talk = ids[str(tmp_path / "two/talk.wav")]
    assert (out / f"txt/talk.{talk}.txt").read_text() == "en0\nen1\nen2\n"
    assert (out / f"srt/silent.{ids[str(tmp_path / 'silent.wav')]}.srt").read_bytes() == b""
    report = json.loads((out / "run.json").read_text())
    assert report["recording_files"] == dict.fromkeys(("srt", "vtt", "tsv", "txt"), 3)
    assert [name.split("/")[0] for name in report["files"]] == ["failures", "parquet"]
    assert f"3 srt files: {out}/srt" in capsys.readouterr().out


def test_rows_are_written_if_only_subtitles_are_requested(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--format", "srt") == 0
    assert [path.name for path in (out / "parquet").iterdir()] == ["part-00000-of-00001.parquet"]
    assert len(list((out / "srt").iterdir())) == 1
    assert run(tmp_path / "a.wav", out, "--format", "jsonl", "--overwrite") == 0
    assert list((out / "srt").iterdir()) == []
    assert [path.name for path in (out / "jsonl").iterdir()] == ["part-00000-of-00001.jsonl"]


@pytest.mark.parametrize("flags", [[], ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]])
def test_output_does_not_depend_on_the_workers(tmp_path: Path, flags: list[str]) -> None:
    names = [str(write_talk(tmp_path / f"{n}.wav", 20 + 9 * n)) for n in range(4)]
    for out, order, more in (("a", names, []), ("b", names[::-1], [*flags, "--batch_size=3"])):
        arguments = ["--input", *order, "--output", str(tmp_path / out), "--format", f"{FILES},jsonl"]
        assert main([*arguments, "--num_shards", "2", *more], TONES) == 0
    first, second = (
        {name: content for name, content in snapshot(tmp_path / out).items() if "/" in name} for out in "ab"
    )
    first.pop(".whisper-beam/run.json")
    second.pop(".whisper-beam/run.json")
    assert first == second
    assert len(first) == 4 * 4 + 3 * 2


def test_page_and_progress_are_written_beside_the_report(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (tmp_path / "<b>.wav").write_bytes(b"nothing")
    for out in (str(tmp_path / "out"), f"memory://{tmp_path.name}/out"):
        assert run(f"{tmp_path}/*.wav", out) == 2
        with fsspec.open(f"{out}/report.html", "rt") as file:
            page = file.read()
        assert "Hours of audio by language" in page
        assert "&lt;b&gt;.wav" in page
        with fsspec.open(f"{out}/progress.json") as file:
            progress = json.load(file)
        counts = [progress[name] for name in ("state", "recordings", "of", "failures", "eta_s")]
        assert counts == ["finished", 2, 2, 1, 0]


def test_invalid_recording_is_a_failure_and_others_are_transcribed(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "talks/good.wav", 2)
    (tmp_path / "talks/bad.wav").write_bytes(b"<html>not found</html>")
    (tmp_path / "talks/empty.mp3").write_bytes(b"")
    assert run(tmp_path / "talks", out) == 2
    assert [row["text"] for row in rows(out)] == ["en0 en1"]
    found = {Path(row["uri"]).name: row for row in failures(out)}
    assert set(found) == {"bad.wav", "empty.mp3"}
    assert all(row["stage"] and row["kind"] and row["message"] for row in found.values())
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["transcribed"], counts["not_transcribed"], counts["failures"]) == (1, 2, 2)
    assert "2 of 3 recordings have no transcript" in capsys.readouterr().err


def test_truncated_recording_is_a_row_and_a_failure(tmp_path: Path, out: Path) -> None:
    whole = write_talk(tmp_path / "whole.wav", 10).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    assert run(tmp_path / "cut.wav", out) == 2
    (row,) = rows(out)
    assert row["truncated"]
    assert row["text"] == expected_text("en", 4)
    assert [(row["stage"], row["kind"]) for row in failures(out)] == [("decode", "truncated")]


def test_failed_window_is_decoded_by_itself(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "bad.wav", 80, poison=40)
    write_talk(tmp_path / "good.wav", 80)
    assert run(tmp_path / "*.wav", out, "--batch_size", "8") == 2
    bad, good = rows(out)
    assert good["text"] == expected_text("en", 80)
    assert bad["text"].startswith(expected_text("en", 25))
    assert bad["text"].endswith("en78 en79")
    assert "en40" not in bad["text"]
    (failure,) = failures(out)
    assert (failure["stage"], failure["kind"]) == ("transcribe", "model_error")
    assert "seconds 25.00 to 55.00" in failure["message"]
    assert "the model choked" in failure["message"]


def test_recording_without_any_transcribed_window_has_no_row(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "bad.wav", 5, poison=2)
    assert run(tmp_path / "bad.wav", out) == 2
    assert rows(out) == []
    assert len(failures(out)) == 1


def test_output_on_any_filesystem(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    url = f"memory://{tmp_path.name}/out"
    assert run(tmp_path / "a.wav", url) == 0
    with fsspec.open(f"{url}/parquet/part-00000-of-00001.parquet", "rb") as file:
        assert pq.read_table(file).column("text").to_pylist() == ["en0 en1"]
    assert fsspec.filesystem("memory").exists(f"/{tmp_path.name}/out/_SUCCESS")
    LOADED.clear()
    assert run(tmp_path / "a.wav", url) == 0
    assert LOADED == []


def test_finished_run_is_not_repeated(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    (tmp_path / "talks/b.wav").write_bytes(b"nothing")
    assert run(tmp_path / "talks", out) == 2
    first, output = snapshot(out), capsys.readouterr().out
    LOADED.clear()
    assert run(tmp_path / "talks", out, "--batch_size", "2") == 2
    assert LOADED == []
    assert snapshot(out) == first
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--language", "fr"], "with --language auto, not fr"),
        (["--channels", "split"], "with --channels mix, not split"),
    ],
)
def test_folder_of_another_run_is_refused(
    flags: list[str], reason: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out) == 0
    before = snapshot(out)
    assert run(tmp_path / "a.wav", out, *flags) == 1
    assert snapshot(out) == before
    output = capsys.readouterr().err
    assert reason in output
    assert "--overwrite" in output


def test_overwrite_removes_only_the_files_of_the_run(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--num_shards", "3") == 0
    (out / "notes.txt").write_text("mine")
    (out / "jsonl/notes.txt").write_text("mine")
    assert run(tmp_path / "a.wav", out, "--overwrite", "--format", "jsonl") == 0
    assert set(snapshot(out)) == {
        ".whisper-beam/run.json",
        "_SUCCESS",
        "failures/part-00000-of-00001.jsonl",
        "notes.txt",
        "progress.json",
        "report.html",
        "run.json",
        "jsonl/notes.txt",
        "jsonl/part-00000-of-00001.jsonl",
    }


def test_foreign_files_are_never_changed(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (out / "jsonl").mkdir(parents=True)
    (out / "jsonl/part-00000-of-00001.jsonl").write_text("mine")
    assert run(tmp_path / "a.wav", out, "--overwrite") == 1
    assert "did not write" in capsys.readouterr().err
    assert snapshot(out) == {"jsonl/part-00000-of-00001.jsonl": b"mine"}


def test_finished_run_with_missing_files_is_repeated(tmp_path: Path) -> None:
    source, out = write_talk(tmp_path / "a.wav", 2), tmp_path / "out"
    assert run(source, out) == 0
    first = rows(out)
    for part in [*(out / "jsonl").iterdir(), *(out / "parquet").iterdir()]:
        part.unlink()
    assert run(source, out) == 0
    assert rows(out) == first


def test_missing_ranges_are_in_the_row(tmp_path: Path, out: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 4)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 2 * SAMPLE_RATE])
    assert run(path, out) == 2
    (row,) = rows(out)
    assert (row["text"], row["truncated"], row["duration_s"]) == ("en0 en1", True, 2.0)
    assert row["declared_s"] == pytest.approx(4.0, abs=0.01)
    assert "2.00 s of 4.00 s declared" in row["problem"]


def test_finished_run_that_was_killed_at_its_end_leaves_no_partial_file(tmp_path: Path, out: Path) -> None:
    source = write_talk(tmp_path / "a.wav", 2)
    assert run(source, out) == 0
    before = snapshot(out)
    (out / f".progress.json.{'0' * 32}.partial").write_text("half")
    (out / f"jsonl/.part-00000-of-00001.jsonl.{'a' * 32}.partial").write_text("half")
    (out / ".mine.partial").write_text("mine")
    assert run(source, out) == 0
    assert snapshot(out) == {**before, ".mine.partial": b"mine"}
