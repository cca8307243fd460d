"""A server that recognises tones, on a free port of loopback, and the official client for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from pipelines.server.server import Server
from tests.support.server_backends import WORDS, talk

MODEL = "openai/whisper-tones"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(backend=WORDS, model=MODEL, port=0) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def talk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of tones in a file."""
    path = tmp_path_factory.mktemp("talks") / "talk.wav"
    path.write_bytes(talk(5))
    return path
