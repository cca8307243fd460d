"""Servers in threads, beside others of the same process: what they share, and what they leave."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from model.interface import ModelOptions
from pipelines.backend import Backend
from pipelines.options import OptionsError
from pipelines.server.formats import Body
from pipelines.server.server import LoadError, Server, serve
from tests.support import tone_backend
from tests.support.asgi import FORM
from tests.support.raw_http import TRANSCRIPTIONS, connected, form, get, head, transcribe, wait_until
from tests.support.resources import Resources, resources
from tests.support.server_backends import WORDS, Gate, WordTranscriber, held_backend, talk, text_of
from tests.support.tone_backend import ToneDetector, languages_of

ROOT = Path(__file__).parents[3]
TALK = form(talk(3))


def made(**options: Any) -> Server:  # noqa: ANN401
    return Server(**{"backend": WORDS, "model": "m", "port": 0, **options})


def slow_to_load(gate: Gate) -> Backend:
    def load(options: ModelOptions) -> WordTranscriber:
        gate.wait()
        return WordTranscriber(options.batch_size)

    return Backend(load, languages_of, ToneDetector)


def settings_of_the_process() -> dict[str, object]:
    mask = os.umask(0)
    os.umask(mask)
    loggers = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "jax", "pipelines")
    return {
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "gc": (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()),
        "loggers": [
            (one.level, list(one.handlers), one.propagate) for one in map(logging.getLogger, loggers)
        ],
        "umask": mask,
        "switch interval": sys.getswitchinterval(),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "wakeup": signal.set_wakeup_fd(-1),
    }


def check_left_nothing(before: Resources) -> None:
    wait_until(lambda: resources().n_pooled <= before.n_pooled, 5)
    after = resources()
    assert not Counter(after.threads) - Counter(before.threads)  # threads of earlier tests may have ended
    assert after.n_descriptors <= before.n_descriptors
    assert after.files <= before.files


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resources:
    """What the process holds before the server, with a folder of its own for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    n_threads = threading.active_count()
    with made() as server:  # imports, and what is made once for a process
        transcribe(server.port, talk(1))
    wait_until(lambda: threading.active_count() <= n_threads, 5)
    return resources()


@contextmanager
def foreign_uvicorn() -> Iterator[int]:
    async def hello(_: object) -> PlainTextResponse:
        return PlainTextResponse("foreign")

    app = Starlette(routes=[Route("/health", hello)])
    other = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=other.run)
    thread.start()
    try:
        wait_until(lambda: other.started)
        yield other.servers[0].sockets[0].getsockname()[1]
    finally:
        other.should_exit = True
        thread.join(10)


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"foreign")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def foreign_http_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join(10)


@pytest.mark.parametrize("foreign", [foreign_uvicorn, foreign_http_server])
def test_two_servers_beside_another_one(foreign: Any) -> None:  # noqa: ANN401
    with foreign() as port, made() as first, made(model="other") as second:
        assert len({port, first.port, second.port}) == 3
        for server, name in ((first, "m"), (second, "other")):
            assert get(server.port, "/v1/models").json["data"][0]["id"] == name
            assert transcribe(server.port, talk(3)).json["text"] == text_of(3)
        first.stop()
        assert transcribe(second.port, talk(3)).json["text"] == text_of(3)
        assert get(port, "/health").text == "foreign"
        with pytest.raises(OSError, match="refused"):
            get(first.port, "/health")
    assert len(tone_backend.REQUESTS) == 3


def test_settings_of_the_process_stay(before: Resources) -> None:
    gc.unfreeze()  # frozen by earlier tests: the number of these objects changes by itself
    settings = settings_of_the_process()
    with made() as server:
        assert settings_of_the_process() == settings
        transcribe(server.port, talk(2))
    assert settings_of_the_process() == settings


def test_stop_leaves_nothing(before: Resources) -> None:
    with made() as server, connected(server.port) as idle:
        idle.send(head("GET", "/health"))
        assert idle.answer("GET").status == 200
        transcribe(server.port, form(bytes(3_000_000)))
        transcribe(server.port, talk(200), stream="true")
    check_left_nothing(before)
    server.stop()  # again
    assert server.port
    assert server.url.endswith(str(server.port))


def test_port_in_use(before: Resources) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: "):
            made(port=port).start()
        with pytest.raises(OSError, match="in use"), made(port=port):
            pytest.fail("it has not started")
    check_left_nothing(before)


def test_server_is_started_once() -> None:
    with made() as server, pytest.raises(RuntimeError, match="started before"):
        server.start()


def test_stop_of_a_server_that_was_never_started() -> None:
    made().stop()


def test_stop_while_the_model_is_loaded(before: Resources) -> None:
    gate = Gate()
    server = made(backend=slow_to_load(gate)).start()
    assert server.is_loading
    with pytest.raises(TimeoutError):
        server.wait_until_ready(0.01)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    wait_until(lambda: not server.is_listening)
    assert stopping.is_alive()
    gate.open()
    stopping.join(10)
    check_left_nothing(before)


def test_model_that_cannot_be_loaded(before: Resources) -> None:
    with pytest.raises(ValueError, match="no model 'nobody/knows'"), made(model="nobody/knows"):
        pytest.fail("it is not ready")
    check_left_nothing(before)
    with pytest.raises(ValueError, match="knows only en"), made(model="m.en", language="fr"):
        pytest.fail("it is not ready")


def test_serve_ends_where_the_model_cannot_be_loaded(before: Resources) -> None:
    with pytest.raises(LoadError, match="nobody/knows cannot be loaded: no model 'nobody/knows'"):
        serve(made(model="nobody/knows"))
    check_left_nothing(before)


def test_timeout_of_loading_is_a_failure() -> None:
    def load(_: ModelOptions) -> WordTranscriber:
        raise TimeoutError("the hub does not answer")

    with pytest.raises(LoadError, match="the hub does not answer"):
        serve(made(backend=Backend(load, languages_of, ToneDetector)))


def test_running_requests_are_answered(before: Resources) -> None:
    gate = Gate()
    with (
        made(backend=held_backend(gate)) as server,
        connected(server.port) as running,
        connected(server.port) as idle,
    ):
        running.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(TALK))}), TALK)
        assert gate.waiting.acquire(timeout=10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_until(lambda: server._app.admission._draining)
        assert idle.is_closed_by_server()
        with pytest.raises(OSError, match="refused"):
            get(server.port, "/health")
        gate.open()
        assert running.answer().json["text"] == text_of(3)
        stopping.join(10)
        assert not stopping.is_alive()
    check_left_nothing(before)


def test_running_requests_are_cancelled_after_a_while(before: Resources) -> None:
    gate = Gate()
    server = made(backend=held_backend(gate), drain_s=0.2).start()
    server.wait_until_ready(10)
    with connected(server.port) as running:
        running.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(TALK))}), TALK)
        assert gate.waiting.acquire(timeout=10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert running.answer().error["code"] == "shutting_down"
        gate.open()
        stopping.join(10)
        assert not stopping.is_alive()
    check_left_nothing(before)


def test_client_that_does_not_read_does_not_hold_the_end_up(
    before: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.server.server.GRACE_S", 0.2)
    long_answer = Body(bytes(20_000_000), "text/plain")
    monkeypatch.setattr("pipelines.server.formats.render", lambda *_: long_answer)
    with made() as server, connected(server.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(TALK))}), TALK)
        assert connection.has_answer(20)
        server._http.refuse()
        assert not server._http.join(0.5)  # more than the kernel keeps
        stopping = threading.Thread(target=server.stop, args=(0.1,))
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()
    check_left_nothing(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prot": 80}, "prot: no such option (did you mean port?)"),
        ({"port": -1}, "--port -1: must be between"),
        ({"channels": "split"}, "--channels split"),
        ({"api_key": ("a b",)}, "--api_key: a key may have"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as caught:
        made(**options)
    assert message in str(caught.value)


def test_dtype_may_be_a_type() -> None:
    assert made(dtype=jnp.bfloat16).options.dtype == "bfloat16"
    assert made(dtype="float32").options.dtype == "float32"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_url(host: str, url: str) -> None:
    assert made(host=host, port=80).url == url


IN_A_THREAD = """
import contextlib, socket, threading
from pipelines.server.server import run_server
from tests.support.raw_http import get, transcribe, wait_until
from tests.support.server_backends import WORDS, talk, text_of

def is_ready():
    with contextlib.suppress(OSError):
        return get(port, "/ready").status == 200

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
arguments = {"model_name": "m", "port": port, "dtype": "float32", "backend": WORDS}
threading.Thread(target=run_server, kwargs=arguments, daemon=True).start()
wait_until(is_ready)
assert transcribe(port, talk(2)).json["text"] == text_of(2)
print("done")
"""


def test_run_server_outside_the_main_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_THREAD],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
