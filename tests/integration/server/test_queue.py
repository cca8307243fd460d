"""More clients than the server takes at a time: the others get a 429, and come again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from time import monotonic

import openai
import pytest

from pipelines.server import limits
from pipelines.server.server import Server
from tests.support.raw_http import Answer, form, get, post, transcribe, wait_until
from tests.support.server_backends import WORDS, Gate, held_backend, talk, text_of

N_CLIENTS, N_PLACES = 200, 64
SHORT = talk(1)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def held(gate: Gate) -> Iterator[Server]:
    """A server of 64 places whose model waits for the gate."""
    with Server(backend=held_backend(gate), model="m", port=0, max_requests=N_PLACES) as server:
        yield server


def test_others_get_a_429(held: Server, gate: Gate) -> None:
    together, answers = Barrier(N_CLIENTS), list[Answer]()

    def send(number: int) -> Answer:
        together.wait()
        answer = transcribe(held.port, talk(1, number))
        answers.append(answer)
        return answer

    with ThreadPoolExecutor(N_CLIENTS) as threads, closing(gate):
        sent = [threads.submit(send, number) for number in range(N_CLIENTS)]
        wait_until(lambda: len(answers) == N_CLIENTS - N_PLACES)
        check_refused(answers)
        check_still_answers(held)
        gate.open()
        statuses = Counter(one.result().status for one in sent)
    assert statuses == {200: N_PLACES, 429: N_CLIENTS - N_PLACES}
    for number, one in enumerate(sent):
        assert one.result().status == 429 or one.result().json["text"] == text_of(1, number)


def check_refused(answers: list[Answer]) -> None:
    waits = []
    for answer in answers:
        assert answer.status == 429
        assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "server_overloaded")
        waits.append(int(answer.headers["retry-after"]))
    assert min(waits) >= 1
    assert max(waits) <= 120
    assert len(set(waits)) > 10  # they do not all come back at the same moment


def check_still_answers(server: Server) -> None:
    """A full server is neither dead nor unable to say so."""
    started = monotonic()
    for path in ("/health", "/ready", "/v1/models", "/", "/openapi.json"):
        assert get(server.port, path).status == 200
    assert monotonic() - started < 20
    running = f"whisper_beam_transcriptions_running {N_PLACES}.0\n"
    wait_until(lambda: running in get(server.port, "/metrics").text)


def test_large_upload_to_a_full_server_gets_its_answer(gate: Gate) -> None:
    """The client learns of the 429 although it has not sent everything."""
    with (
        Server(backend=held_backend(gate), model="m", port=0, max_requests=1) as server,
        ThreadPoolExecutor(1) as threads,
        closing(gate),
    ):
        first = threads.submit(transcribe, server.port, SHORT)
        assert gate.waiting.acquire(timeout=20)
        for n_bytes in (100_000, 5_000_000):
            assert post(server.port, form(bytes(n_bytes))).status == 429
        gate.open()
        assert first.result().status == 200


def test_retries_of_the_official_client_succeed(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_DURATION_S", 1.0)
    with (
        Server(backend=held_backend(gate), model="m", port=0, max_requests=N_PLACES) as server,
        openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=5) as client,
        ThreadPoolExecutor(N_CLIENTS) as threads,
        closing(gate),
    ):

        def send(number: int) -> str:
            return client.audio.transcriptions.create(file=talk(1, number), model="whisper-1").text

        sent = [threads.submit(send, number) for number in range(N_CLIENTS)]
        wait_until(lambda: n_refused(server) >= N_CLIENTS - N_PLACES)  # some may have come again by then
        gate.open()
        assert [one.result() for one in sent] == [text_of(1, number) for number in range(N_CLIENTS)]


def n_refused(server: Server) -> float:
    """Returns the number of answers with 429 so far."""
    counts = re.findall(r'status="429"} ([\d.]+)', get(server.port, "/metrics").text)
    return sum(map(float, counts))


def test_client_that_waits_for_each_answer_needs_one_place() -> None:
    """Its place is free when it has the answer."""
    with Server(backend=WORDS, model="m", port=0, max_requests=1) as server:
        assert [transcribe(server.port, SHORT).status for _ in range(50)] == [200] * 50


def test_place_is_free_after_a_refused_request() -> None:
    with Server(backend=WORDS, model="m", port=0, max_requests=1) as server:
        for body in (form(b"<html>"), form(None), form(SHORT, [("language", "klingon")])):
            assert post(server.port, body).status == 400
            wait_until(lambda: server._app.admission.n_requests == 0)
