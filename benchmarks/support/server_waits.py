"""Waits at the server under load: a clip beside a long upload, /health, the start, and cancelled requests."""

from __future__ import annotations

import math
import random
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.support.http_clients import get, in_parallel, transcribe, upload, upload_silence
from benchmarks.support.recordings import Recording
from benchmarks.support.server_process import ServerCommand, ServerProcess
from benchmarks.support.server_speed import ENGLISH, checked
from benchmarks.support.timing import Spread, in_turn, markdown_head, markdown_row

N_CLIPS = 30
"""Clips sent one at a time for a 95th percentile."""
GIGABYTE = 10**9
_PROBE_S = 0.02


def beside_upload(command: ServerCommand, clip: Recording, long: Recording, repeat: int) -> Iterator[str]:
    """Yields a table: the 95th percentile of a clip alone and while a long recording is transcribed."""

    def alone() -> float:
        seconds = [checked(transcribe(server.port, clip.path, **ENGLISH)).seconds for _ in range(N_CLIPS)]
        return percentile(seconds, 0.95)

    def beside() -> float:
        with closing(upload(server.port, long.path, **ENGLISH)):
            server.wait_for_uploads(1)
            sleep(2.0)  # until it fills the batches
            found = alone()
        server.wait_for_uploads(0)
        return found

    with command.start() as server:
        alone()
        without, with_upload = (Spread.of(seconds) for seconds in in_turn([alone, beside], repeat))
    title = f"p95 beside {long.duration_s / 3600:.1f} h, s"
    yield markdown_head(["options", "p95 alone, s", title, "times alone (3)"])
    times = f"{with_upload.median / without.median:.2f}"
    yield markdown_row([command, without, with_upload, times])


def health(command: ServerCommand, clips: Sequence[Recording], n_clients: int) -> Iterator[str]:
    """Yields a table: the time of /health while it is idle, under load, and beside uploads of 1 GB."""
    yield markdown_head(["load", "probes", "p50, ms", "p99, ms (50)", "largest, ms"])
    with command.start() as server:
        jobs = [partial(_status, server, clip) for clip in clips]
        in_parallel(n_clients, jobs[:n_clients])
        with _Probes(server) as probes:
            sleep(5.0)
        yield probes.row("none")
        with _Probes(server) as probes:
            in_parallel(n_clients, jobs)
        yield probes.row(f"{n_clients} clients")
        upload_gigabyte = partial(upload_silence, server.port, GIGABYTE)
        with _Probes(server) as probes:
            first, *_, last = in_parallel(n_clients + 1, [upload_gigabyte, *jobs, upload_gigabyte])
        early = sorted({first, last} - {0})
        yield probes.row(f"{n_clients} clients, 2 x 1 GB" + (f" (answered early: {early})" if early else ""))


def start(command: ServerCommand, repeat: int) -> Iterator[str]:
    """Yields a table: seconds to /health and /ready with a warm cache, and whether Beam was imported."""
    with command.start():
        pass
    starts = []
    for _ in range(repeat):
        with command.start() as server:
            starts.append((server.health_s, server.ready_s))
    with command.start(["-X", "importtime"]) as server:
        pass
    beam = "yes" if "apache_beam" in server.errors else "no"
    yield markdown_head(["options", "/health, s (1)", "/ready, s (5)", "Beam imported (no)"])
    yield markdown_row([command, *(Spread.of(times) for times in zip(*starts, strict=True)), beam])


def cancel(command: ServerCommand, long: Path, n_cancelled: int) -> Iterator[str]:
    """Yields a table: the time until a cancelled request's file is closed, and what is left of all."""
    pauses, closed = random.Random(0), list[float]()
    with command.start() as server:
        _cancel_one(server, long, 1.0)
        before = server.figures()
        for _ in range(n_cancelled):
            closed.append(_cancel_one(server, long, pauses.uniform(0.05, 1.5)))
        sleep(5.0)
        cpu_s = server.cpu_s()
        sleep(2.0)
        busy, after = (server.cpu_s() - cpu_s) / 2, server.figures()
    yield markdown_head(
        [
            "cancelled",
            "until the file is closed, s (0.5)",
            "largest, s",
            "cores busy 5 s later",
            "memory, MB",
            "descriptors",
            "threads",
            "files",
        ]
    )
    yield markdown_row(
        [
            n_cancelled,
            f"{statistics.median(closed):.3f}",
            f"{max(closed):.3f}",
            f"{busy:.2f}",
            f"{before.memory_mb:.0f} to {after.memory_mb:.0f}",
            f"{before.n_descriptors} to {after.n_descriptors}",
            f"{before.n_threads} to {after.n_threads}",
            f"{before.n_files} to {after.n_files}",
        ]
    )


def percentile(values: Sequence[float], fraction: float) -> float:
    """Returns the smallest value that is not exceeded by this fraction of the values."""
    return sorted(values)[max(math.ceil(fraction * len(values)) - 1, 0)]


def _status(server: ServerProcess, clip: Recording) -> int:
    return transcribe(server.port, clip.path, **ENGLISH).status


def _cancel_one(server: ServerProcess, long: Path, pause_s: float) -> float:
    with closing(upload(server.port, long, **ENGLISH)):
        server.wait_for_uploads(1)
        sleep(pause_s)
    return server.wait_for_uploads(0)


class _Probes:
    """Asks for /health every 20 ms during the block, each time over a new connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._server, self._over = server, threading.Event()
        self._seconds = list[float]()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Probes:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def row(self, load: str) -> str:
        """Returns the row of a table."""
        found = [percentile(self._seconds, fraction) for fraction in (0.5, 0.99, 1.0)]
        return markdown_row([load, len(self._seconds), *(f"{1000 * seconds:.1f}" for seconds in found)])

    def _ask(self) -> None:
        while not self._over.is_set():
            started = perf_counter()
            try:
                checked(get(self._server.port, "/health"))
                self._seconds.append(perf_counter() - started)
            except OSError:
                self._seconds.append(math.inf)
            self._over.wait(_PROBE_S)
