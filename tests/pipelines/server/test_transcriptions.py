"""The endpoints over sockets: clients that leave, errors of recordings and of the model, the server's end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from pipelines.server.server import Server
from tests.support import tone_backend
from tests.support.asgi import FORM
from tests.support.bombs import long_silence
from tests.support.openai_answers import split_events
from tests.support.raw_http import (
    TRANSCRIPTIONS,
    Connection,
    connected,
    form,
    get,
    head,
    post,
    transcribe,
    wait_until,
)
from tests.support.resources import resources
from tests.support.server_backends import WORDS, Gate, WordTranscriber, held_backend, talk, text_of
from tests.support.tone_backend import POISON_HZ, ToneDetector, languages_of, write_talk
from transforms.core.types import Failure
from transforms.fetch.spool import DISK

END_S = 10.0
"""After its client has left, a transcription ends within this time."""

TALK = form(talk(3))
LONG_TALK = form(talk(200), [("language", "en"), ("stream", "true")])
POISONED_TALK = talk(3, first=(POISON_HZ - 200) // 20)
FAILURE = Failure("id", "talk.wav", "decode", "corrupt", "broken at 3 s", False, 1)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def held(gate: Gate) -> Iterator[Server]:
    """A server whose model waits for the gate."""
    with Server(backend=held_backend(gate), model="m", port=0, batch_size=1) as server:
        yield server
        gate.open()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(backend=WORDS, model="m", port=0) as server:
        yield server


@contextmanager
def loading(gate: Gate, **options: Any) -> Iterator[Server]:  # noqa: ANN401
    """A server whose model is loaded once the gate is open."""

    def load(options: ModelOptions) -> WordTranscriber:
        gate.wait()
        return WordTranscriber(options.batch_size)

    server = Server(backend=Backend(load, languages_of, ToneDetector), model="m", port=0, **options)
    try:
        yield server.start()
    finally:
        gate.open()
        server.stop(0)


def begin(connection: Connection, body: bytes, n_sent: int | None = None) -> None:
    """Sends a request, or the first bytes of its body."""
    headers = {**FORM, "Content-Length": str(len(body))}
    connection.send(head("POST", TRANSCRIPTIONS, headers), body[:n_sent])


def check_ended(server: Server) -> None:
    """Nothing of a request that has just been left is there any more."""

    def has_ended() -> bool:
        inside = server._app.admission.n_requests or server._engine.n_jobs
        return not (inside or DISK._reserved or DISK._unwritten)

    left = monotonic()
    wait_until(has_ended, 20)
    assert monotonic() - left < END_S


def test_client_that_leaves_during_its_upload(server: Server) -> None:
    with connected(server.port) as connection:
        begin(connection, form(bytes(3_000_000)), 2_000_000)
        wait_until(lambda: DISK._reserved > 0)
    check_ended(server)


def test_client_that_leaves_during_the_reading(server: Server) -> None:
    body = form(long_silence(4 * 3600))  # which takes seconds
    with connected(server.port) as connection:
        begin(connection, body)
        wait_until(lambda: server._engine.n_jobs == 1)
        assert not connection.has_answer(0.2)
    check_ended(server)


def test_windows_of_a_client_that_left_are_not_dispatched(held: Server, gate: Gate) -> None:
    with connected(held.port) as running, connected(held.port) as waiting:
        begin(running, form(talk(2, first=10)))
        assert gate.waiting.acquire(timeout=10)  # the model is busy with it
        begin(waiting, LONG_TALK)
        wait_until(lambda: held._engine.n_jobs == 2)
        waiting.close()
        wait_until(lambda: held._engine.n_jobs == 1)
        gate.open()
        assert running.answer().json["text"] == text_of(2, 10)
    check_ended(held)
    assert len(tone_backend.REQUESTS) == 1


def test_client_that_leaves_while_the_model_runs(held: Server, gate: Gate) -> None:
    with connected(held.port) as connection:
        begin(connection, LONG_TALK)
        assert gate.waiting.acquire(timeout=10)
    check_ended(held)
    assert tone_backend.REQUESTS == []
    gate.open()
    assert post(held.port, TALK).json["text"] == text_of(3)
    assert len(tone_backend.REQUESTS) <= 2  # the window that ran to its end, and this one


def test_client_that_leaves_while_its_answer_is_written(held: Server, gate: Gate) -> None:
    with connected(held.port) as connection:
        begin(connection, LONG_TALK)
        gate.let_pass(4)
        connection.read(100)
    check_ended(held)
    gate.open()
    assert len(tone_backend.REQUESTS) <= 5


def test_client_that_leaves_with_its_answer_unread(server: Server) -> None:
    fields = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word"), ("language", "en")]
    with connected(server.port) as connection:
        begin(connection, form(talk(300), fields))
        assert connection.has_answer(20)
    check_ended(server)


def test_client_may_leave_while_the_model_is_loaded(gate: Gate) -> None:
    with loading(gate) as server, connected(server.port) as staying:
        begin(staying, TALK)
        with connected(server.port) as leaving:
            begin(leaving, TALK)
            wait_until(lambda: server._app.admission.n_requests == 2)
        wait_until(lambda: server._app.admission.n_requests == 1)
        assert server.is_loading
        gate.open()
        assert staying.answer().json["text"] == text_of(3)
        check_ended(server)
        assert len(tone_backend.REQUESTS) == 1


def test_a_hundred_clients_that_leave(held: Server, gate: Gate) -> None:
    """They leave no thread, file descriptor or task, at whatever moment they go."""

    def leave(body: bytes, wait_s: float) -> None:
        with connected(held.port) as connection:
            begin(connection, body)
            assert not connection.has_answer(wait_s)

    def left_over() -> tuple[int, int, tuple[str, ...]]:
        wait_until(lambda: not held._app.admission.n_requests and not held._engine.n_jobs)
        tasks: list[int] = []
        held._http.call(lambda: tasks.append(len(asyncio.all_tasks(held._http._loop))))
        wait_until(lambda: bool(tasks))
        left = resources()
        return tasks[0], left.n_descriptors, left.threads

    for _ in range(2):
        leave(LONG_TALK, 0.05)
    before = left_over()
    for number in range(100):
        leave(LONG_TALK if number % 2 else TALK, 0.001 * (number % 30))

    def is_as_before() -> bool:
        """What tests before this one have left may end meanwhile."""
        now = left_over()
        fewer = all(n <= n_before for n, n_before in zip(now[:2], before[:2], strict=True))
        return fewer and not Counter(now[2]) - Counter(before[2])

    wait_until(is_as_before, 60)
    assert resources().n_pooled < 20  # they are used again
    gate.open()
    assert post(held.port, TALK).json["text"] == text_of(3)
    assert len(tone_backend.REQUESTS) <= 3


def test_requests_wait_for_the_model(gate: Gate) -> None:
    with loading(gate) as server, connected(server.port) as first, connected(server.port) as second:
        begin(first, TALK)
        begin(second, form(talk(2), [("stream", "true")]))
        wait_until(lambda: server._app.admission.n_requests == 2)
        metrics = get(server.port, "/metrics").text
        assert "transcriptions_waiting 2.0" in metrics
        assert "transcriptions_running 0.0" in metrics
        assert get(server.port, "/health").json == {"status": "loading"}
        gate.open()
        assert first.answer().json["text"] == text_of(3)
        assert text_of(2) in second.answer().text


def test_requests_of_a_server_whose_model_cannot_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(backend=WORDS, model="nobody/knows", port=0).start()
    try:
        with pytest.raises(ValueError, match="no model 'nobody/knows'"):
            server.wait_until_ready(10)
        answer = post(server.port, TALK)
        assert (answer.status, answer.error["code"]) == (503, "model_failed")
        assert answer.headers["retry-after"]
    finally:
        server.stop(0)
    assert "the model cannot be loaded: no model 'nobody/knows'" in caplog.text


def test_the_end_of_the_server_is_an_answer(held: Server, gate: Gate) -> None:
    """Uploads and transcriptions that are cancelled get a 503, and a stream its last event."""
    with (
        connected(held.port) as uploading,
        connected(held.port) as waiting,
        connected(held.port) as streaming,
    ):
        begin(streaming, LONG_TALK)
        gate.let_pass(4)
        for _ in range(5):  # the last one is held back, and so are the other requests
            assert gate.waiting.acquire(timeout=20)
        started = streaming.read(200)
        begin(waiting, TALK)
        begin(uploading, form(bytes(3_000_000)), 2_000_000)
        wait_until(lambda: held._app.admission.n_requests == 3)
        wait_until(lambda: held._engine.n_jobs == 2)
        stopping = threading.Thread(target=held.stop, args=(0,))
        stopping.start()
        for connection in (uploading, waiting):
            answer = connection.answer()
            assert (answer.status, answer.error["code"]) == (503, "shutting_down")
            assert answer.headers["retry-after"]
        events = started + streaming.read()
        assert events.startswith(b"HTTP/1.1 200")
        assert b'{"error":{"message":"The server is stopping."' in events
        gate.open()
        stopping.join(10)
        assert not stopping.is_alive()


def test_the_end_of_the_server_while_the_model_is_loaded(gate: Gate) -> None:
    with loading(gate) as server, connected(server.port) as connection:
        begin(connection, TALK)
        wait_until(lambda: server._app.admission.n_requests == 1)
        stopping = threading.Thread(target=server.stop, args=(0,))
        stopping.start()
        assert connection.answer().error["code"] == "shutting_down"
        gate.open()
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("seconds", [2, 100])
def test_window_that_fails_is_never_a_hole(server: Server, tmp_path: Path, seconds: int) -> None:
    """Whether there is other text, or none."""
    recording = write_talk(tmp_path / "talk.wav", seconds, poison=seconds - 1).read_bytes()
    answer = transcribe(server.port, recording)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert ("failed on a part" in answer.error["message"]) == (seconds > 30)
    stream = transcribe(server.port, recording, stream="true", language="en")
    assert stream.status == (200 if seconds > 30 else 500)
    assert '{"error":{' in (split_events(stream.body)[-1] if seconds > 30 else stream.text)
    assert transcribe(server.port, talk(3)).json["text"] == text_of(3)


class BrokenTranscriber(WordTranscriber):
    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        raise MemoryError("/secret/path")


def test_model_that_does_not_work(caplog: pytest.LogCaptureFixture) -> None:
    broken = Backend(lambda options: BrokenTranscriber(options.batch_size), languages_of, ToneDetector)
    with Server(backend=broken, model="m", port=0) as server:
        for stream in ("false", "true"):
            answer = transcribe(server.port, talk(3), stream=stream)
            assert (answer.status, answer.error["code"]) == (500, "internal_error")
            assert "secret" not in answer.text
        assert get(server.port, "/health").status == 200
    assert "cannot transcribe silence: MemoryError" in caplog.text


def test_options_that_do_not_fit_together(server: Server) -> None:
    with Server(backend=WORDS, model="m", port=0, max_new_tokens=400) as server:
        answer = transcribe(server.port, talk(3), prompt="Names.")
        assert answer.status == 400
        assert "max_new_tokens" in answer.error["message"]
        assert transcribe(server.port, talk(3)).status == 200


def test_file_that_is_not_audio(server: Server) -> None:
    answer = transcribe(server.port, b"<html>", stream="true")
    assert answer.status == 400
    assert answer.error["message"].startswith("Invalid file format. Supported formats: ['flac', ")


def test_place_is_free_before_the_client_has_its_answer() -> None:
    with Server(backend=WORDS, model="m", port=0, max_requests=1) as server:
        for stream in ("false", "true") * 10:
            assert transcribe(server.port, talk(1), stream=stream).status == 200


def test_rate_of_a_client() -> None:
    with Server(backend=WORDS, model="m", port=0, rate_limit=2) as server:
        statuses = [post(server.port, TALK).status for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_metrics() -> None:
    with Server(backend=WORDS, model="m", port=0, batch_size=3) as server:
        transcribe(server.port, talk(3))
        transcribe(server.port, talk(4), stream="true")
        transcribe(server.port, b"<html>")
        transcribe(server.port, POISONED_TALK)
        with connected(server.port) as connection:
            begin(connection, TALK, 20)
            wait_until(lambda: server._app.admission.n_requests == 1)
        wait_until(lambda: 'status="499"' in get(server.port, "/metrics").text)
        lines = set(get(server.port, "/metrics").text.splitlines())
    requests = 'whisper_beam_requests_total{endpoint="/v1/audio/transcriptions",status="%d"} %d.0'
    assert {
        *(requests % pair for pair in ((200, 2), (400, 1), (500, 1), (499, 1))),
        "whisper_beam_audio_seconds_total 7.0",
        "whisper_beam_batch_size 3.0",
        "whisper_beam_transcriptions_running 0.0",
        "whisper_beam_transcriptions_waiting 0.0",
    } <= lines
    assert any(line.startswith('whisper_beam_stage_seconds_total{stage="read"}') for line in lines), lines
