"""Whole runs on generated tones, through Beam, from files to files."""

from __future__ import annotations

import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from apache_beam.options.pipeline_options import PipelineOptions

from model.interface import SAMPLE_RATE, Samples, TranscriberSettings, WindowResult
from pipelines.run import _in_this_process
from pipelines.transcribe import main
from tests.pipelines.tones import (
    ASKED,
    ENGLISH,
    FRENCH,
    HEARD,
    LOADED,
    TONES,
    ToneTranscriber,
    failures,
    rows,
    run,
    snapshot,
    spoken,
    tone,
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
    assert long["text"] == spoken("en", 70)
    assert (long["duration_s"], long["language"], long["task"]) == (70.0, "en", "transcribe")
    assert (long["model"], long["truncated"], long["reference"]) == ("openai/whisper-base", False, None)
    assert [segment["id"] for segment in long["segments"]] == list(range(70))
    assert [segment["start"] for segment in long["segments"]] == pytest.approx(range(70), abs=0.01)
    assert long["segments"][0]["avg_logprob"] == -0.5
    assert len(LOADED) == 1
    assert failures(out) == []
    said = capsys.readouterr()
    assert "short.flac [en]" in said.out
    assert "en0 en1 en2" in said.out
    assert "2 of 2 recordings transcribed" in said.out
    assert "Done: all 2 recordings" in said.err


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
        "failures": 0,
        "failures_by_kind": {},
        "windows": 2,
        "windows_skipped": 0,
        "windows_redone": 0,
        "boundaries_redone": 0,
        "remainders": 0,
        "remainders_dropped": 0,
        "windows_without_text": 0,
        "windows_fallback": 0,
        "fallback_by_reason": {},
        "segments_filtered": {},
    }
    assert report["audio_hours"] == pytest.approx(40 / 3600, abs=1e-6)
    assert report["times_real_time"] == pytest.approx(40 / report["wall_s"], rel=0.01)
    assert set(report["stage_s"]) == {"read", "load", "compile", "model", "merge", "write"}
    assert 0 < report["stage_s"]["read"] < report["wall_s"]
    assert report["options"]["model"] == "openai/whisper-base"
    assert "apache-beam" in report["versions"]
    assert [name for name in report["files"] if not (out / name).is_file()] == []
    assert len(report["files"]) == 5
    assert (out / "_SUCCESS").read_bytes() == b""


def test_the_same_input_gives_the_same_bytes_whatever_its_order_and_batches(tmp_path: Path) -> None:
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
            if name.startswith("transcripts/")
        }
        for out in "ab"
    )
    assert first == second
    assert len(first) == 2


FILES = "parquet,srt,vtt,tsv,txt"


def test_each_recording_has_files_of_its_own(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "one/talk.wav", 2)
    write_talk(tmp_path / "two/talk.wav", 3)
    write_sparse(tmp_path / "silent.wav")
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    assert run(f"{tmp_path}/**/*.wav", out, "--format", FILES) == 2
    assert run(f"{tmp_path}/**/*.wav", out, "--format", FILES) == 2  # finished: its files are there
    ids = {row["uri"]: row["audio_id"] for row in pq.read_table(out / "transcripts").to_pylist()}
    assert len(ids) == 3
    for name in ("srt", "vtt", "tsv", "txt"):
        found = {path.name for path in (out / name).iterdir()}
        assert found == {f"{Path(uri).stem}.{audio_id}.{name}" for uri, audio_id in ids.items()}
    talk = ids[str(tmp_path / "two/talk.wav")]
    assert (out / f"txt/talk.{talk}.txt").read_text() == "en0\nen1\nen2\n"
    assert (out / f"srt/silent.{ids[str(tmp_path / 'silent.wav')]}.srt").read_bytes() == b""
    report = json.loads((out / "run.json").read_text())
    assert report["recording_files"] == dict.fromkeys(("srt", "vtt", "tsv", "txt"), 3)
    assert [name.split("/")[0] for name in report["files"]] == ["failures", "transcripts"]
    assert f"3 srt files: {out}/srt" in capsys.readouterr().out


def test_rows_are_there_where_only_subtitles_are_asked_for(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--format", "srt") == 0
    assert [path.name for path in (out / "transcripts").iterdir()] == ["part-00000-of-00001.parquet"]
    assert len(list((out / "srt").iterdir())) == 1
    assert run(tmp_path / "a.wav", out, "--format", "jsonl", "--overwrite") == 0
    assert list((out / "srt").iterdir()) == []
    assert [path.name for path in (out / "transcripts").iterdir()] == ["part-00000-of-00001.jsonl"]


@pytest.mark.parametrize("flags", [[], ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]])
def test_the_same_files_whatever_the_workers(tmp_path: Path, flags: list[str]) -> None:
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
    assert len(first) == 4 * 4 + 2 * 2 + 1


def test_a_page_and_the_progress_are_left_beside_the_report(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (tmp_path / "<b>.wav").write_bytes(b"nothing")
    for out in (str(tmp_path / "out"), f"memory://{tmp_path.name}/out"):
        assert run(f"{tmp_path}/*.wav", out) == 2
        with fsspec.open(f"{out}/report.html", "rt") as file:
            page = file.read()
        assert "Hours of audio by language" in page
        assert "&lt;b&gt;.wav" in page
        with fsspec.open(f"{out}/progress.json") as file:
            told = json.load(file)
        counts = [told[name] for name in ("state", "recordings", "of", "failures", "eta_s")]
        assert counts == ["finished", 2, 2, 1, 0]


def test_progress_is_known_in_threads_alone() -> None:
    assert _in_this_process("DirectRunner", PipelineOptions([]))
    assert _in_this_process("DirectRunner", PipelineOptions(["--direct_running_mode=multi_threading"]))
    assert not _in_this_process("DirectRunner", PipelineOptions(["--direct_running_mode=multi_processing"]))
    assert not _in_this_process("FlinkRunner", PipelineOptions([]))


def test_a_bad_recording_is_a_failure_and_the_others_go_on(
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


def test_a_truncated_recording_is_a_row_and_a_failure(tmp_path: Path, out: Path) -> None:
    whole = write_talk(tmp_path / "whole.wav", 10).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    assert run(tmp_path / "cut.wav", out) == 2
    (row,) = rows(out)
    assert row["truncated"]
    assert row["text"] == spoken("en", 4)
    assert [(row["stage"], row["kind"]) for row in failures(out)] == [("decode", "truncated")]


def test_a_poisoned_window_stands_alone(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "bad.wav", 80, poison=40)
    write_talk(tmp_path / "good.wav", 80)
    assert run(tmp_path / "*.wav", out, "--batch_size", "8") == 2
    bad, good = rows(out)
    assert good["text"] == spoken("en", 80)
    assert bad["text"].startswith(spoken("en", 25))
    assert bad["text"].endswith("en78 en79")
    assert "en40" not in bad["text"]
    (failure,) = failures(out)
    assert (failure["stage"], failure["kind"]) == ("transcribe", "model_error")
    assert "seconds 25.00 to 55.00" in failure["message"]
    assert "the model choked" in failure["message"]


def test_a_recording_of_which_nothing_could_be_transcribed_has_no_row(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "bad.wav", 5, poison=2)
    assert run(tmp_path / "bad.wav", out) == 2
    assert rows(out) == []
    assert len(failures(out)) == 1


def test_windows_vote_on_the_language_and_the_outvoted_are_decoded_again(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=76)
    write_talk(tmp_path / "french.wav", 40, french_from=0)
    assert run(tmp_path / "*.wav", out) == 0
    french, mixed = rows(out)
    assert (mixed["language"], mixed["text"]) == ("en", spoken("en", 80))
    assert (french["language"], french["text"]) == ("fr", spoken("fr", 40))
    assert HEARD.count(None) == 5
    assert [language for language in HEARD if language] == ["en"]
    assert len(LOADED) == 1
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] == 1


def test_a_language_given_is_decoded_in_at_once(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=70)
    assert run(tmp_path / "mixed.wav", out, "--language", "French", "--task", "translate") == 0
    (row,) = rows(out)
    assert (row["language"], row["task"], row["text"]) == ("fr", "translate", spoken("fr", 80))
    assert HEARD == ["fr"] * 3
    assert LOADED[0].task == "translate"


def test_an_english_model_needs_no_vote(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--model", "openai/whisper-tiny.en") == 0
    assert HEARD == ["en"]


def test_a_dataset_in_parquet_is_transcribed_with_its_reference(tmp_path: Path, out: Path) -> None:
    wavs = [
        write_talk(tmp_path / "wavs/a.wav", 3).read_bytes(),
        write_talk(tmp_path / "wavs/b.wav", 80, french_from=76).read_bytes(),
        b"nothing to hear",
    ]
    audio = [{"bytes": wav, "path": f"{n}.wav"} for n, wav in enumerate(wavs)]
    (tmp_path / "data").mkdir()
    table = pa.table({"sound": audio, "said": ["three tones", "eighty tones", "nothing"]})
    pq.write_table(table, tmp_path / "data/train.parquet")
    flags = ["--dataset_split=train", "--audio_column=sound", "--text_column=said"]
    assert main(["--dataset", str(tmp_path / "data"), *flags, "--output", str(out)], TONES) == 2
    found = {row["reference"]: (row["language"], row["text"]) for row in rows(out)}
    assert found == {"three tones": ("en", spoken("en", 3)), "eighty tones": ("en", spoken("en", 80))}
    (failure,) = failures(out)
    assert failure["uri"].startswith("dataset://")
    assert json.loads((out / "run.json").read_text())["counts"]["recordings"] == 3


def test_output_may_be_on_any_filesystem(tmp_path: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    url = f"memory://{tmp_path.name}/out"
    assert run(tmp_path / "a.wav", url) == 0
    with fsspec.open(f"{url}/transcripts/part-00000-of-00001.parquet", "rb") as file:
        assert pq.read_table(file).column("text").to_pylist() == ["en0 en1"]
    assert fsspec.filesystem("memory").exists(f"/{tmp_path.name}/out/_SUCCESS")
    LOADED.clear()
    assert run(tmp_path / "a.wav", url) == 0
    assert LOADED == []


def test_a_finished_run_is_not_done_again(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    (tmp_path / "talks/b.wav").write_bytes(b"nothing")
    assert run(tmp_path / "talks", out) == 2
    first, said = snapshot(out), capsys.readouterr().out
    LOADED.clear()
    assert run(tmp_path / "talks", out, "--batch_size", "2") == 2
    assert LOADED == []
    assert snapshot(out) == first
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--language", "fr"], "with --language auto, not fr"),
        (["--num_shards", "2"], "with --num_shards 1, not 2"),
        (["--input", "{new}"], "with --input"),
    ],
)
def test_another_run_in_the_folder_is_refused(
    flags: list[str], why: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out) == 0
    before = snapshot(out)
    new = write_talk(tmp_path / "new.wav", 2)
    flags = [flag.format(new=new) for flag in flags]
    assert run(tmp_path / "a.wav", out, *flags) == 1
    assert snapshot(out) == before
    said = capsys.readouterr().err
    assert why in said
    assert "--overwrite" in said


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--num_shards", "3") == 0
    (out / "notes.txt").write_text("mine")
    (out / "transcripts/notes.txt").write_text("mine")
    assert run(tmp_path / "a.wav", out, "--overwrite", "--format", "jsonl") == 0
    assert set(snapshot(out)) == {
        ".whisper-beam/run.json",
        "_SUCCESS",
        "failures/part-00000-of-00001.jsonl",
        "notes.txt",
        "progress.json",
        "report.html",
        "run.json",
        "transcripts/notes.txt",
        "transcripts/part-00000-of-00001.jsonl",
    }


def test_transcripts_of_somebody_else_are_never_touched(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (out / "transcripts").mkdir(parents=True)
    (out / "transcripts/part-00000-of-00001.jsonl").write_text("mine")
    assert run(tmp_path / "a.wav", out, "--overwrite") == 1
    assert "did not write" in capsys.readouterr().err
    assert snapshot(out) == {"transcripts/part-00000-of-00001.jsonl": b"mine"}


class StoppingTones(ToneTranscriber):
    """Stops in the middle of what it hears, so that the remainder is decoded at the end of the bundle."""

    def _hear(self, samples: Samples, language: str | None) -> WindowResult:
        whole = super()._hear(samples, language)
        return replace(whole, segments=whole.segments[: max(1, len(whole.segments) // 2)])


def load_stopping(settings: TranscriberSettings) -> StoppingTones:
    return StoppingTones(settings.batch_size)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--direct_runner_bundle_repeat=1"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_what_the_model_leaves_out_is_decoded_in_every_local_mode(tmp_path: Path, flags: list[str]) -> None:
    talk = [tone(second) for second in range(8)]
    for second in talk:  # loudness tells speech from noise by the pauses in it
        second[-1600:] *= 0.001
    soundfile.write(tmp_path / "talk.wav", np.concatenate(talk), SAMPLE_RATE)
    backend = replace(TONES, load=load_stopping)
    arguments = ["--input", str(tmp_path / "talk.wav"), "--output", str(tmp_path / "out"), *flags]
    assert main([*arguments, "--language", "en", "--batch_size", "4"], backend) == 0
    (row,) = rows(tmp_path / "out")
    assert row["text"] == " ".join(f"en{second}" for second in range(8))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["remainders"] >= 2


def test_a_finished_run_whose_files_are_gone_is_done_again(tmp_path: Path) -> None:
    source, out = write_talk(tmp_path / "a.wav", 2), tmp_path / "out"
    assert run(source, out) == 0
    first = rows(out)
    for part in (out / "transcripts").iterdir():
        part.unlink()
    assert run(source, out) == 0
    assert rows(out) == first


def test_a_name_that_is_no_unicode_is_transcribed(tmp_path: Path) -> None:
    source = write_talk(tmp_path / "a.wav", 2).rename(Path(f"{tmp_path}/bad\udcff.wav"))
    assert run(source, tmp_path / "out") == 0
    (row,) = rows(tmp_path / "out")
    assert row["uri"].endswith("bad\\udcff.wav")


def write_sparse(path: Path, *stretches: tuple[int, int]) -> Path:
    """Tones in these seconds, (from, to) each, and digital silence between and after them: two minutes."""
    samples = np.zeros(120 * SAMPLE_RATE, np.float32)
    for start, stop in stretches:
        for second in range(start, stop):
            samples[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE] = tone(second)
    soundfile.write(path, samples, SAMPLE_RATE)
    return path


def test_windows_in_which_nobody_speaks_are_skipped_counted_and_listed(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out, "--windows", "grid") == 0
    (row,) = rows(out)
    assert row["text"] == " ".join(f"en{second}" for second in [*range(2, 9), *range(110, 115)])
    assert row["skipped"] == [{"start": 30.0, "end": 100.0}]
    assert row["speech_s"] == pytest.approx(12, abs=2)
    report = json.loads((out / "run.json").read_text())
    assert (report["counts"]["windows"], report["counts"]["windows_skipped"]) == (2, 3)
    assert report["skipped_hours"] == pytest.approx(70 / 3600, abs=1e-4)
    assert len(HEARD) == 2


def test_speech_is_heard_in_one_window_without_the_silence_about_it(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out) == 0
    (row,) = rows(out)
    expected = [*range(2, 9), *range(110, 115)]
    # A window begins between two tones, so that one may be heard twice.
    assert list(dict.fromkeys(row["text"].split())) == [f"en{second}" for second in expected]
    for segment in row["segments"]:
        assert segment["start"] == pytest.approx(int(segment["text"].strip()[2:]), abs=1.0)
    silent = [(stretch["start"], stretch["end"]) for stretch in row["skipped"]]
    assert silent[-2:] == [pytest.approx((9, 110), abs=1.0), pytest.approx((115, 120), abs=1.0)]
    report = json.loads((out / "run.json").read_text())
    assert (report["counts"]["windows"], report["counts"]["windows_skipped"]) == (1, 0)
    assert report["skipped_hours"] * 3600 == pytest.approx(108, abs=3)
    assert HEARD == [None]


def test_without_the_gate_every_window_is_heard(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out, "--no-vad") == 0
    (row,) = rows(out)
    assert (row["speech_s"], row["skipped"]) == (None, [])
    assert len(HEARD) == 5


def test_silence_is_a_row_without_words_and_loads_no_model(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav"), out) == 0
    (row,) = rows(out)
    assert (row["text"], row["segments"], row["language"], row["speech_s"]) == ("", [], None, 0.0)
    assert row["skipped"] == [{"start": 0.0, "end": 120.0}]
    assert LOADED == []


def test_each_window_may_keep_its_language(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 80, french_from=55)
    assert run(tmp_path / "a.wav", out, "--language", "auto-per-window") == 0
    (row,) = rows(out)
    assert row["language"] == "en"
    assert row["segments"][0]["language"] == "en"
    assert row["segments"][-1]["language"] == "fr"
    assert row["text"].endswith("fr79")
    assert [one["language"] for one in row["language_probs"]] == ["en", "fr", "de"]


def test_prompts_and_hot_words_reach_the_model(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    write_talk(tmp_path / "b.wav", 2)
    manifest = tmp_path / "talks.csv"
    manifest.write_text("path,initial_prompt,hotwords\na.wav,Dear sir,Caxton\nb.wav,,\n")
    assert run(manifest, out, "--initial_prompt", "So,", "--hotwords", "Mainz") == 0
    assert {(request.prompt, request.hotwords) for request in ASKED} == {("Dear sir", "Caxton"), (None, None)}
    assert (LOADED[0].prompt, LOADED[0].hotwords) == ("So,", "Mainz")


def write_call(path: Path, seconds: int) -> Path:
    """One speaker on each side: tones from 0 on, and, of another language and somewhat later, from 50 on."""
    left = np.concatenate([tone(second) for second in range(seconds)])
    right = np.concatenate(
        [np.zeros_like(tone(0)), *(tone(50 + second, FRENCH) for second in range(seconds - 1))]
    )
    soundfile.write(path, np.stack([left, right], axis=1), SAMPLE_RATE)
    return path


def test_each_side_of_a_call_is_a_row_of_its_own(tmp_path: Path, out: Path) -> None:
    write_call(tmp_path / "call.wav", 40)
    write_talk(tmp_path / "mono.wav", 2)
    assert run(str(tmp_path / "*.wav"), out, "--channels", "split") == 0
    left, right, mono = rows(out)
    assert [(row["uri"], row["channel"]) for row in (left, right, mono)] == [
        (str(tmp_path / "call.wav"), 0), (str(tmp_path / "call.wav"), 1), (str(tmp_path / "mono.wav"), 0),
    ]  # fmt: skip
    assert left["audio_id"].partition("-")[0] == right["audio_id"].partition("-")[0]
    assert (left["text"], left["language"]) == (spoken("en", 40), "en")
    assert (right["text"], right["language"]) == (" ".join(f"fr{second}" for second in range(50, 89)), "fr")
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["transcribed"], counts["not_transcribed"]) == (3, 3, 0)


def test_the_outvoted_window_of_one_side_is_decoded_again(tmp_path: Path, out: Path) -> None:
    left = np.concatenate([tone(second) for second in range(80)])
    right = np.concatenate([tone(second, FRENCH if second >= 70 else ENGLISH) for second in range(80)])
    sound = np.stack([left, right], axis=1)
    soundfile.write(tmp_path / "call.wav", sound, SAMPLE_RATE)
    assert run(tmp_path / "call.wav", out, "--channels", "split", "--windows", "grid") == 0
    assert [row["text"] for row in rows(out)] == [spoken("en", 80)] * 2
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] > 0


@pytest.mark.parametrize(("channels", "text"), [("left", "en0 en1"), ("1", "fr50"), ("right", "fr50")])
def test_one_side_alone(tmp_path: Path, out: Path, channels: str, text: str) -> None:
    assert run(write_call(tmp_path / "call.wav", 2), out, "--channels", channels) == 0
    (row,) = rows(out)
    assert (row["text"], row["channel"]) == (text, int(channels != "left"))


def test_a_channel_that_is_not_there_is_a_failure_that_says_how_many_are(tmp_path: Path, out: Path) -> None:
    assert run(write_call(tmp_path / "call.wav", 2), out, "--channels", "2") == 2
    (failure,) = failures(out)
    assert failure["kind"] == "no_such_channel"
    assert "the file has 2" in failure["message"]


def test_what_is_missing_of_a_recording_is_in_its_row(tmp_path: Path, out: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 4)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 2 * SAMPLE_RATE])
    assert run(path, out) == 2
    (row,) = rows(out)
    assert (row["text"], row["truncated"], row["duration_s"]) == ("en0 en1", True, 2.0)
    assert row["declared_s"] == pytest.approx(4.0, abs=0.01)
    assert "2.00 s of 4.00 s declared" in row["problem"]


def test_archives_are_read_in_place(tmp_path: Path, out: Path) -> None:
    talk = write_talk(tmp_path / "wavs/a.wav", 3)
    mixed = write_talk(tmp_path / "wavs/b.wav", 80, french_from=76)
    (tmp_path / "talks").mkdir()
    with zipfile.ZipFile(tmp_path / "talks/one.zip", "w") as archive:
        archive.write(talk, "../../up.wav")
        archive.writestr("bad.wav", b"<html>")
    with tarfile.open(tmp_path / "talks/two.tar.gz", "w:gz") as tar:
        tar.add(mixed, "b.wav")
        (tmp_path / "b.json").write_text('{"text": "eighty tones", "speaker": "x"}')
        tar.add(tmp_path / "b.json", "b.json")
    assert run(tmp_path / "talks", out) == 2
    up, two = rows(out)
    assert (up["uri"], up["text"]) == (f"{tmp_path}/talks/one.zip//../../up.wav", spoken("en", 3))
    assert (two["uri"], two["text"]) == (f"{tmp_path}/talks/two.tar.gz//b.wav", spoken("en", 80))
    assert (two["reference"], json.loads(two["metadata"])) == ("eighty tones", {"speaker": "x"})
    assert [row["uri"] for row in failures(out)] == [f"{tmp_path}/talks/one.zip//bad.wav"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["windows_redone"]) == (3, 1)
    assert {path.name for path in (tmp_path / "talks").iterdir()} == {"one.zip", "two.tar.gz"}


def test_a_bomb_and_a_cut_archive_are_rows_and_the_others_go_on(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    with zipfile.ZipFile(tmp_path / "talks/bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bytes(40 << 20))
    (tmp_path / "talks/cut.tar").write_bytes(b"cut")
    assert run(tmp_path / "talks", out) == 2
    assert [row["text"] for row in rows(out)] == ["en0 en1"]
    assert {(row["uri"].rsplit("/", 1)[-1], row["kind"]) for row in failures(out)} == {
        ("bomb.wav", "too_large"), ("cut.tar", "corrupt"),
    }  # fmt: skip


def test_parts_of_a_file_are_recordings_in_seconds_of_the_file(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 60)
    manifest = tmp_path / "talks.csv"
    manifest.write_text(
        "path,start,end,who\na.wav,10,14,x\na.wav,50,,y\na.wav,0,2,z\na.wav,59,99,\na.wav,70,,\n"
    )
    assert run(manifest, out) == 2
    found = {row["uri"].partition("#")[2]: row for row in rows(out)}
    assert set(found) == {"t=10,14", "t=50", "t=,2", "t=59,99"}
    part = found["t=10,14"]
    assert (part["duration_s"], part["text"]) == (4.0, "en10 en11 en12 en13")
    assert [segment["start"] for segment in part["segments"]] == pytest.approx([10, 11, 12, 13], abs=0.01)
    assert json.loads(part["metadata"]) == {"who": "x"}
    assert found["t=50"]["text"] == " ".join(f"en{second}" for second in range(50, 60))
    kinds = {row["uri"].partition("#")[2]: (row["kind"], row["message"]) for row in failures(out)}
    assert kinds["t=59,99"][0] == "truncated"
    assert "the part asked for ends at 99 s, the file at 60 s" in kinds["t=59,99"][1]
    assert kinds["t=70"] == ("empty", "the part asked for begins at 70 s, the file ends at 60 s")


def test_bad_lines_are_failures_and_recordings_named_twice_are_one(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    first, second = tmp_path / "one.jsonl", tmp_path / "two.txt"
    first.write_text('{"path": "a.wav"}\nbroken\n{"path": "a.wav"}\n')
    second.write_text("a.wav\n")
    assert main(["--input", str(first), str(second), "--output", str(out)], TONES) == 2
    assert [row["text"] for row in rows(out)] == ["en0 en1"]
    (failure,) = failures(out)
    assert (failure["uri"], failure["stage"], failure["kind"]) == (str(first), "list", "bad_line")
    assert f"{first}:2: no JSON" in failure["message"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["duplicates"], counts["not_transcribed"]) == (2, 2, 1)


def test_a_recordings_own_language_goes_first_and_is_not_voted_on(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=30)
    write_talk(tmp_path / "other.wav", 2)
    write_talk(tmp_path / "known.wav", 2)
    lines = [("mixed.wav", "French"), ("other.wav", "ja"), ("known.wav", "")]
    text = "".join(json.dumps({"path": name, "language": code}) + "\n" for name, code in lines)
    (tmp_path / "m.jsonl").write_text(text)
    assert run(tmp_path / "m.jsonl", out) == 2
    known, mixed = rows(out)
    assert (mixed["language"], mixed["language_probs"], mixed["text"]) == ("fr", [], spoken("fr", 80))
    assert known["language"] == "en"
    assert sorted(HEARD, key=str) == [None, "fr", "fr", "fr"]
    (failure,) = failures(out)
    assert (failure["kind"], failure["uri"]) == ("other_language", str(tmp_path / "other.wav"))
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] == 0
