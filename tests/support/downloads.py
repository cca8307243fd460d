"""Helpers of the download tests: the expected body, policies, and scripted answers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.servers import LOCAL, QUICK, Answer, Handler, Server, send
from transforms.core.errors import AudioError
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy

BODY = random.Random(0).randbytes(300_000)
GUARDED = FetchPolicy(fetch_timeout_s=10, limits=QUICK)


def read(url: str, policy: FetchPolicy = LOCAL) -> bytes:
    with open_audio(audio_source(url), policy) as file:
        return file.read()


def limits(**changed: float) -> FetchPolicy:
    return replace(LOCAL, limits=replace(QUICK, **changed))  # type: ignore[arg-type]


def error_of(url: str, policy: FetchPolicy = LOCAL) -> AudioError:
    with pytest.raises(AudioError) as caught:
        read(url, policy)
    assert caught.value.stage == "fetch"
    assert caught.value.message
    return caught.value


def send_body(handler: Handler) -> None:
    send(handler, 200, BODY)


def in_turn(*answers: Answer) -> Answer:
    """Sends each answer once, then the last one repeatedly."""
    remaining = list(answers)
    return lambda handler: (remaining.pop(0) if len(remaining) > 1 else remaining[0])(handler)


def stalling(server: Server, at: str) -> Answer:
    def answer(handler: Handler) -> None:
        if at == "start":
            server.stall()
        elif at == "headers":  # a byte now and then never exceeds the time limit of a socket
            for _ in range(100):
                handler.wfile.write(b"H")
                server.stall(0.1)
        elif at == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(BODY)))
            handler.end_headers()
            handler.wfile.write(BODY[:1000])
            server.stall()
        else:
            handler.send_response(200)
            if at == "chunk size":
                handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for _ in range(100):
                handler.wfile.write(b"0")
                server.stall(0.1)

    return answer
