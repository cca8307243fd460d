from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
from pipelines.process.import_path import leave_out_working_directory
leave_out_working_directory()
print(os.environ.get("PYTHONSAFEPATH"), "" in sys.path)
"""


def run(folder: Path, *flags: str) -> str:
    command = [sys.executable, *flags, "-c", PROGRAM]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_foreign_working_directory_is_left_out_here_and_in_worker_processes(tmp_path: Path) -> None:
    assert run(tmp_path) == "1 False"
    assert run(tmp_path, "-P") == "1 False"


def test_the_checkout_itself_stays() -> None:
    assert run(ROOT) == "None True"
