"""The program: its options in this process, and its life in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, sleep

import pytest

from pipelines.options import OptionsError
from pipelines.server.command import main, parse
from pipelines.server.options import ServeOptions
from tests.support.asgi import FORM
from tests.support.raw_http import TRANSCRIPTIONS, connected, form, get, head, transcribe, wait_until
from tests.support.server_backends import talk, text_of

ROOT = Path(__file__).parents[3]
TALK = form(talk(2))
N_REQUESTS = 8
TONES = ("-m", "tests.support.serve_program", "--model", "m")


class Process:
    """A server in a process of its own."""

    def __init__(self, program: tuple[str, ...], *options: str, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.started = monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *program, "--port", str(self.port), *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def answers(self, path: str = "/ready") -> bool:
        assert self.process.poll() is None, self.process.communicate()
        with suppress(OSError):
            return get(self.port, path).status == 200
        return False

    def wait_until_ready(self) -> None:
        wait_until(self.answers, 300)  # its programs may have to be compiled

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Returns the exit code, and what it wrote."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def started(*options: str, **environment: str) -> Iterator[Process]:
    process = Process(TONES, *options, **environment)
    try:
        yield process
    finally:
        process.kill()


def ended(*options: str, **environment: str) -> tuple[int, str]:
    process = Process(TONES, *options, **environment)
    try:
        return process.end()
    finally:
        process.kill()


def test_options() -> None:
    options = parse(["--model", "m", "--port=80", "--keep-warm", "--api-key", "a,b", "--no-vad"])
    assert options == ServeOptions(model="m", port=80, keep_warm=True, api_key=("a", "b"), vad=False)
    assert parse([]) == ServeOptions()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot", "80"], "--prot: no such option (did you mean --port?); --help lists them all"),
        (["--prot=80"], "--prot: no such option (did you mean --port?)"),
        (["openai/whisper-base"], "openai/whisper-base: no such option"),
        (["--task", "translate"], "--task: no such option"),  # requests have it
        (["--port", "http"], "--port: invalid int value: 'http'"),
        (["--port", "99999"], "--port 99999: must be between 0 and 65535"),
        (["--port"], "--port: expected one argument"),
        (["--keep_warm=maybe"], "give true or false"),
        (["--language", "frensh"], "did you mean french?"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("whisper-beam serve: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    with pytest.raises(OptionsError):
        parse(arguments)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"], prog="whisper-beam serve")
    assert not stop.value.code
    text = capsys.readouterr().out
    assert re.search(r"^    whisper-beam serve --model openai/whisper-base --port 8000$", text, re.MULTILINE)
    assert "--max_requests" in text
    assert text.index("Where to listen:") < text.index("Limits:") < text.index("Safeguards:")


def test_requests_that_run_are_answered_and_new_ones_refused(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with started(GATE=str(gate)) as server, ThreadPoolExecutor(N_REQUESTS) as threads:
        server.wait_until_ready()
        answers = [threads.submit(transcribe, server.port, talk(40, 3 * n)) for n in range(N_REQUESTS)]
        wait_until(lambda: f"transcriptions_running {N_REQUESTS}.0" in get(server.port, "/metrics").text)
        server.stop()
        wait_until(lambda: refuses(server.port), 5)
        assert not any(answer.done() for answer in answers)
        gate.touch()
        assert [one.result().json["text"] for one in answers] == [
            text_of(40, 3 * n) for n in range(N_REQUESTS)
        ]
        code, errors = server.end()
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "is stopping" in errors


def refuses(port: int) -> bool:
    try:
        with connected(port):
            return False
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cancels_what_runs(number: int, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with started(GATE=str(gate)) as server, ExitStack() as connections:
        server.wait_until_ready()
        running = [connections.enter_context(connected(server.port)) for _ in range(3)]
        for connection in running:
            connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(TALK))}), TALK)
        wait_until(lambda: "transcriptions_running 3.0" in get(server.port, "/metrics").text)
        server.stop(number)
        assert not running[0].has_answer(0.4)
        server.stop(number)
        for connection in running:
            assert connection.answer().error["code"] == "shutting_down"
        gate.touch()  # the call of the model that runs is waited for
        code, errors = server.end()
    assert code == 0, errors
    assert "Traceback" not in errors


def test_ctrl_c_ends_an_idle_server_at_once() -> None:
    with started() as server:
        server.wait_until_ready()
        server.stop(signal.SIGINT)
        stopped = monotonic()
        code, errors = server.end()
    assert code == 0, errors
    assert monotonic() - stopped < 30
    assert "Traceback" not in errors


def test_a_model_that_is_being_loaded_does_not_hold_the_end_up() -> None:
    with started(LOAD_S="60") as server:
        wait_until(lambda: server.answers("/health"))
        server.stop()
        stopped = monotonic()
        code, errors = server.end()
    assert code == 0, errors
    assert monotonic() - stopped < 30
    assert "is ready" not in errors


def test_requests_that_wait_for_the_model_are_answered_after_a_signal() -> None:
    with started(LOAD_S="2") as server, ThreadPoolExecutor() as threads:
        wait_until(lambda: server.answers("/health"))
        answer = threads.submit(transcribe, server.port, talk(2))
        wait_until(lambda: "transcriptions_waiting 1.0" in get(server.port, "/metrics").text)
        server.stop()
        assert answer.result().json["text"] == text_of(2)
        assert server.end()[0] == 0


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, errors = ended("--port", str(port))
    assert code == 1
    assert errors == f"whisper-beam serve: cannot listen on 127.0.0.1, port {port}: Address already in use\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nobody/knows"], "the model cannot be loaded: no model 'nobody/knows'"),
        (["--model", "m.en", "--language", "fr"], "--language fr: m.en knows only en"),
    ],
)
def test_model_that_cannot_be_loaded(options: list[str], message: str) -> None:
    code, errors = ended(*options)
    assert code == 1
    assert message in errors
    assert errors.count("cannot be loaded") == 1
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "python_multipart", "prometheus_client"])
def test_without_the_extra(name: str) -> None:
    code, errors = ended(MISSING=name)
    assert code == 1
    assert errors.endswith("install the server: pip install 'whisper-beam[serve]'\n")
    assert name in errors
    assert errors.count("\n") == 1


def test_help_without_the_extra() -> None:
    process = Process(TONES, "--help", MISSING="starlette,uvicorn")
    code, errors = process.end()
    assert (code, errors) == (0, "")


def test_keys_of_the_environment() -> None:
    with started(WHISPER_BEAM_API_KEY="secret") as server:
        server.wait_until_ready()
        assert get(server.port, "/v1/models").status == 401
        assert get(server.port, "/v1/models", {"Authorization": "Bearer secret"}).status == 200
        server.stop()
        assert "secret" not in server.end()[1]
    code, errors = ended(WHISPER_BEAM_API_KEY="")
    assert (code, errors.startswith("whisper-beam serve: WHISPER_BEAM_API_KEY is empty")) == (1, True)


@pytest.mark.parametrize(("level", "is_shown"), [("WARNING", False), ("INFO", True)])
def test_log(level: str, is_shown: bool) -> None:
    with started(LOG_LEVEL=level) as server:
        server.wait_until_ready()
        assert transcribe(server.port, talk(1)).status == 200
        server.stop()
        code, errors = server.end()
    assert code == 0
    assert ("is ready" in errors) == is_shown
    assert "200" not in errors  # accesses are not logged


def test_level_of_the_log_that_does_not_exist() -> None:
    code, errors = ended(LOG_LEVEL="loud")
    assert (code, errors.startswith("whisper-beam serve: LOG_LEVEL=LOUD in the environment: ")) == (1, True)


HEAVY = ("apache_beam", "av", "datasets", "flax", "fsspec", "jax", "pyarrow", "tokenizers", "transformers")

IMPORTED = f"""
import sys
from pipelines.server.command import parse
from pipelines.server.server import Server, serve
from pipelines.server.web_page import web_page
Server(**vars(parse([])))
web_page()
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def test_nothing_heavy_is_imported_before_it_answers() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_health_is_answered_within_a_second() -> None:
    def seconds() -> float:
        process = Process(("-m", "pipelines.main", "serve", "--model", "nobody/knows"))
        started = perf_counter()
        try:
            while not process.answers("/health"):
                sleep(0.002)
            return perf_counter() - started
        finally:
            process.kill()

    def seconds_of_imports() -> float:
        started = perf_counter()
        subprocess.run([sys.executable, "-c", "import uvicorn, starlette.applications"], check=True)
        return perf_counter() - started

    # A second where these imports take 0.1 s, as on two cores.
    limit_s = max(1.0, 10 * median(seconds_of_imports() for _ in range(3)))
    assert median(seconds() for _ in range(3)) < limit_s


@pytest.mark.weights
def test_beam_is_never_imported() -> None:
    """A real model is loaded and transcribes where Beam cannot be imported."""
    program = (
        f"import sys; sys.modules['apache_beam'] = None; from {main.__module__} import main; sys.exit(main())"
    )
    options = ("--model", "openai/whisper-tiny.en", "--no-vad", "--beam_size", "1")  # half the programs
    process = Process(("-c", program), *options)
    try:
        process.wait_until_ready()
        answer = transcribe(process.port, talk(3), response_format="verbose_json")
        assert (answer.status, answer.json["duration"]) == (200, 3.0)
        process.stop()
        code, errors = process.end()
        assert (code, "Traceback" in errors) == (0, False), errors
    finally:
        process.kill()
