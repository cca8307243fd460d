"""A program ends by itself, whatever happened in a run: errors, signals, interrupts while workers end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
POOLS = ("_Worker ", "Thread model-call_")
"""Threads that are kept for the next run."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def outcomes(folder: Path, workers: str, program: str, *failures: str) -> dict[str, dict[str, Any]]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.broken_runs", str(folder), workers, program, *failures],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
    )
    found: dict[str, dict[str, Any]] = json.loads(child.stdout)
    return found


def exit_codes(found: dict[str, dict[str, Any]]) -> dict[str, int | None]:
    assert [name for name, one in found.items() if one["processes"]] == []
    return {name: one["code"] for name, one in found.items()}


def left_threads(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Returns the threads that each failure left, without those that are kept for the next run."""
    left = {
        name: [thread for thread in one["threads"] if not thread.startswith(POOLS)][1:]
        for name, one in found.items()
    }
    return {name: threads for name, threads in left.items() if threads}


def test_the_command_ends_with_its_worker_in_the_same_thread(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "memory", "run", "do_fn", "runner", "sigint", "sigterm", "while_bundles_end")
    assert exit_codes(found) == {
        "do_fn": 1, "runner": 1, "sigint": 130, "sigterm": 143, "while_bundles_end": 130,
    }  # fmt: skip
    assert left_threads(found) == {}


def test_the_command_ends_with_workers_in_threads(tmp_path: Path) -> None:
    failures = ("do_fn", "runner", "sigint", "sigterm", "while_workers_end", "while_bundles_end")
    found = outcomes(tmp_path, "threads", "run", *failures)
    assert exit_codes(found) == {
        "do_fn": 1, "runner": 1, "sigint": 130, "sigterm": 143,
        "while_workers_end": 130, "while_bundles_end": 130,
    }  # fmt: skip
    assert left_threads({name: found[name] for name in ("do_fn", "runner")}) == {}
    threads = [thread for one in found.values() for thread in one["threads"]]
    assert not any(thread.startswith("PeriodicThread") for thread in threads)


def test_the_command_ends_with_workers_in_processes(tmp_path: Path) -> None:
    failures = ("do_fn", "runner", "sigterm", "while_workers_start", "while_workers_end", "while_servers_end")
    found = outcomes(tmp_path, "processes", "run", *failures)
    assert exit_codes(found) == {
        "do_fn": 1, "runner": 1, "sigterm": 143,
        "while_workers_start": 130, "while_workers_end": 130, "while_servers_end": 130,
    }  # fmt: skip
    assert left_threads({name: found[name] for name in ("do_fn", "runner")}) == {}


@pytest.mark.parametrize(
    ("workers", "failures"),
    [
        ("memory", ("do_fn", "sigint")),
        ("threads", ("do_fn", "runner", "sigint", "while_workers_end")),
        ("processes", ("do_fn", "while_workers_end")),
    ],
)
def test_a_pipeline_of_a_user_ends(workers: str, failures: tuple[str, ...], tmp_path: Path) -> None:
    found = outcomes(tmp_path, workers, "transform", *failures)
    # Python ends with 1 for an exception, and with SIGINT for an interrupt that was not caught.
    assert all(code in (1, -2) for code in exit_codes(found).values())
