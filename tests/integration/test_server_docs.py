"""Each command and example of docs/server.md is run, and its tables are those of the code; README.md too."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from pipelines.option_flags import options_table, with_options_table
from pipelines.server.command import parse
from pipelines.server.form import GRANULARITIES, KNOWN_FIELDS
from pipelines.server.options import grouped_options
from pipelines.server.request import RESPONSE_FORMATS
from pipelines.server.schema import ROUTES, STATUSES
from pipelines.server.server import Server
from tests.support.node import folder_with_openai, run_script
from tests.support.servers import send, serving
from tests.support.tone_backend import TONES, write_talk

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "server.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = FENCED.findall(TEXT)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in FENCED.findall(TEXT + README)
    if language == "bash"
    for line in block.replace("\\\n", " ").splitlines()
]
CURL = [command[1:] for command in COMMANDS if command[:1] == ["curl"]]
SERVE = [command[2:] for command in COMMANDS if command[:2] == ["whisper-beam", "serve"]]
PYTHON = [block for language, block in BLOCKS if language == "python"]
CLIENTS = [block for block in PYTHON if "http://localhost:8000" in block]
WITH_TONES = """\
from pipelines.server.server import Server
from tests.support.tone_backend import TONES

Server.__init__.__kwdefaults__["backend"] = TONES

"""
"""Precedes an example that starts a server itself."""

INFERENCE_WITH_TONES = WITH_TONES.replace("server.server", "inference").replace("Server", "Inference")
WAIT_S = 60.0


def only(blocks: list[str], mark: str) -> str:
    (found,) = (block for block in blocks if mark in block)
    return found


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def body_of(url: str) -> str:
    """Returns the body at a URL; waits until there is a server that is ready."""
    until = monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert monotonic() < until, f"{url} did not answer"
            sleep(0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(backend=TONES, port=0, allow_urls=True, allow_private_hosts=True) as server:
        yield server


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files of the examples."""
    write_talk(tmp_path / "talk.wav", 3).rename(tmp_path / "talk.mp3")
    write_talk(tmp_path / "paris.wav", 3, french_from=0).rename(tmp_path / "paris.mp3")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curl(arguments: list[str], server: Server, cwd: Path) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    local = [word.replace("http://localhost:8000", server.url) for word in arguments]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", *local],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected_in(arguments: list[str], stdout: str, cwd: Path) -> str:
    """Returns where the text of an answer should be: on the standard output, or in the file of `-o`."""
    return (cwd / arguments[arguments.index("-o") + 1]).read_text() if "-o" in arguments else stdout


def test_there_are_examples_of_each_kind() -> None:
    assert len(CURL) >= 6
    assert len(SERVE) >= 3
    assert len(CLIENTS) == 2
    assert len(PYTHON) == 5


@pytest.mark.parametrize("arguments", CURL, ids=" ".join)
def test_curl(arguments: list[str], server: Server, talks: Path) -> None:
    audio = (talks / "talk.mp3").read_bytes()
    with serving(lambda handler: send(handler, 200, audio)) as web:
        local = [word.replace("https://example.org", web.url) for word in arguments]
        answer = expected_in(local, curl(local, server, talks), talks)
    language = "fr" if "language=fr" in arguments else "en"
    assert re.findall(rf"{language}\d", answer)[:3] == [f"{language}{second}" for second in range(3)]
    if "response_format=srt" in arguments:
        assert answer.startswith("1\n00:00:00,000 --> ")
    if "response_format=verbose_json" in arguments:
        assert json.loads(answer).keys() >= {"words", "segments"}
    if "stream=true" in arguments:
        assert answer.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("arguments", SERVE, ids=" ".join)
def test_serve(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys.txt").write_text("a-key\n")
    assert Server(backend=TONES, **vars(parse(arguments))).options == parse(arguments)


def python(program: str, cwd: Path) -> str:
    """Runs a program in a process of its own, as readers do, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("mark", "shown"), [("verbose_json", "english en0 en1 en2"), ("stream=True", "tokens")]
)
def test_the_python_client(mark: str, shown: str, server: Server, talks: Path) -> None:
    printed = python(only(CLIENTS, mark).replace("http://localhost:8000", server.url), talks)
    assert printed.count("en0") == printed.count("en2") >= 1
    assert shown in printed


def test_the_readmes_recording(talks: Path) -> None:
    example = only([block for _, block in FENCED.findall(README)], "Inference(")
    assert python(INFERENCE_WITH_TONES + example, talks) == "en0 en1 en2 []\n"


def test_the_javascript_client(server: Server, talks: Path, pytestconfig: pytest.Config) -> None:
    assert pytestconfig.cache is not None
    folder = folder_with_openai(pytestconfig.cache)
    (script,) = (block for language, block in BLOCKS if language == "javascript")
    printed = run_script(folder, script.replace("http://localhost:8000", server.url), talks)
    assert printed == "english en0 en1 en2\n"


def test_an_embedded_server(tmp_path: Path) -> None:
    example = only(PYTHON, "with Server(").replace("port=8000", "port=0")
    assert python(WITH_TONES + example, tmp_path) == "openai/whisper-base\n"


def started(example: str, **ports: int) -> subprocess.Popen[bytes]:
    for before, port in ports.items():
        example = example.replace(f"port={before.removeprefix('p')}", f"port={port}")
    return subprocess.Popen([sys.executable, "-c", WITH_TONES + example], cwd=ROOT, env={**os.environ})


def test_a_server_beside_another_application() -> None:
    outer, inner = free_port(), free_port()
    with started(only(PYTHON, "lifespan"), p8000=outer, p8001=inner) as process:
        try:
            assert body_of(f"http://127.0.0.1:{outer}/") == "the other server"
            assert "openai/whisper-base" in body_of(f"http://127.0.0.1:{inner}/v1/models")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) in (0, -signal.SIGINT)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{inner}/health", timeout=10)


def test_run_server() -> None:
    port = free_port()
    with started(only(PYTHON, "run_server("), p8000=port) as process:
        try:
            assert json.loads(body_of(f"http://127.0.0.1:{port}/ready")) == {"status": "ready"}
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_the_page_has_the_table_of_the_options() -> None:
    advice = "run: python -m pipelines.server.command docs/server.md"
    assert options_table(grouped_options()) in TEXT, advice
    assert with_options_table(TEXT, grouped_options()) == TEXT, advice


def test_the_page_has_every_field_format_path_and_status() -> None:
    mentioned = set(re.findall(r"`([^`\s]+)`", TEXT))
    names = {name.removesuffix("[]") for name in mentioned}
    assert names >= KNOWN_FIELDS | {"file", *RESPONSE_FORMATS, *GRANULARITIES}
    paths = [route.path.replace("{model}", "NAME") for route in ROUTES]
    assert [path for path in paths if not re.search(rf"`(POST )?{path}`", TEXT)] == []
    rows = {int(status) for status in re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE)}
    assert rows == STATUSES.keys() - {200}


def test_the_codes_of_errors_exist() -> None:
    table = re.search(r"\| status \| `code` .*?\n\n", TEXT, re.DOTALL)
    assert table is not None
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "pipelines" / "server").glob("*.py"))
    codes = set(re.findall(r"`([a-z]+_[a-z_]+)`", table[0]))
    assert len(codes) > 10
    assert [code for code in sorted(codes) if f'"{code}"' not in sources] == []


def test_the_metrics_exist(server: Server) -> None:
    names = set(re.findall(r"`((?:whisper_beam|process)_\w+)`", TEXT))
    assert len(names) > 10
    body = body_of(f"{server.url}/metrics")
    described = set(re.findall(r"^# TYPE (\w+) ", body, re.MULTILINE))
    assert sorted(names - described) == []


def test_each_bar_has_a_figure_or_says_that_there_is_none() -> None:
    measured = TEXT[TEXT.index("## Measured") :]
    rows = [line for line in measured.splitlines() if line.startswith("| ") and "| bar |" not in line]
    assert len(rows) >= 20
    assert all(len(row.split("|")) == 5 and row.split("|")[3].strip() for row in rows)
