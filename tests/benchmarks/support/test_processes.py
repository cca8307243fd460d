import resource
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support.processes import run_measured

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
HOLD = "import time; held = bytearray({} * 10**6); time.sleep(1)"


def test_output_and_times_of_a_process() -> None:
    measured = run_measured([sys.executable, "-c", "import time; time.sleep(0.3); print('done')"])
    assert measured.stdout == "done\n"
    assert 0.3 <= measured.wall_s < 10
    assert measured.largest_mb > 1


def test_environment_variables_are_passed_on() -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['SOMETHING_OF_OURS'])"]
    assert run_measured(command, {"SOMETHING_OF_OURS": "here"}).stdout == "here\n"


@needs_proc
def test_memory_includes_child_processes() -> None:
    child = f"[sys.executable, '-c', {HOLD.format(300)!r}]"
    program = f"import subprocess, sys; held = bytearray(200 * 10**6); subprocess.run({child})"
    measured = run_measured([sys.executable, "-c", program])
    assert 500 < measured.tree_mb < 650
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    assert 300 < measured.largest_mb < max(400, 1.1 * own_mb)
    assert measured.processes == 2


@needs_proc
def test_peak_memory_is_that_of_the_process_itself() -> None:
    held = bytearray(300 * 10**6)
    program = (
        "from benchmarks.support.processes import peak_mb\n"
        "b = bytearray(100 * 10**6); del b; print(peak_mb())"
    )
    assert 100 < float(run_measured([sys.executable, "-c", program]).stdout) < len(held) / 1e6


def test_failed_process_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_measured([sys.executable, "-c", "raise SystemExit(3)"])
