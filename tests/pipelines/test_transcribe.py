"""The program: options that it refuses, its messages, and its exit codes."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from pipelines.options import TranscribeOptions
from pipelines.output.run_identity import public_options
from pipelines.process.signals import INTERRUPTED
from pipelines.transcribe import loads_here, main
from tests.support.tone_backend import (
    TONES,
    ToneDetector,
    ToneTranscriber,
    languages_of,
    rows,
    run,
    snapshot,
    write_talk,
)
from transforms.core.cancellation import STOP
from transforms.writing.atomic_files import PARTIAL_SUFFIX


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--langauge", "fr"], "--langauge: no such option (did you mean --language?)"),
        (["--num_worker", "3"], "did you mean --num_workers?"),
        (["--direct_num_workers", "2", "stray.wav"], "stray.wav: belongs to no option"),
        (["--streaming", "stray.wav"], "stray.wav: is not the value of any of Beam's options"),
        (["-language", "fr"], "-language: no such option (did you mean --language?)"),
        (["--streaming", "--", "none.wav"], "none.wav"),
        (["none.wav"], "none.wav"),
        (["--direct_num_workers", "two"], "Beam cannot use --direct_num_workers two"),
        (["--model", "nobody/knows"], "no model 'nobody/knows'"),
        (["--language", "klingon"], "--language klingon: no such language"),
        (["--language", "welsh"], "--language welsh: openai/whisper-base knows only en, fr, de"),
        (["--model=x.en", "--task=translate"], "--task translate: x.en knows only en"),
        (["--stride_length_s", "20"], "--stride_length_s 20: must be between 0 and 15"),
        (["--format", "csv"], "--format csv: not one of parquet, jsonl"),
        (["--batch_size", "many"], "invalid int value: 'many'"),
        (["--runner", "NoSuchRunner"], "NoSuchRunner"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_read_or_written(
    flags: list[str], expected: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, *flags) == 1
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not out.exists()


def test_no_match_is_an_error_with_the_pattern(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "*.mp3", out) == 1
    assert f"{tmp_path}/*.mp3" in capsys.readouterr().err
    assert not out.exists()


def load_nothing(settings: ModelOptions) -> ToneTranscriber:
    raise MemoryError(f"no room for {settings.model}")


def test_a_run_that_breaks_ends_with_a_sentence_and_unfinished(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    backend = Backend(load_nothing, languages_of, ToneDetector)
    assert main(["--input", str(tmp_path / "a.wav"), "--output", str(out)], backend) == 1
    message = capsys.readouterr().err
    assert "no room for openai/whisper-base" in message
    assert "Traceback" not in message
    assert not (out / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("flags", "beam_args", "finished", "expected"),
    [
        ({}, [], False, True),
        ({}, [], True, False),
        ({"overwrite": True}, [], True, True),
        ({"dry_run": True}, [], False, False),
        ({"partial": True}, [], False, False),
        ({"runner": "FlinkRunner"}, [], False, False),
        ({}, ["--direct_running_mode", "multi_processing"], False, False),
    ],
)
def test_the_model_is_loaded_ahead_where_this_process_needs_it(
    flags: dict[str, Any], beam_args: list[str], finished: bool, expected: bool, out: Path
) -> None:
    if finished:
        out.mkdir()
        (out / "_SUCCESS").touch()
    options = TranscribeOptions(input=("a.wav",), output=str(out), **flags)
    assert loads_here(options, beam_args) is expected


def test_loading_starts_before_beam_is_imported_and_a_remote_launcher_imports_no_jax(
    tmp_path: Path, out: Path
) -> None:
    program = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from pipelines.backend import WHISPER\n"
        "from pipelines.transcribe import main\n"
        "def start(options): print('started', 'apache_beam' in sys.modules, options.beam_size)\n"
        "main(sys.argv[1:], replace(WHISPER, start_loading=start))\n"
        "print('apache_beam' in sys.modules, 'pandas' in sys.modules, 'jax' in sys.modules)\n"
    )

    def printed(*flags: str) -> list[str]:
        command = [sys.executable, "-c", program, str(tmp_path / "no.wav"), "-o", str(out), *flags]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert printed("--beam_size", "2") == ["started False 2", "True False False"]
    pandas = str(importlib.util.find_spec("pandas") is not None)
    assert printed("--runner", "FlinkRunner") == [f"True {pandas} False"]


def load_interrupted(settings: ModelOptions) -> ToneTranscriber:
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("the signal was lost")


def test_ctrl_c_prints_how_to_continue_and_exits_with_130(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    backend = Backend(load_interrupted, languages_of, ToneDetector)
    assert main(["--input", str(tmp_path / "a.wav"), "--output", str(out)], backend) == 130
    assert "To resume it, give the same command again." in capsys.readouterr().err
    assert json.loads((out / "progress.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize("module", ["pipelines.options", "model.interface", "apache_beam", "pyarrow.parquet"])
def test_ctrl_c_during_imports_shows_no_traceback(module: str, tmp_path: Path) -> None:
    program = (
        "import runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"sys.argv = ['transcribe', '--input', 'a.wav', '--output', {str(tmp_path / 'out')!r}]\n"
        "runpy.run_module('pipelines.transcribe', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr == f"{INTERRUPTED}\n"


class InterruptedTranscriber(ToneTranscriber):
    max_concurrent_calls = 1
    arithmetic = ""
    compile_s = 0.0

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        CALLS.append(len(requests))
        if len(CALLS) == 1:
            signal.raise_signal(signal.SIGINT)
        assert STOP.wait(30)  # the main thread gets the signal when Python comes to it
        return super().transcribe(requests)


CALLS: list[int] = []


def test_after_ctrl_c_no_further_batch_is_started(tmp_path: Path, out: Path) -> None:
    CALLS.clear()
    write_talk(tmp_path / "a.wav", 10)
    backend = Backend(lambda _: InterruptedTranscriber(1), languages_of, ToneDetector)
    flags = ["--windows=grid", "--chunk_length_s=1", "--stride_length_s=0"]
    assert main(["--input", str(tmp_path / "a.wav"), "--output", str(out), *flags], backend) == 130
    assert 1 <= len(CALLS) < 10
    assert not (out / "_SUCCESS").exists()


def full_disk(where: str, number: int) -> Callable[..., IO[Any]]:
    """`Path.open`, but files with `where` in their name cannot be written."""
    really_open = Path.open

    class Full(io.BufferedWriter):
        def write(self, content: object) -> int:
            raise OSError(number, os.strerror(number))

    def opened(path: Path, *args: Any, **named: Any) -> IO[Any]:  # noqa: ANN401  # what `Path.open` takes
        file = really_open(path, *args, **named)
        if path.suffix != PARTIAL_SUFFIX or where not in str(path):
            return file
        assert isinstance(file, io.BufferedWriter)
        return Full(file.detach())

    return opened


@pytest.mark.parametrize("where", ["parquet/", "failures/", "srt/", "out/.report.html", "out/.run.json"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_with_one_message(
    where: str,
    number: int,
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    flags = ["--format", "parquet,srt"]
    with monkeypatch.context() as full:
        full.setattr(Path, "open", full_disk(where, number))
        assert run(f"{tmp_path}/*.wav", out, *flags) == 1
    printed = capsys.readouterr().err
    (sentence,) = (line for line in printed.splitlines() if not line.startswith("WARNING"))
    assert sentence.startswith(f"The run failed: {out}/")
    assert f"cannot be written: {os.strerror(number)}" in sentence
    assert "while running" not in sentence
    assert not (out / "_SUCCESS").exists()
    assert not list(out.rglob(f"*{PARTIAL_SUFFIX}"))
    assert json.loads((out / "progress.json").read_text())["state"] == "failed"
    assert run(f"{tmp_path}/*.wav", out, *flags) == 2
    assert (out / "_SUCCESS").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_to_write(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    out.mkdir(mode=0o500)
    assert run(tmp_path / "a.wav", out) == 1
    assert f"--output {out} cannot be written: Permission denied" in capsys.readouterr().err


def test_an_output_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (tmp_path / "file").touch()
    assert run(tmp_path / "a.wav", tmp_path / "file/out") == 1
    assert capsys.readouterr().err == (
        f"The run failed: --output {tmp_path}/file/out cannot be written: Not a directory\n"
    )


HEAVY = ("apache_beam", "datasets", "flax", "jax", "jaxlib", "pyarrow", "scipy", "tokenizers", "transformers")
NO_MODEL = ("flax", "jax", "jaxlib", "transformers")  # an unknown option: only Beam is needed to tell


@pytest.mark.parametrize(
    ("argv", "exit_code", "expected", "not_imported"),
    [
        (["--help"], 0, "--stride_length_s SECONDS", HEAVY),
        (["a.wav", "-o", "out", "--flink_master", "h:1", "b.wav"], 1, "b.wav: belongs to no option", HEAVY),
        (["--input", "a.wav"], 1, "required: --output", HEAVY),
        (["--input", "a.wav", "--output", "out", "--dtype", "bfloat"], 1, "did you mean bfloat16?", HEAVY),
        (["--input", "a.wav", "--output", "out", "--batch_size", "many"], 1, "invalid int value", HEAVY),
        (["--input", "a.wav", "--output", "out", "--dtpe", "float32"], 1, "did you mean --dtype?", NO_MODEL),
    ],
)
def test_help_and_refusals_need_none_of_the_heavy_libraries(
    argv: list[str], exit_code: int, expected: str, not_imported: tuple[str, ...]
) -> None:
    program = (
        "import sys\n"
        "from pipelines.transcribe import main\n"
        f"try: code = main({argv!r})\n"
        "except SystemExit as stop: code = stop.code or 0\n"
        f"imported = set({not_imported!r}) & set(sys.modules)\n"
        "assert not imported, imported\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr, done.stderr
    assert done.returncode == exit_code, done.stderr
    assert expected in done.stdout + done.stderr


def test_a_log_level_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "chatty")
    assert run(tmp_path / "a.wav", tmp_path / "out") == 1
    assert "LOG_LEVEL=CHATTY in the environment: not one of CRITICAL" in capsys.readouterr().err


def test_lists_and_single_names_are_accepted_in_python() -> None:
    options = TranscribeOptions(input=["https://u:p@h/x.wav"], output="out", format="jsonl")  # type: ignore[arg-type]
    assert (options.input, options.format) == (("https://u:p@h/x.wav",), ("jsonl",))
    assert public_options(options)["input"] == ["https://h/x.wav"]


@pytest.mark.parametrize("flags", [["--input", "a.wav", "--output", ""], ["--input", "", "--output", "out"]])
def test_an_empty_name_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags, TONES) == 1
    assert "is empty: is a variable of your shell not set?" in capsys.readouterr().err


def test_recordings_as_arguments_and_short_flags(tmp_path: Path, out: Path) -> None:
    talks = [write_talk(tmp_path / f"{name}.wav", 2) for name in "ab"]
    assert main([str(talks[0]), "--word-timestamps=false", str(talks[1]), "-o", str(out)], TONES) == 0
    assert json.loads((out / "run.json").read_text())["counts"]["recordings"] == 2


def test_an_alias_of_a_model_is_the_same_run(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--model", "base") == 0
    report = json.loads((out / "run.json").read_text())
    assert report["options"]["model"] == "openai/whisper-base"
    assert {row["model"] for row in rows(out)} == {"openai/whisper-base"}
    before = snapshot(out)
    assert run(tmp_path / "a.wav", out, "--model", "openai/whisper-base") == 0
    assert snapshot(out) == before
