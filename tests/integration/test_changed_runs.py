"""The same output folder with other inputs, formats or weights: nothing is lost or done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import pytest

from model.interface import ModelOptions
from pipelines.output import run_identity
from pipelines.output.finished_run import open_run
from pipelines.transcribe import main
from tests.support.tone_backend import (
    LOADED,
    REQUESTS,
    TONES,
    ToneTranscriber,
    expected_text,
    rows,
    run,
    snapshot,
    write_talk,
)
from transforms.dofns import skip_done


def counts(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "run.json").read_text())["counts"]
    return summary


def names(out: Path) -> list[str]:
    return [Path(row["uri"]).name for row in rows(out)]


def load_nothing(_: ModelOptions) -> NoReturn:
    raise RuntimeError("the weights are gone")


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for number in range(3):
        write_talk(tmp_path / f"talks/{number}.wav", 2 + number)
    return tmp_path / "talks"


def test_an_input_is_known_by_what_it_names(
    talks: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(talks.parent)
    assert run("talks", out) == 0
    first = snapshot(out)
    LOADED.clear()
    for spelling in ("./talks", str(talks), "talks/*.wav"):
        assert run(spelling, out) == 0
        assert snapshot(out) == first
    files = sorted(map(str, talks.iterdir()))
    assert main(["--input", *files, "--output", str(out)], TONES) == 0
    assert (LOADED, snapshot(out)) == ([], first)
    assert capsys.readouterr().err.count("already finished") == 4
    new = write_talk(talks / "3.wav", 9)  # a list that the shell expanded, one longer now
    REQUESTS.clear()
    assert main(["--input", *files, str(new), "--output", str(out)], TONES) == 0
    assert [len(request.samples) // 16_000 for request in REQUESTS] == [9]
    assert names(out) == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_rows_of_a_folder_of_the_same_name_are_kept(
    talks: Path,
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_talk(tmp_path / "other/talks/0.wav", 7)
    monkeypatch.chdir(talks.parent)
    assert run("talks", out, "--format", "jsonl,parquet,srt") == 0
    before = {row["audio_id"]: row for row in rows(out)}
    subtitles = set((out / "srt").iterdir())
    monkeypatch.chdir(tmp_path / "other")
    more = ["--format", "jsonl,parquet,srt"]
    for flags in (more, ["--num_shards", "2"], ["--format", "parquet"], more):
        assert run("talks", out, *flags) == 0
        if flags != ["--format", "parquet"]:
            after = {row["audio_id"]: row for row in rows(out)}
            assert before.items() < after.items()
            assert (len(after), counts(out)["kept"], counts(out)["recordings"]) == (4, 3, 1)
    assert "kept: 3 rows of recordings that are not among the inputs any more" in capsys.readouterr().out
    assert subtitles < set((out / "srt").iterdir())
    assert run("talks", out, "--remove_unlisted") == 0
    assert [row["text"] for row in rows(out)] == [expected_text("en", 7)]
    assert counts(out)["kept"] == 0


def test_rows_of_removed_recordings_are_removed_by_a_flag_only(talks: Path, out: Path) -> None:
    assert run(talks, out, "--channels", "split") == 0
    write_talk(talks / "1.wav", 5)
    (talks / "2.wav").unlink()
    LOADED.clear()
    assert run(talks, out, "--channels", "split") == 0
    assert [row["text"] for row in rows(out)] == [expected_text("en", n) for n in (2, 5, 4)]
    assert run(talks, out, "--channels", "split", "--remove_unlisted") == 0
    assert names(out) == ["0.wav", "1.wav"]


def test_a_finished_output_stays_until_its_replacement_is_complete(
    talks: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(talks, out, "--format", "jsonl,parquet,srt") == 0
    before = snapshot(out)
    write_talk(talks / "new.wav", 3)
    broken = replace(TONES, load=load_nothing)
    for flags in ([], ["--overwrite"]):
        command = ["--input", str(talks), "--output", str(out), "--format", "jsonl,parquet,srt", *flags]
        assert main(command, broken) == 1
        assert "the weights are gone" in capsys.readouterr().err
        progress = {"progress.json", ".whisper-beam/run.json"}
        after = {name: text for name, text in snapshot(out).items() if name not in progress}
        assert after == {name: text for name, text in before.items() if name not in progress}
        assert open_run(str(out)).report["counts"]["transcribed"] == 3
    assert run(talks, out) == 0
    assert names(out) == ["0.wav", "1.wav", "2.wav", "new.wav"]


def test_other_weights_or_another_program_are_another_run(
    talks: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(weights: str, *flags: str) -> int:
        backend = replace(TONES, weights=lambda _: weights)
        return main(["--input", str(talks), "--output", str(out), *flags], backend)

    assert start("one") == 0
    before = snapshot(out)
    assert start("another") == 1
    assert "holds another run (whose weights of openai/whisper-base differ" in capsys.readouterr().err
    monkeypatch.setattr(run_identity, "program_version", lambda: "9.9")
    assert start("one") == 1
    assert "which 9.9 cannot resume; give another --output" in capsys.readouterr().err
    assert snapshot(out) == before
    REQUESTS.clear()
    assert start("another", "--overwrite") == 0
    assert len(REQUESTS) == counts(out)["windows"]


def test_files_of_another_form_are_written_without_the_model(tmp_path: Path, out: Path) -> None:
    lines = [{"path": f"{number}.wav", "text": "one", "said": f"two {number}"} for number in range(4)]
    for number in range(4):
        write_talk(tmp_path / f"{number}.wav", 2 + number)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(manifest, out) == 0
    before = rows(out)
    gone = replace(TONES, load=load_nothing, weights=_no_model)  # not needed any more
    for flags in (["--format", "jsonl,srt"], ["--num_shards", "3"], ["--text_column", "said"]):
        assert main(["--input", str(manifest), "--output", str(out), *flags], gone) == 0
        if "--format" in flags:
            assert not list((out / "parquet").glob("*.parquet"))
            assert len(list((out / "srt").iterdir())) == 4
    assert [row["reference"] for row in rows(out)] == [f"two {number}" for number in range(4)]
    assert [row["text"] for row in rows(out)] == [row["text"] for row in before]
    assert run(manifest, out, "--num_shards", "3") == 0
    for name in ("parquet", "jsonl", "failures"):
        assert len(list((out / name).iterdir())) == 3
    assert sorted(rows(out), key=str) == sorted(before, key=str)


def _no_model(_: str) -> NoReturn:
    raise ValueError("no such model")


def test_what_is_left_needs_the_model(talks: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = replace(TONES, load=load_nothing, weights=_no_model)
    assert main(["--input", str(talks), "--output", str(out)], gone) == 1
    assert run(talks, out) == 0
    write_talk(talks / "new.wav", 2)
    capsys.readouterr()
    assert main(["--input", str(talks), "--output", str(out)], gone) == 1
    message = capsys.readouterr().err
    assert "no such model. Only what was transcribed before can be written" in message
    assert "the weights are gone" in message


class StoppingTranscriber(ToneTranscriber):
    """Ends the run at the third window."""

    def transcribe(self, requests: Any) -> Any:  # noqa: ANN401  # as in the base class
        if len(REQUESTS) >= 2:
            raise MemoryError("of the machine")
        return super().transcribe(requests)


def load_stopping(options: ModelOptions) -> StoppingTranscriber:
    return StoppingTranscriber(options.batch_size)


def test_what_is_finished_is_written_before_the_end(
    talks: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(talks), "--output", str(out), "--batch_size", "1", "--parallel_batches", "1"]
    assert main([*arguments, "--partial"], TONES) == 1
    assert "holds no run of whisper-beam" in capsys.readouterr().err
    REQUESTS.clear()
    assert main(arguments, replace(TONES, load=load_stopping)) == 1
    log = {path: path.read_bytes() for path in (out / ".whisper-beam").rglob("*") if path.is_file()}
    LOADED.clear()
    assert main([*arguments, "--partial", "--format", "jsonl,srt"], TONES) == 0
    assert LOADED == []
    assert {path: path.read_bytes() for path in (out / ".whisper-beam").rglob("*") if path.is_file()} == log
    part = rows(out / "partial")
    assert 1 <= len(part) < 3
    assert len(list((out / "partial/srt").iterdir())) == len(part)
    assert f"{len(part)} of 3 recordings are finished so far" in capsys.readouterr().err
    assert (counts(out / "partial")["unfinished"], counts(out / "partial")["not_transcribed"]) == (
        3 - len(part),
        0,
    )
    assert not (out / "_SUCCESS").exists()
    assert main(arguments, TONES) == 0
    assert [row for row in rows(out) if row["audio_id"] in {one["audio_id"] for one in part}] == part
    assert not (out / "partial").exists()


def test_a_run_of_its_own_in_the_partial_folder_stays(talks: Path, out: Path) -> None:
    assert run(talks, out / "partial") == 0
    before = snapshot(out / "partial")
    assert run(talks, out) == 0
    assert run(talks, out, "--partial") == 1
    assert snapshot(out / "partial") == before


def test_what_is_not_finished_counts_once(talks: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = talks / "m.txt"
    manifest.write_text("0.wav\n1.wav\n0.wav\n2.wav\n1.wav\n2.wav\n")
    arguments = ["--input", str(manifest), "--output", str(out), "--batch_size", "1"]
    assert main(arguments, replace(TONES, load=load_nothing)) == 1
    capsys.readouterr()
    assert main([*arguments, "--partial"], TONES) == 0
    found = counts(out / "partial")
    assert (found["recordings"], found["unfinished"], found["not_transcribed"]) == (3, 3, 0)
    assert "0 of 3 recordings are finished so far" in capsys.readouterr().err


def test_a_run_that_began_with_overwrite_is_not_finished(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    arguments = ["--input", str(talks), "--output", str(out), "--batch_size", "1", "--parallel_batches", "1"]
    REQUESTS.clear()
    assert main([*arguments, "--overwrite"], replace(TONES, load=load_stopping)) == 1
    REQUESTS.clear()
    assert main(arguments, TONES) == 0
    assert 1 <= len(REQUESTS) < 3  # the rest, which completes the run that was to do everything anew
    REQUESTS.clear()
    assert main(arguments, TONES) == 0
    assert REQUESTS == []


def test_names_with_brackets_in_a_store(talks: Path) -> None:
    (talks / "0.wav").rename(talks / "[0].wav")
    out = "memory://brackets/out[1]"
    flags = ["--format", "jsonl,srt", "--channels", "split"]
    assert run(talks, out, *flags) == 0
    assert run(talks, out, *flags, "--partial") == 0
    assert run(talks, out, *flags, "--num_shards", "2") == 0
    files = fsspec.filesystem("memory").find("/brackets/out[1]")
    assert not [name for name in files if "/next/" in name or "/partial/" in name]
    assert len([name for name in files if name.endswith(".srt")]) == 3
    assert open_run(out).report["counts"]["transcribed"] == 3


def test_a_recording_that_is_listed_twice_counts_once(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    manifest = tmp_path / "m.txt"
    manifest.write_text("a.wav\nmissing.wav\nmissing.wav\na.wav\n")
    assert run(manifest, out) == 2
    found = counts(out)
    assert (found["recordings"], found["transcribed"], found["not_transcribed"]) == (2, 1, 1)
    assert (found["duplicates"], found["failures"]) == (2, 1)


def test_the_log_is_read_once(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_talk(tmp_path / "talks/mixed.wav", 80, french_from=70)
    read, read_index = [], skip_done.read_index

    def counting(url: str) -> Any:  # noqa: ANN401  # what it returns
        read.append(url)
        return read_index(url)

    monkeypatch.setattr(skip_done, "read_index", counting)
    for _ in range(2):
        read.clear()
        assert run(tmp_path / "talks", out, "--windows", "grid") == 0
        assert len(read) == 1
        (out / "_SUCCESS").unlink()
