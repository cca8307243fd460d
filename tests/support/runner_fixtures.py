"""Processes that tests start, watch and kill: runs, job servers, worker pools. All end with the test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.runner_program import LOAD_LOG, REQUEST_LOG
from tests.support.tone_backend import snapshot, write_talk

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
LIMIT_S = 120.0
CACHE = Path.home() / ".cache/whisper-beam"  # kept between test sessions, as building Prism takes minutes
TIMED_FILES = ("run.json", "report.html", "progress.json")


@dataclass(frozen=True)
class Started:
    """A process in its own process group, and the file with its standard error."""

    process: subprocess.Popen[bytes]
    stderr: Path

    def end(self) -> tuple[int, str]:
        """Waits for the process; returns its exit code and its standard error."""
        return self.process.wait(LIMIT_S), self.stderr.read_text()

    def is_left(self) -> bool:
        """Whether a process of the group is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Sends a signal to the process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal_number)


@dataclass
class RunnerHarness:
    """Folder with talks, and the processes that a test has started."""

    folder: Path
    started: list[Started] = field(default_factory=list)

    def write_talks(self, n: int = 8) -> None:
        """Writes talks of several lengths and languages, one that the model fails on, and one broken file."""
        talks = self.folder / "talks"
        for number in range(n):
            write_talk(talks / f"{number}.wav", 20 + 13 * number)
        write_talk(talks / "french.wav", 70, french_from=20)
        write_talk(talks / "poison.wav", 70, poison=3)
        (talks / "broken.wav").write_bytes(b"nonsense")

    def start(self, *command: str) -> Started:
        """Starts a program."""
        stderr = self.folder / f"stderr{len(self.started)}.txt"
        # A worker pool starts the `python` of the PATH.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with stderr.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        self.started.append(Started(process, stderr))
        return self.started[-1]

    def run(self, name: str, *flags: str, talks: bool = True) -> Started:
        """Starts a run that writes to the folder `name`; `talks` adds the talks as its input."""
        for log in (REQUEST_LOG, LOAD_LOG):
            (self.folder / log).unlink(missing_ok=True)
        output = ["--output", str(self.folder / name), "--format", "parquet,jsonl,srt"]
        talks_flags = ["--input", str(self.folder / "talks")] if talks else []
        return self.start(
            sys.executable,
            "-m",
            "tests.support.runner_program",
            str(self.folder),
            *talks_flags,
            *output,
            *flags,
        )

    def pool(self) -> str:
        """Starts a worker pool; returns its address."""
        port = free_port()
        module = "apache_beam.runners.worker.worker_pool_main"
        self.start(sys.executable, "-m", module, "--service_port", f"{port}")
        return wait_for_port(port)

    def wait_for_batches(self, n: int) -> list[int]:
        """Waits until the model was called `n` times; returns the ids of the calling processes."""
        wait_until(lambda: len(self.log_lines(REQUEST_LOG)) >= n)
        return sorted({int(line.split()[0]) for line in self.log_lines(REQUEST_LOG)})

    def n_windows_requested(self) -> int:
        """Returns the number of windows passed to the model since the last run started."""
        return sum(int(line.split()[1]) for line in self.log_lines(REQUEST_LOG))

    def log_lines(self, name: str) -> list[str]:
        """Returns the lines of a log; none if it does not exist."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def files(self, name: str) -> dict[str, bytes]:
        """Returns the files that a run wrote, without those that contain times of the run."""
        found = snapshot(self.folder / name)
        return {path: content for path, content in found.items() if path not in TIMED_FILES}

    def report(self, name: str) -> dict[str, Any]:
        """Returns `run.json` of a run."""
        content: dict[str, Any] = json.loads((self.folder / name / "run.json").read_text())
        return content

    def is_idle(self) -> bool:
        """Whether the model is not called during a second."""
        before = len(self.log_lines(REQUEST_LOG))
        time.sleep(1)
        return len(self.log_lines(REQUEST_LOG)) == before

    def assert_same(self, name: str) -> None:
        """Asserts that files and counts equal those of the local runner, the files to the byte."""
        assert self.files(name) == self.files("direct")
        counts, expected = self.report(name)["counts"], self.report("direct")["counts"]
        assert {**counts, "done_before": 0} == expected

    def assert_resumes(self, name: str, *flags: str) -> None:
        """Asserts that the same command again does the rest, and that nothing is lost or done twice."""
        code, stderr = self.run(name, *flags).end()
        assert code == 2, stderr
        self.assert_same(name)
        assert self.report(name)["counts"]["done_before"] > 0

    def close(self) -> None:
        """Kills all processes."""
        for one in self.started:
            one.kill()
            one.process.wait(LIMIT_S)


@dataclass
class Cluster:
    """A Flink cluster that `scripts/flink_local.sh` starts.

    Attributes:
        folder: for its logs.
        n_task_managers: each of one slot.
    """

    folder: Path
    n_task_managers: int
    port: int = field(default_factory=lambda: free_port())

    def start(self) -> None:
        """Starts the cluster; its workers can import modules of the tests."""
        self._script("start", f"{self.n_task_managers}")

    def stop(self) -> None:
        """Stops the cluster."""
        self._script("stop")

    def flags(self) -> list[str]:
        """Returns the options of a run on the cluster, with a job server that needs little memory."""
        return [*self._script("options").split(), "--job_server_jvm_properties=-Xmx512m"]

    def kill_task_manager(self) -> None:
        """Kills a task manager with SIGKILL."""
        group = int((self.folder / "taskmanager-1.pid").read_text())
        for child in children(group):
            os.kill(child, signal.SIGKILL)

    def is_idle(self) -> bool:
        """Whether no job is running."""
        with urlopen(f"http://localhost:{self.port}/overview", timeout=5) as answer:
            overview: dict[str, Any] = json.load(answer)
        return overview["jobs-running"] == 0

    def _script(self, *arguments: str) -> str:
        done = subprocess.run(
            [SCRIPTS / "flink_local.sh", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "FLINK_FOLDER": str(self.folder),
                "FLINK_PORT": f"{self.port}",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout


def free_port() -> int:
    """Returns a port that is not in use."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


def wait_for_port(port: int) -> str:
    """Waits until a server listens on the port; returns its address."""

    def is_open() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("localhost", port)) == 0

    wait_until(is_open)
    return f"localhost:{port}"


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds, at most `LIMIT_S`."""
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    """Returns the ids of the child processes."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    found = [int(child) for child in text.split()]
    others = Path(f"/proc/{parent}/task").iterdir()
    for task in others:
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(found))
