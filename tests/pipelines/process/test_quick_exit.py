from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading
from pipelines.process.quick_exit import exit_quickly
threading.Thread(target=threading.Event().wait).start()
atexit.register(print, "ended", end="")
print("output", end=" ")
print("error", end="", file=sys.stderr)
exit_quickly(int(sys.argv[1]))
"""


@pytest.mark.parametrize("exit_code", [0, 2, 130])
def test_exit_handlers_run_and_output_is_written_while_a_thread_still_runs(exit_code: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(exit_code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "output ended", "error")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", PROGRAM, "0"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, env=buffered, check=False, timeout=60)
    assert done.returncode == 120
