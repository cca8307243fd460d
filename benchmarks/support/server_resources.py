"""Resources of the server: after many mixed requests, and for a very long recording."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import sleep

import numpy as np
import soundfile as sf

from benchmarks.support.clips import SAMPLE_RATE, read_clip
from benchmarks.support.http_clients import in_parallel, transcribe, upload
from benchmarks.support.recordings import Recording
from benchmarks.support.server_process import Figures, PeakMemory, ServerCommand, ServerProcess
from benchmarks.support.server_speed import ENGLISH, checked
from benchmarks.support.timing import markdown_head, markdown_row

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
N_FIRST = 100
BROKEN, CANCELLED = 0.05, 0.05
"""Fractions of the requests."""
CANCELLED_STATUS = 0
_SETTLE_S = 12.0  # idle threads that wait for the disk or a name end after 10 s


def leaks(
    command: ServerCommand, clips: Sequence[Recording], n_clients: int, n_requests: int
) -> Iterator[str]:
    """Yields a table: memory, descriptors, threads and files after 100 mixed requests, and after all."""
    yield markdown_head(
        ["requests", "statuses", "memory, MB", "descriptors", "threads", "files", "open uploads"]
    )
    jobs = list(_mixed(clips, n_requests))
    statuses: Counter[int] = Counter()
    with command.start() as server:
        done = 0
        for stop in (N_FIRST, n_requests):
            statuses.update(in_parallel(n_clients, [partial(job, server) for job in jobs[done:stop]]))
            done = stop
            sleep(_SETTLE_S)
            yield _row(stop, statuses, server.figures())


def long_file(command: ServerCommand, clip: Recording, recording: Recording) -> Iterator[str]:
    """Yields a table: memory when idle, and its peak while a long recording is transcribed."""
    with command.start() as server:
        checked(transcribe(server.port, clip.path, **ENGLISH))
        sleep(_SETTLE_S)
        idle_mb = server.figures().memory_mb
        with PeakMemory(server) as peak:
            answer = checked(
                transcribe(server.port, recording.path, response_format="verbose_json", **ENGLISH)
            )
    yield markdown_head(["hours", "minutes taken", "idle, MB", "peak, MB", "difference, MB (250)"])
    times = [f"{recording.duration_s / 3600:.1f}", f"{answer.seconds / 60:.1f}"]
    yield markdown_row([*times, f"{idle_mb:.0f}", f"{peak.mb:.0f}", f"{peak.mb - idle_mb:.0f}"])


def make_long(clip: Path, hours: float, speech: float, path: Path) -> Recording:
    """Writes a recording in FLAC that repeats a clip, with silence in between.

    Args:
        clip: the clip.
        hours: minimum duration.
        speech: fraction of the duration that is the clip.
        path: file to write.
    """
    samples = read_clip(clip)
    pause = np.zeros(round(len(samples) * (1 / speech - 1)), np.float32)
    n_samples = 0
    with sf.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        while n_samples < hours * 3600 * SAMPLE_RATE:
            for part in (samples, pause):
                file.write(part)
                n_samples += len(part)
    return Recording(path, n_samples / SAMPLE_RATE)


def _row(n_requests: int, statuses: Counter[int], figures: Figures) -> str:
    counted = ", ".join(f"{n} x {status or 'cancelled'}" for status, n in sorted(statuses.items()))
    resources = [figures.n_descriptors, figures.n_threads, figures.n_files, figures.n_unlinked]
    return markdown_row([n_requests, counted, f"{figures.memory_mb:.0f}", *resources])


def _mixed(clips: Sequence[Recording], n_requests: int) -> Iterator[Callable[[ServerProcess], int]]:
    """Yields requests, the same in each run: each returns its status."""
    chosen = random.Random(0)
    for _ in range(n_requests):
        clip, response_format, kind = chosen.choice(clips), chosen.choice(FORMATS), chosen.random()
        if kind < BROKEN:
            yield partial(_broken, clip.path, chosen.random())
        elif kind < BROKEN + CANCELLED:
            yield partial(_cancelled, clip.path, chosen.uniform(0.0, 1.0))
        else:
            yield partial(_answered, clip.path, response_format)


def _answered(path: Path, response_format: str, server: ServerProcess) -> int:
    return transcribe(server.port, path, response_format=response_format, **ENGLISH).status


def _broken(path: Path, fraction: float, server: ServerProcess) -> int:
    """Sends a clip without its header, from somewhere in its middle on."""
    content = path.read_bytes()
    return transcribe(server.port, content[100 + round(fraction * len(content) / 2) :], **ENGLISH).status


def _cancelled(path: Path, pause_s: float, server: ServerProcess) -> int:
    with closing(upload(server.port, path, **ENGLISH)):
        sleep(pause_s)
    return CANCELLED_STATUS
