from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import pytest

from tests.support.downloads import BODY, error_of, in_turn, limits, read, send_body, stalling
from tests.support.servers import Answer, Handler, Server, send, send_range
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import Limits


def status(code: int, headers: Mapping[str, str] | None = None) -> Answer:
    return lambda handler: send(handler, code, b"busy", headers)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_busy_server_is_retried(server: Server, code: int) -> None:
    server.answer = in_turn(status(code), status(code), send_body)
    assert read(f"{server.url}/a%20b.wav?x=1") == BODY
    assert [request.path for request in server.requests] == ["/a%20b.wav?x=1"] * 3


@pytest.mark.parametrize(
    ("code", "kind", "retryable", "attempts"),
    [
        (404, "not_found", False, 1), (410, "not_found", False, 1), (401, "forbidden", False, 1),
        (403, "forbidden", False, 1), (400, "http_400", False, 1), (204, "http_204", False, 1),
        (304, "http_304", False, 1), (503, "http_503", True, 8),
    ],
)  # fmt: skip
def test_status_codes_have_kinds(
    server: Server, code: int, kind: str, retryable: bool, attempts: int
) -> None:
    server.answer = lambda handler: send(handler, code)
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, error.attempts) == (kind, retryable, attempts)
    assert len(server.requests) == attempts


@pytest.mark.parametrize("how", ["seconds", "date"])
def test_retry_after_is_respected(server: Server, how: str) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    busy = status(429, {"Retry-After": "60" if how == "seconds" else later})
    server.answer = in_turn(busy, send_body)
    started = monotonic()
    assert read(f"{server.url}/a.wav", limits(max_wait_s=0.5)) == BODY
    assert 0.5 <= monotonic() - started < 30  # and not a minute


def test_reset_connection_is_retried(server: Server) -> None:
    def reset(handler: Handler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.connection.close()
        raise OSError

    server.answer = in_turn(reset, reset, send_body)
    assert read(f"{server.url}/a.wav") == BODY


def test_interrupted_body_is_resumed(server: Server) -> None:
    server.answer = lambda handler: send_range(handler, BODY, '"v1"', len(BODY) // 3)
    assert read(f"{server.url}/a.wav") == BODY
    second = server.requests[1].headers
    assert (second["Range"], second["If-Range"]) == (f"bytes={len(BODY) // 3}-", '"v1"')
    assert "Range" not in server.requests[0].headers
    assert len(server.requests) == 3


def interrupted(headers: Mapping[str, str]) -> Answer:
    def answer(handler: Handler) -> None:
        send(handler, 200, BODY[:1000], {"Content-Length": str(len(BODY)), **headers})

    return answer


OLD = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
NEW = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"v1"'}, '"v1"'), ({"ETag": 'W/"v1"'}, None), ({}, None),
        ({"Last-Modified": OLD}, OLD), ({"Last-Modified": NEW}, None), ({"Last-Modified": "soon"}, None),
        ({"ETag": '"v1"', "Content-Encoding": "gzip"}, None),
    ],
    ids=["strong", "weak", "none", "old", "new", "not a date", "compressed"],
)  # fmt: skip
def test_download_is_resumed_only_with_a_strong_validator(
    server: Server, headers: Mapping[str, str], validator: str | None
) -> None:
    server.answer = in_turn(interrupted(headers), send_body)
    assert read(f"{server.url}/a.wav") == BODY
    again = server.requests[1].headers
    assert again.get("If-Range") == validator
    assert ("Range" in again) == (validator is not None)


def test_changed_resource_is_fetched_from_the_start(server: Server) -> None:
    def changed(handler: Handler) -> None:
        send_range(handler, BODY[::-1], '"v2"')

    server.answer = in_turn(lambda handler: send_range(handler, BODY, '"v1"', 1000), changed)
    assert read(f"{server.url}/a.wav") == BODY[::-1]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-299999/300000", "bytes 1001-299999/300000", "bytes 1000-299999/299999", "bytes */300000", ""],
)
def test_wrong_content_range_restarts_the_download(server: Server, content_range: str) -> None:
    def part(handler: Handler) -> None:
        body = BODY[1000:]
        send(handler, 206, body, {"Content-Range": content_range} if content_range else {})

    server.answer = in_turn(interrupted({"ETag": '"v1"'}), part, send_body)
    assert read(f"{server.url}/a.wav") == BODY
    assert "Range" in server.requests[1].headers
    assert "Range" not in server.requests[2].headers


def test_unsatisfiable_range_restarts_the_download(server: Server) -> None:
    server.answer = in_turn(interrupted({"ETag": '"v1"'}), status(416), send_body)
    assert read(f"{server.url}/a.wav") == BODY
    assert ["Range" in request.headers for request in server.requests] == [False, True, False]


def test_body_shorter_than_declared_is_an_error(server: Server) -> None:
    server.answer = interrupted({})
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, error.attempts) == ("short_body", True, 8)


def test_partial_answer_without_a_range_request_is_an_error(server: Server) -> None:
    def part(handler: Handler) -> None:
        send(handler, 206, BODY[:1000], {"Content-Range": f"bytes 0-999/{len(BODY)}"})

    server.answer = part
    assert error_of(f"{server.url}/a.wav").kind in ("short_body", "bad_range")


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        handler.wfile.write(end)

    return answer


def test_chunked_body(server: Server) -> None:
    server.answer = chunked(BODY[:1000], BODY[1000:])
    assert read(f"{server.url}/a.wav") == BODY


@pytest.mark.parametrize("end", [b"", b"ff\r\nabc", b"zz\r\n"])
def test_interrupted_chunked_body_is_retried(server: Server, end: bytes) -> None:
    server.answer = in_turn(chunked(BODY[:1000], end=end), send_body)
    assert read(f"{server.url}/a.wav") == BODY
    assert len(server.requests) == 2


def test_unrequested_compression_is_decoded(server: Server) -> None:
    server.answer = lambda handler: send(handler, 200, gzip.compress(BODY), {"Content-Encoding": "gzip"})
    assert read(f"{server.url}/a.wav") == BODY
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_decompression_stops_at_the_size_limit(server: Server) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    server.answer = lambda handler: send(handler, 200, bomb, {"Content-Encoding": "gzip"})
    assert error_of(f"{server.url}/a.wav", limits(bytes_each=10**6)).kind == "too_large"


def test_empty_body_is_an_error(server: Server) -> None:
    server.answer = lambda handler: send(handler, 200)
    assert error_of(f"{server.url}/a.wav").kind == "empty"


def test_length_above_the_limit_is_refused_before_the_body(server: Server) -> None:
    sent = []

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        server.stall(20)
        sent.append(handler.wfile.write(b"x"))

    server.answer = answer
    started = monotonic()
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable) == ("too_large", False)
    assert monotonic() - started < 10
    assert sent == []


def test_body_of_unknown_length_stops_at_the_size_limit(server: Server) -> None:
    server.answer = chunked(*[BODY] * 10)
    error = error_of(f"{server.url}/a.wav", limits(bytes_each=len(BODY)))
    assert (error.kind, error.retryable) == ("too_large", False)


def test_refused_connection_is_retryable(server: Server) -> None:
    server.close()
    error = error_of(f"{server.url}/a.wav?X-Amz-Signature=hunter2")
    assert (error.kind, error.retryable) == ("connection", True)
    assert "hunter2" not in error.message


@pytest.mark.parametrize("at", ["start", "headers", "body", "drip", "chunk size"])
def test_stalled_server_times_out(server: Server, at: str) -> None:
    server.answer = stalling(server, at)
    started = monotonic()
    error = error_of(f"{server.url}/a.wav", limits(connect_s=0.2, read_s=0.3, stall_s=0.3, give_up_s=1))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert monotonic() - started < 10  # a stalled server sends for as long, or nothing for longer
    assert error.attempts > 1


@pytest.mark.parametrize("at", ["start", "headers", "body", "drip", "chunk size"])
def test_total_timeout_ends_a_download(server: Server, at: str) -> None:
    server.answer = stalling(server, at)
    started = monotonic()
    patient = limits(connect_s=20, read_s=20, stall_s=20, give_up_s=100)
    patient = replace(patient, fetch_timeout_s=0.5)
    error = error_of(f"{server.url}/a.wav", patient)
    assert (error.kind, error.attempts) == ("timeout", 1)
    assert "--fetch_timeout_s" in error.message
    assert 0.5 <= monotonic() - started < 8  # the server sends for ten seconds, or nothing for longer


def test_no_thread_outlives_a_download(server: Server) -> None:
    before = threading.active_count()
    read(f"{server.url}/a.wav")
    error_of(f"{server.url}/a.wav", limits(bytes_each=1))
    assert [thread for thread in threading.enumerate() if thread.name == "download watchdog"] == []
    assert threading.active_count() <= before + 2  # threads of the server


def test_unresponsive_host_gets_one_attempt_until_it_answers(server: Server) -> None:
    server.answer = stalling(server, "start")
    brief = limits(read_s=0.02, attempts=2)
    attempts = [error_of(f"{server.url}/{n}.wav", brief).attempts for n in range(7)]
    assert attempts == [2, 2, 2, 2, 2, 1, 1]
    assert error_of(f"http://localhost:{server.port}/a.wav", brief).attempts == 2  # another host
    server.answer = in_turn(status(500), send_body)  # it answers again, with an error first
    assert read(f"{server.url}/a.wav", limits(attempts=2)) == BODY
    server.answer = stalling(server, "start")
    assert error_of(f"{server.url}/a.wav", brief).attempts == 2


def test_host_that_answers_and_then_stalls_is_not_unresponsive(server: Server) -> None:
    server.answer = stalling(server, "body")
    brief = limits(read_s=0.1, attempts=2)
    assert [error_of(f"{server.url}/{n}.wav", brief).attempts for n in range(7)] == [2] * 7


@pytest.mark.parametrize("url", ["http://", "http://[broken/a.wav", "http://h:port/a.wav", "http://a..b/"])
def test_invalid_urls(url: str) -> None:
    error = error_of(url)
    assert (error.kind, error.attempts) == ("bad_url", 1)


def test_concurrent_downloads_per_host_are_limited(server: Server) -> None:
    lock, n_active, n_max = threading.Lock(), [0], [0]

    def count(handler: Handler) -> None:
        with lock:
            n_active[0] += 1
            n_max[0] = max(n_max[0], n_active[0])
        server.stall(0.05)
        with lock:
            n_active[0] -= 1
        send_body(handler)

    server.answer = count
    with_two = limits(per_host=2)
    threads = [threading.Thread(target=read, args=(f"{server.url}/{n}.wav", with_two)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (n_max[0], len(server.requests)) == (2, 8)


def test_downloads_wait_for_disk_space(server: Server, tmp_path: Path) -> None:
    space_for_two = limits(bytes_in_memory=1000, bytes_total=2 * len(BODY))
    complete = []

    def use(name: str) -> None:
        with open_audio(audio_source(f"{server.url}/{name}"), space_for_two) as file:
            server.stall(0.05)
            complete.append(file.read() == BODY)

    threads = [threading.Thread(target=use, args=(f"{n}.wav",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert complete == [True] * 6


def test_default_attempts_suffice_for_a_busy_server() -> None:
    assert 0.3 ** Limits().attempts < 1e-4
