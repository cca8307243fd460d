"""What tests of downloads ask for, and what they expect."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.servers import (
    LOCAL,
    QUICK,
    Answer,
    Handler,
    Server,
    send,
)
from transforms.core.errors import AudioError
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy

BODY = random.Random(0).randbytes(300_000)


GUARDED = FetchPolicy(limits=QUICK)


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


def whole(handler: Handler) -> None:
    send(handler, 200, BODY)


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, the last one for ever."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def stalls_of(server: Server, at: str) -> Answer:
    def answer(handler: Handler) -> None:
        if at == "start":
            server.stall()
        elif at == "headers":  # a byte now and then: no socket's time limit ever ends that
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
