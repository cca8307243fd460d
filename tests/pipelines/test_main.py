"""The installed command, in subprocesses, and its own answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from pipelines.main import COMMANDS, main
from tests.support.finished_runs import row, write_run

PROGRAM = str(Path(sysconfig.get_path("scripts"), "whisper-beam"))
HEAVY = (
    *("apache_beam", "datasets", "flax", "fsspec", "jax", "numpy", "pyarrow", "starlette", "tokenizers"),
    *("transformers", "uvicorn"),
)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A user's folder with modules that are called like ours."""
    for name in ("model.py", "transforms/__init__.py", "argparse.py", "logging.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('the wrong module was imported')\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "usage: whisper-beam COMMAND"),
        (["--version"], f"whisper-beam {version('whisper-beam')}\n"),
        (["transcribe", "--help"], "usage: whisper-beam transcribe [RECORDING ...] -o DIR"),
        (["transcribe", "--version"], f"whisper-beam {version('whisper-beam')}\n"),
        (["evaluate", "--help"], "usage: whisper-beam evaluate"),
        (["evaluate", "--version"], f"whisper-beam {version('whisper-beam')}\n"),
        (["serve", "--help"], "usage: whisper-beam serve [OPTION ...]"),
        (["serve", "--version"], f"whisper-beam {version('whisper-beam')}\n"),
    ],
)
def test_the_installed_command_in_a_folder_with_modules_of_our_names(
    arguments: list[str], expected: str, hostile_folder: Path
) -> None:
    done = run(PROGRAM, *arguments, cwd=hostile_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(expected)
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["pipelines.transcribe", "pipelines.evaluate", "pipelines.main"])
def test_the_modules_in_a_folder_with_modules_of_our_names(module: str, hostile_folder: Path) -> None:
    (hostile_folder / "argparse.py").unlink()  # the standard library's are imported before any of ours
    (hostile_folder / "logging.py").unlink()
    done = run(sys.executable, "-m", module, "--help", cwd=hostile_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_a_command_does_its_work_in_such_a_folder(hostile_folder: Path) -> None:
    write_run(hostile_folder / "out", [row("/a.wav", "a b", "a b")])
    done = run(PROGRAM, "evaluate", "out", cwd=hostile_folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((hostile_folder / "out/run.json").read_text())["evaluation"]["total"]["wer"] == 0
    done = run(PROGRAM, "transcribe", "no.mp3", "-o", "new", cwd=hostile_folder)
    assert done.returncode == 1
    assert re.match(r"The run failed: .*no\.mp3", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], []),
        (["--version"], []),
        (["evaluate", "--help"], []),
        (["serve", "--help"], ["numpy"]),  # as below
        (["transcribe", "--help"], ["numpy"]),  # by `model.interface`, which declares options of decoding
    ],
)
def test_help_imports_none_of_the_heavy_libraries(
    arguments: list[str], allowed: list[str], tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from pipelines.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules) - set({allowed!r})), file=sys.stderr)\n"
    )
    assert run(sys.executable, "-c", program, cwd=tmp_path).stderr == "[]\n"


def test_help_is_shown_at_once(tmp_path: Path) -> None:
    def seconds() -> float:
        started = perf_counter()
        run(PROGRAM, "--help", cwd=tmp_path)
        return perf_counter() - started

    assert median(seconds() for _ in range(5)) < 0.3


def test_help_has_an_example_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^ +whisper-beam {command} [\w-]", text, re.MULTILINE) for command in COMMANDS)
    assert len(text.splitlines()) < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: whisper-beam COMMAND"),
        (["transcirbe", "a.mp3"], "transcirbe is not a command (did you mean transcribe?)"),
        (["talk.mp3"], "to transcribe a recording: whisper-beam transcribe talk.mp3 -o DIR"),
        (["--input", "a.mp3"], "options follow one: whisper-beam transcribe --input ..."),
    ],
)
def test_without_a_command(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_exit_codes_and_messages_are_those_of_the_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "a.mp3"]) == 1
    assert "required: --output" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("Nothing was evaluated: ")
    assert main(["serve", "--prot", "80"]) == 1
    assert capsys.readouterr().err.startswith(
        "whisper-beam serve: --prot: no such option (did you mean --port?)"
    )


def test_the_environment_of_the_caller_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    main(["--help"])
    assert sys.path == path
    assert "PYTHONSAFEPATH" not in os.environ


def test_the_process_ends_with_the_exit_code_and_all_output_without_waiting_for_threads() -> None:
    program = (
        "import atexit, sys, threading\n"
        "from pipelines import main\n"
        "def work():\n"
        "    print('worked', end='')\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
        "    atexit.register(lambda: print(' and ended', end=''))\n"
        "    return 2\n"
        "main.main = work\n"
        "sys.argv = ['whisper-beam', 'transcribe']\n"
        "main.run()\n"
    )
    done = run(sys.executable, "-c", program, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (2, "worked and ended", "")
