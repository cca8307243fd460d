"""What a test starts, watches and kills: runs, job servers, pools of workers. All ends with the test."""

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

from tests.support.runner_program import ASKED, LOADED
from tests.support.tone_backend import snapshot, write_talk

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
LIMIT_S = 120.0
TOLD_TIMES = ("run.json", "report.html", "progress.json")


@dataclass(frozen=True)
class Started:
    """A process in a group of its own, and the file that it says things in."""

    process: subprocess.Popen[bytes]
    said: Path

    def end(self) -> tuple[int, str]:
        """Waits; gives the exit code and what was said."""
        return self.process.wait(LIMIT_S), self.said.read_text()

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Sends a signal to all of the group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal_number)


@dataclass
class Bench:
    """A folder with talks, and the processes that a test has started."""

    folder: Path
    started: list[Started] = field(default_factory=list)

    def write_talks(self, n: int = 8) -> None:
        """Talks of several lengths and languages, one with a second that no model can take, one broken."""
        talks = self.folder / "talks"
        for number in range(n):
            write_talk(talks / f"{number}.wav", 20 + 13 * number)
        write_talk(talks / "french.wav", 70, french_from=20)
        write_talk(talks / "poison.wav", 70, poison=3)
        (talks / "broken.wav").write_bytes(b"nonsense")

    def start(self, *command: str) -> Started:
        """Starts a program."""
        said = self.folder / f"said{len(self.started)}.txt"
        # A pool of workers starts whatever is called `python`.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        self.started.append(Started(process, said))
        return self.started[-1]

    def run(self, name: str, *flags: str, talks: bool = True) -> Started:
        """Starts a run, of the talks unless told, that writes to the folder `name`."""
        for notes in (ASKED, LOADED):
            (self.folder / notes).unlink(missing_ok=True)
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
        """Starts a pool of workers; gives its address."""
        port = free_port()
        module = "apache_beam.runners.worker.worker_pool_main"
        self.start(sys.executable, "-m", module, "--service_port", f"{port}")
        return wait_for_port(port)

    def wait_for_batches(self, n: int) -> list[int]:
        """Waits until the model was asked so often; gives the processes that did."""
        wait_until(lambda: len(self.notes(ASKED)) >= n)
        return sorted({int(line.split()[0]) for line in self.notes(ASKED)})

    def windows_asked(self) -> int:
        """How many windows the model was given since the last run began."""
        return sum(int(line.split()[1]) for line in self.notes(ASKED))

    def notes(self, name: str) -> list[str]:
        """The lines of a file of notes, none where there is no file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def files(self, name: str) -> dict[str, bytes]:
        """What a run wrote, without what tells how long it took."""
        found = snapshot(self.folder / name)
        return {path: content for path, content in found.items() if path not in TOLD_TIMES}

    def report(self, name: str) -> dict[str, Any]:
        """`run.json` of a run."""
        told: dict[str, Any] = json.loads((self.folder / name / "run.json").read_text())
        return told

    def is_idle(self) -> bool:
        """Whether the model is not asked for a second."""
        before = len(self.notes(ASKED))
        time.sleep(1)
        return len(self.notes(ASKED)) == before

    def assert_same(self, name: str) -> None:
        """The files are those of the local runner to the byte, and what was counted is the same."""
        assert self.files(name) == self.files("direct")
        counts, expected = self.report(name)["counts"], self.report("direct")["counts"]
        assert {**counts, "done_before": 0} == expected

    def assert_goes_on(self, name: str, *flags: str) -> None:
        """The same command again loses nothing and doubles nothing, and does only what is left."""
        code, said = self.run(name, *flags).end()
        assert code == 2, said
        self.assert_same(name)
        assert self.report(name)["counts"]["done_before"] > 0

    def close(self) -> None:
        """Kills what is still there."""
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
        """Starts it; workers import what the tests have pickled."""
        self._script("start", f"{self.n_task_managers}")

    def stop(self) -> None:
        """Ends all of it."""
        self._script("stop")

    def flags(self) -> list[str]:
        """What a run is given, with a job server that asks for little memory."""
        return [*self._script("options").split(), "--job_server_jvm_properties=-Xmx512m"]

    def kill_task_manager(self) -> None:
        """Kills one with -9."""
        group = int((self.folder / "taskmanager-1.pid").read_text())
        for child in children(group):
            os.kill(child, signal.SIGKILL)

    def is_idle(self) -> bool:
        """Whether no job is running."""
        with urlopen(f"http://localhost:{self.port}/overview", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
        return told["jobs-running"] == 0

    def _script(self, *arguments: str) -> str:
        said = subprocess.run(
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
        return said.stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


def wait_for_port(port: int) -> str:
    """Waits until somebody listens there; gives the address."""

    def listens() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("localhost", port)) == 0

    wait_until(listens)
    return f"localhost:{port}"


def wait_until(true: Callable[[], bool]) -> None:
    """Waits, but not for ever."""
    ends = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    told = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    found = [int(child) for child in told.split()]
    others = Path(f"/proc/{parent}/task").iterdir()
    for task in others:
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(found))
