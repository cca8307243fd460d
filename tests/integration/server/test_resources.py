"""Many mixed requests leave no descriptors, threads and files. benchmarks/server_load.py sends 1,000."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import psutil
import pytest

from pipelines.server.server import Server
from tests.support.asgi import FORM
from tests.support.encoding import encoded, ffmpeg_encoded, siren
from tests.support.raw_http import TRANSCRIPTIONS, TRANSLATIONS, connected, form, get, head, post, wait_until
from tests.support.resources import CAN_MEASURE_MEMORY, Resources, memory_mb, resources
from tests.support.server_backends import COUNTING, talk
from transforms.fetch.spool import DISK

N_CLIENTS, N_REQUESTS = 8, 300
N_POOLED = 2 * N_CLIENTS + 16
"""Threads of pools: of transcriptions, of uploads, and of what else is not for the event loop."""

BROKEN, CANCELLED = 0.05, 0.05
FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
FILES = (
    talk(1),
    talk(70),
    ffmpeg_encoded(siren(5, 44_100), "ipod", "aac", 44_100),
    encoded(siren(20), fmt="FLAC"),
)
BROKEN_BODIES = (
    form(b"<html>" * 10_000),
    form(talk(2))[:-100],
    form(talk(2), [("language", "klingon")]),
    form(None),
    form(talk(2)[:44]),
    form(encoded(siren(2), fmt="FLAC")[:42]),
)
LARGE = form(bytes(3 << 20))
"""More than a spool keeps in memory: it is in a file on the disk."""

Request = Callable[[int], int]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with a folder of its own for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Server(backend=COUNTING, model="m", port=0, max_requests=N_CLIENTS) as server:
        yield server


def answered(chosen: random.Random) -> Request:
    fields = [("response_format", chosen.choice(FORMATS)), ("language", chosen.choice(("", "en", "fr")))]
    if fields[0][1] in ("json", "verbose_json") and chosen.random() < 0.3:
        fields.append(("stream", "true"))
    body = form(chosen.choice(FILES), fields)
    path = chosen.choice((TRANSCRIPTIONS, TRANSLATIONS))
    return lambda port: post(port, body, path=path).status


def broken(chosen: random.Random) -> Request:
    body = chosen.choice((*BROKEN_BODIES, LARGE))
    return lambda port: post(port, body).status


def cancelled(chosen: random.Random) -> Request:
    """Leaves while it sends, when it has sent everything, or when the first bytes have come."""
    body = chosen.choice((form(FILES[1], [("stream", "true"), ("language", "en")]), LARGE))
    fraction, waits = chosen.choice(((0.5, False), (0.99, False), (1.0, False), (1.0, True)))

    def send(port: int) -> int:
        with connected(port) as connection:
            connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(body))}))
            connection.send_until_answered([body[: round(fraction * len(body))]])
            if waits:
                connection.read(1)
        return 0

    return send


def mixed(n: int, seed: int) -> Iterator[Request]:
    chosen = random.Random(seed)
    for _ in range(n):
        kind = chosen.random()
        if kind < BROKEN:
            yield broken(chosen)
        elif kind < BROKEN + CANCELLED:
            yield cancelled(chosen)
        else:
            yield answered(chosen)


def run(server: Server, requests: Iterator[Request]) -> Counter[int]:
    def send(request: Request) -> int:
        while (status := request(server.port)) == 429:  # a client that left may still have its place
            sleep(0.01)
        return status

    with ThreadPoolExecutor(N_CLIENTS) as threads:
        return Counter(threads.map(send, requests))


def settled(server: Server) -> Resources:
    # Connections are accepted in turn, so before this one all those of clients that have left.
    assert get(server.port, "/health").status == 200
    wait_until(lambda: server._app.admission.n_requests == 0)
    wait_until(lambda: server._engine.n_jobs == 0)
    wait_until(lambda: not open_connections(server))
    return resources()


def open_connections(server: Server) -> list[str]:
    """States of the connections that the server has accepted and not closed."""
    found = psutil.Process().net_connections()
    return [one.status for one in found if one.laddr.port == server.port and one.status != "LISTEN"]


def check_same(before: Resources, after: Resources) -> None:
    assert after.n_descriptors == before.n_descriptors
    assert not Counter(after.threads) - Counter(before.threads)
    assert after.n_native <= before.n_native
    assert after.n_pooled <= N_POOLED
    assert before.files == after.files == frozenset()
    assert (DISK._reserved, DISK._unwritten) == (0, 0)


def fill(server: Server) -> None:
    """Uses all that is kept for later: threads of the pools, and queues."""
    for seed in range(2):
        run(server, mixed(50, seed))


def test_mixed_requests(server: Server) -> None:
    fill(server)
    before, before_mb = settled(server), memory_mb() if CAN_MEASURE_MEMORY else 0
    statuses = run(server, mixed(N_REQUESTS, 2))
    after = settled(server)
    assert statuses.total() == N_REQUESTS
    assert set(statuses) == {0, 200, 400}
    assert statuses[200] > 0.8 * N_REQUESTS
    assert min(statuses[0], statuses[400]) > 5
    check_same(before, after)
    assert not CAN_MEASURE_MEMORY or memory_mb() < before_mb + 50


@pytest.mark.parametrize("body", [LARGE, form(FILES[1]), BROKEN_BODIES[0]], ids=["large", "talk", "broken"])
def test_cancelled_requests(server: Server, body: bytes) -> None:
    """A hundred clients that leave at any moment leave nothing."""
    fill(server)
    before = settled(server)

    def leave(fraction: float) -> None:
        with connected(server.port) as connection:
            connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(body))}))
            connection.send_until_answered([body[: round(fraction * len(body))]])

    with ThreadPoolExecutor(N_CLIENTS) as threads:
        list(threads.map(leave, [n / 99 for n in range(100)]))
    check_same(before, settled(server))


def test_servers_end_with_all_that_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held: list[Resources] = []
    for _ in range(3):
        with Server(backend=COUNTING, model="m", port=0) as server:
            run(server, mixed(20, 3))
            assert get(server.port, "/health").status == 200
        wait_until(lambda: resources().n_native <= (held or [resources()])[0].n_native)  # threads that end
        held.append(resources())
        with pytest.raises(OSError, match="refused"):
            get(server.port, "/health")
    check_same(held[0], held[1])
    check_same(held[0], held[2])
    assert list(tmp_path.iterdir()) == []
