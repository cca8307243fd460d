"""A server in a process of its own, and its memory, descriptors, threads and temporary files. Linux only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from types import TracebackType

from benchmarks.support.http_clients import free_port, get

START_S = 600.0  # with programs to be compiled
_STEP_S = 0.005
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)")


@dataclass(frozen=True)
class Figures:
    """Resources of a process.

    Attributes:
        memory_mb: its resident set.
        n_descriptors: open file descriptors.
        n_threads: threads.
        n_files: files and folders in its temporary folder.
        n_unlinked: descriptors of files there that have no name any more, such as uploads.
    """

    memory_mb: float
    n_descriptors: int
    n_threads: int
    n_files: int
    n_unlinked: int


@dataclass(frozen=True)
class ServerCommand:
    """A command `whisper-beam serve`.

    Attributes:
        model: name of the model.
        decoding: options that the pipeline has too.
        serving: options that only the server has.
    """

    model: str
    decoding: Sequence[str] = ()
    serving: Sequence[str] = ()

    def __str__(self) -> str:
        return " ".join([*self.decoding, *self.serving])

    def start(self, python_options: Sequence[str] = ()) -> ServerProcess:
        """Returns its process, which starts where a block begins."""
        return ServerProcess(self, python_options)


class ServerProcess:
    """The command `whisper-beam serve`, ready once the block begins, and stopped at its end.

    Attributes:
        port: its port on the loopback address.
        health_s: seconds from its start to the first answer of /health.
        ready_s: likewise of /ready.
        errors: what it has written to standard error, after its end.
    """

    def __init__(self, command: ServerCommand, python_options: Sequence[str] = ()) -> None:
        """Creates the process.

        Args:
            command: the command.
            python_options: options of the interpreter.
        """
        self.port = free_port()
        words = [sys.executable, *python_options, "-m", "pipelines.main", "serve", "--model", command.model]
        self._command = [*words, "--port", str(self.port), *command.decoding, *command.serving]
        self.health_s = self.ready_s = 0.0
        self.errors = ""

    def __enter__(self) -> ServerProcess:
        self._folder = tempfile.TemporaryDirectory()
        self._temporary = Path(self._folder.name, "tmp")
        self._temporary.mkdir()
        self._log = Path(self._folder.name, "stderr").open("w+")
        environment = {**os.environ, "TMPDIR": str(self._temporary)}
        started = perf_counter()
        self._process = subprocess.Popen(self._command, stderr=self._log, env=environment)
        try:
            self.health_s = self._answered("/health", started)
            self.ready_s = self._answered("/ready", started)
        except BaseException:
            self._process.kill()
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._end()

    def figures(self) -> Figures:
        """Returns the resources that the process uses at present."""
        folder = Path(f"/proc/{self._process.pid}")
        links = [_target(link) for link in (folder / "fd").iterdir()]
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return Figures(
            memory_mb=int(status["VmRSS"].split()[0]) * 1024 / 1e6,
            n_descriptors=len(links),
            n_threads=int(status["Threads"]),
            n_files=sum(1 for _ in self._temporary.rglob("*")),
            n_unlinked=sum(self._is_unlinked(link) for link in links),
        )

    def cpu_s(self) -> float:
        """Returns the CPU seconds of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self) -> Mapping[str, float]:
        """Returns the values of /metrics by name, summed over labels."""
        return parse_metrics(get(self.port, "/metrics").body.decode())

    def wait_for_uploads(self, n: int, timeout_s: float = 60.0) -> float:
        """Waits until it holds `n` uploads; returns the seconds.

        Raises:
            TimeoutError: it does not.
        """
        started = perf_counter()
        while self.figures().n_unlinked != n:
            if perf_counter() - started > timeout_s:
                raise TimeoutError(
                    f"{self.figures().n_unlinked} uploads are open after {timeout_s} s, not {n}"
                )
            sleep(_STEP_S)
        return perf_counter() - started

    def _answered(self, path: str, started: float) -> float:
        while perf_counter() - started < START_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server has ended: {self._read_log()}")
            try:
                if get(self.port, path).status == 200:
                    return perf_counter() - started
            except OSError:  # it does not listen yet
                pass
            sleep(_STEP_S)
        raise TimeoutError(f"{path} was not answered for {START_S} s")

    def _is_unlinked(self, link: str) -> bool:
        return link.startswith(f"{self._temporary}/") and link.endswith(" (deleted)")

    def _end(self) -> None:
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.errors = self._read_log()
        self._log.close()
        self._folder.cleanup()

    def _read_log(self) -> str:
        self._log.seek(0)
        return self._log.read()


class PeakMemory:
    """The largest resident set of a server during the block, in MB, sampled 20 times a second."""

    def __init__(self, server: ServerProcess) -> None:
        self._server, self._over = server, threading.Event()
        self.mb = 0.0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.05):
            self.mb = max(self.mb, self._server.figures().memory_mb)


def parse_metrics(text: str) -> Mapping[str, float]:
    """Returns the values of Prometheus's text format by name, summed over labels."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match:
            values[match[1]] = values.get(match[1], 0.0) + float(match[2])
    return values


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # it was closed
        return ""
