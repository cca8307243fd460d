"""The official Python client: its exceptions, its retries, and many requests at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from pipelines.server import limits
from pipelines.server.server import Server
from tests.support.encoding import encoded
from tests.support.raw_http import get
from tests.support.server_backends import WORDS, Gate, held_backend, talk, text_of
from tests.support.tone_backend import POISON_HZ, tone

N_CLIENTS = 16
POISON = (POISON_HZ - 200) // 20
KEY = "sk-right"


@pytest.fixture(scope="module")
def keyed() -> Iterator[Server]:
    with Server(backend=WORDS, model="m", port=0, api_key=(KEY, "sk-other"), max_upload_mb=0.2) as server:
        yield server


def client_of(server: Server, key: str = KEY, **options: object) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{server.url}/v1", **{"max_retries": 0, **options})  # type: ignore[arg-type]


def transcribe(client: openai.OpenAI, file: bytes) -> str:
    return client.audio.transcriptions.create(file=file, model="whisper-1").text


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": "Bearer sk-wrong"}, "Incorrect API key"),
        ({"Authorization": f"Basic {KEY}"}, "provide an API key"),
        ({"Authorization": openai.Omit()}, "provide an API key"),
    ],
    ids=["wrong", "basic", "none"],
)
def test_wrong_and_missing_keys(keyed: Server, headers: Any, message: str) -> None:  # noqa: ANN401
    with client_of(keyed) as client:
        with pytest.raises(openai.AuthenticationError, match=message) as caught:
            client.audio.transcriptions.create(file=talk(2), model="whisper-1", extra_headers=headers)
        with pytest.raises(openai.AuthenticationError):
            client.models.list(extra_headers=headers)
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("key", [KEY, "sk-other"])
def test_right_keys(keyed: Server, key: str) -> None:
    with client_of(keyed, key) as client:
        assert transcribe(client, talk(2)) == text_of(2)
        assert len(list(client.models.list())) == 1


def test_file_over_the_limit(keyed: Server) -> None:
    with client_of(keyed) as client, pytest.raises(openai.APIStatusError) as caught:
        transcribe(client, talk(60))
    assert caught.value.status_code == 413
    assert caught.value.type == "server_error"
    assert "Maximum content size limit (209715) exceeded" in caught.value.message


def test_window_that_fails_is_a_server_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        transcribe(client, talk(1, POISON))
    assert caught.value.status_code == 500
    assert (caught.value.type, caught.value.code) == ("server_error", "internal_error")


def test_window_that_fails_in_a_stream_is_an_api_error(client: openai.OpenAI) -> None:
    """What comes before it has been sent already, and the status too."""
    file = encoded(np.concatenate([*(tone(second) for second in range(100)), tone(POISON)]))
    deltas: list[str] = []

    def read(stream: openai.Stream[Any]) -> None:
        deltas.extend(event.delta for event in stream)

    create = client.audio.transcriptions.create
    with (
        create(file=file, model="whisper-1", stream=True, language="en") as stream,
        pytest.raises(openai.APIError, match="The model failed"),
    ):
        read(stream)
    assert "".join(deltas).startswith("en0 en1 en2")


def transcribe_often(client: openai.OpenAI, file: bytes) -> None:
    """A slow machine may send more than thirty requests, as some become free meanwhile."""
    for _ in range(100):
        transcribe(client, file)


def test_rate_limit_is_waited_for() -> None:
    """A client that has used up its requests gets a 429 with Retry-After; its own retry succeeds."""
    answers: list[httpx2.Response] = []
    with (
        Server(backend=WORDS, model="m", port=0, rate_limit=30) as server,
        httpx2.Client(event_hooks={"response": [answers.append]}) as http,
        client_of(server) as hasty,
        client_of(server, max_retries=2, http_client=http) as patient,
    ):
        short = talk(1)
        for _ in range(30):
            transcribe(hasty, short)
        with pytest.raises(openai.RateLimitError) as caught:
            transcribe_often(hasty, short)
        assert caught.value.code == "rate_limit_exceeded"
        wait_s = int(caught.value.response.headers["retry-after"])
        assert 1 <= wait_s <= 2
        started = monotonic()
        assert transcribe(patient, short) == "en0"
        assert [answer.status_code for answer in answers][-2:] == [429, 200]
        assert monotonic() - started >= 0.9 * int(answers[0].headers["retry-after"])
        assert get(server.port, "/health").status == 200  # is not limited


def test_full_server_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_DURATION_S", 1.0)
    gate = Gate()
    refused = threading.Event()

    def note(answer: httpx2.Response) -> None:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            refused.set()

    with (
        Server(backend=held_backend(gate), model="m", port=0, max_requests=1) as server,
        client_of(server) as first,
        httpx2.Client(event_hooks={"response": [note]}) as http,
        client_of(server, max_retries=2, http_client=http) as second,
        ThreadPoolExecutor(2) as threads,
    ):
        held = threads.submit(transcribe, first, talk(1))
        assert gate.waiting.acquire(timeout=20)
        retried = threads.submit(transcribe, second, talk(1, 7))
        assert refused.wait(20)
        assert not held.done()
        gate.open()
        assert (held.result(30), retried.result(30)) == ("en0", "en7")


def test_many_clients_get_each_their_own_text(client: openai.OpenAI) -> None:
    def check(number: int) -> None:
        first = 10 * number
        for _ in range(3):
            assert transcribe(client, talk(4 + number, first)) == text_of(4 + number, first)

    with ThreadPoolExecutor(N_CLIENTS) as threads:
        list(threads.map(check, range(N_CLIENTS)))


def test_asynchronous_client(client: openai.OpenAI, talk_file: Path) -> None:
    async def transcripts() -> list[str]:
        async with openai.AsyncOpenAI(
            api_key="none", base_url=str(client.base_url), max_retries=0
        ) as asynchronous:
            create = asynchronous.audio.transcriptions.create
            answers = await asyncio.gather(
                *(create(file=talk(3, 10 * number), model="whisper-1") for number in range(N_CLIENTS))
            )
            stream = await create(file=talk_file, model="whisper-1", stream=True)
            deltas = [event.delta async for event in stream if event.type == "transcript.text.delta"]
            return [*(answer.text for answer in answers), "".join(deltas)]

    assert asyncio.run(transcripts()) == [
        *(text_of(3, 10 * number) for number in range(N_CLIENTS)),
        text_of(5),
    ]
