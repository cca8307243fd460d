from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import pytest

from tests.support.downloads import BODY, error_of, in_turn, limits, read, stalls_of, whole
from tests.support.servers import (
    Answer,
    Handler,
    Server,
    send,
    send_range,
)
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import Limits


def status(code: int, headers: Mapping[str, str] | None = None) -> Answer:
    return lambda handler: send(handler, code, b"busy", headers)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: Server, code: int) -> None:
    server.answer = in_turn(status(code), status(code), whole)
    assert read(f"{server.url}/a%20b.wav?x=1") == BODY
    assert [asked.path for asked in server.asked] == ["/a%20b.wav?x=1"] * 3


@pytest.mark.parametrize(
    ("code", "kind", "retryable", "attempts"),
    [
        (404, "not_found", False, 1), (410, "not_found", False, 1), (401, "forbidden", False, 1),
        (403, "forbidden", False, 1), (400, "http_400", False, 1), (204, "http_204", False, 1),
        (304, "http_304", False, 1), (503, "http_503", True, 8),
    ],
)  # fmt: skip
def test_a_refusal_has_its_kind(server: Server, code: int, kind: str, retryable: bool, attempts: int) -> None:
    server.answer = lambda handler: send(handler, code)
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, error.attempts) == (kind, retryable, attempts)
    assert len(server.asked) == attempts


@pytest.mark.parametrize("how", ["seconds", "date"])
def test_a_server_is_given_the_time_it_asks_for(server: Server, how: str) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    asks = status(429, {"Retry-After": "60" if how == "seconds" else later})
    server.answer = in_turn(asks, whole)
    started = monotonic()
    assert read(f"{server.url}/a.wav", limits(longest_wait_s=0.5)) == BODY
    assert 0.5 <= monotonic() - started < 5


def test_a_connection_that_is_reset(server: Server) -> None:
    def reset(handler: Handler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.connection.close()
        raise OSError

    server.answer = in_turn(reset, reset, whole)
    assert read(f"{server.url}/a.wav") == BODY


def test_a_body_that_breaks_off_is_gone_on_with(server: Server) -> None:
    server.answer = lambda handler: send_range(handler, BODY, '"v1"', len(BODY) // 3)
    assert read(f"{server.url}/a.wav") == BODY
    second = server.asked[1].headers
    assert (second["Range"], second["If-Range"]) == (f"bytes={len(BODY) // 3}-", '"v1"')
    assert "Range" not in server.asked[0].headers
    assert len(server.asked) == 3


def cut(headers: Mapping[str, str]) -> Answer:
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
)  # fmt: skip
def test_only_what_is_surely_the_same_is_gone_on_with(
    server: Server, headers: Mapping[str, str], validator: str | None
) -> None:
    server.answer = in_turn(cut(headers), whole)
    assert read(f"{server.url}/a.wav") == BODY
    again = server.asked[1].headers
    assert again.get("If-Range") == validator
    assert ("Range" in again) == (validator is not None)


def test_what_changed_meanwhile_is_fetched_from_the_start(server: Server) -> None:
    def changed(handler: Handler) -> None:
        send_range(handler, BODY[::-1], '"v2"')

    server.answer = in_turn(lambda handler: send_range(handler, BODY, '"v1"', 1000), changed)
    assert read(f"{server.url}/a.wav") == BODY[::-1]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "given",
    ["bytes 0-299999/300000", "bytes 1001-299999/300000", "bytes 1000-299999/299999", "bytes */300000", ""],
)
def test_another_part_than_was_asked_for_is_not_believed(server: Server, given: str) -> None:
    def part(handler: Handler) -> None:
        body = BODY[1000:]
        send(handler, 206, body, {"Content-Range": given} if given else {})

    server.answer = in_turn(cut({"ETag": '"v1"'}), part, whole)
    assert read(f"{server.url}/a.wav") == BODY
    assert "Range" in server.asked[1].headers
    assert "Range" not in server.asked[2].headers


def test_a_part_that_cannot_be_had_is_forgotten(server: Server) -> None:
    server.answer = in_turn(cut({"ETag": '"v1"'}), status(416), whole)
    assert read(f"{server.url}/a.wav") == BODY
    assert ["Range" in asked.headers for asked in server.asked] == [False, True, False]


def test_a_body_shorter_than_it_claims_is_no_recording(server: Server) -> None:
    server.answer = cut({})
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, error.attempts) == ("short_body", True, 8)


def test_a_part_shorter_than_the_whole_is_no_recording(server: Server) -> None:
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


def test_a_body_in_chunks(server: Server) -> None:
    server.answer = chunked(BODY[:1000], BODY[1000:])
    assert read(f"{server.url}/a.wav") == BODY


@pytest.mark.parametrize("end", [b"", b"ff\r\nabc", b"zz\r\n"])
def test_chunks_that_break_off(server: Server, end: bytes) -> None:
    server.answer = in_turn(chunked(BODY[:1000], end=end), whole)
    assert read(f"{server.url}/a.wav") == BODY
    assert len(server.asked) == 2


def test_a_body_that_is_compressed_all_the_same(server: Server) -> None:
    server.answer = lambda handler: send(handler, 200, gzip.compress(BODY), {"Content-Encoding": "gzip"})
    assert read(f"{server.url}/a.wav") == BODY
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_compressed_bomb_is_cut_at_the_cap(server: Server) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    server.answer = lambda handler: send(handler, 200, bomb, {"Content-Encoding": "gzip"})
    assert error_of(f"{server.url}/a.wav", limits(bytes_each=10**6)).kind == "too_large"


def test_an_empty_body(server: Server) -> None:
    server.answer = lambda handler: send(handler, 200)
    assert error_of(f"{server.url}/a.wav").kind == "empty"


def test_a_length_above_the_cap_is_refused_before_the_body(server: Server) -> None:
    sent = []

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        server.stall(0.2)
        sent.append(handler.wfile.write(b"x"))

    server.answer = answer
    started = monotonic()
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable) == ("too_large", False)
    assert monotonic() - started < 0.2
    assert sent == []


def test_a_body_of_unknown_length_is_cut_at_the_cap(server: Server) -> None:
    server.answer = chunked(*[BODY] * 10)
    error = error_of(f"{server.url}/a.wav", limits(bytes_each=len(BODY)))
    assert (error.kind, error.retryable) == ("too_large", False)


def test_nobody_listens(server: Server) -> None:
    server.close()
    error = error_of(f"{server.url}/a.wav?X-Amz-Signature=hunter2")
    assert (error.kind, error.retryable) == ("connection", True)
    assert "hunter2" not in error.message


@pytest.mark.parametrize("at", ["start", "headers", "body", "drip", "chunk size"])
def test_a_server_that_stalls_is_a_row_in_time(server: Server, at: str) -> None:
    server.answer = stalls_of(server, at)
    started = monotonic()
    error = error_of(f"{server.url}/a.wav", limits(connect_s=0.2, give_up_s=1))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert monotonic() - started < 3
    assert error.attempts > 1


@pytest.mark.parametrize("at", ["start", "headers", "body", "drip", "chunk size"])
def test_no_download_takes_longer_than_it_may(server: Server, at: str) -> None:
    server.answer = stalls_of(server, at)
    started = monotonic()
    patient = limits(connect_s=20, read_s=20, stall_s=20, give_up_s=100, total_s=0.5)
    error = error_of(f"{server.url}/a.wav", patient)
    assert (error.kind, error.attempts) == ("timeout", 1)
    assert "--fetch_timeout_s" in error.message
    assert 0.5 <= monotonic() - started < 2


def test_no_thread_outlives_a_download(server: Server) -> None:
    before = threading.active_count()
    read(f"{server.url}/a.wav")
    error_of(f"{server.url}/a.wav", limits(bytes_each=1))
    assert [thread for thread in threading.enumerate() if thread.name == "download watchdog"] == []
    assert threading.active_count() <= before + 2  # those of the server


def test_a_host_that_is_gone_is_asked_once_until_it_answers(server: Server) -> None:
    server.answer = stalls_of(server, "start")
    brief = limits(read_s=0.02, attempts=2)
    attempts = [error_of(f"{server.url}/{n}.wav", brief).attempts for n in range(7)]
    assert attempts == [2, 2, 2, 2, 2, 1, 1]
    assert error_of(f"http://localhost:{server.port}/a.wav", brief).attempts == 2  # another host
    server.answer = in_turn(status(500), whole)  # it is back, if busy
    assert read(f"{server.url}/a.wav", brief) == BODY
    server.answer = stalls_of(server, "start")
    assert error_of(f"{server.url}/a.wav", brief).attempts == 2


def test_a_server_that_answers_and_then_stalls_is_not_gone(server: Server) -> None:
    server.answer = stalls_of(server, "body")
    brief = limits(read_s=0.02, attempts=2)
    assert [error_of(f"{server.url}/{n}.wav", brief).attempts for n in range(7)] == [2] * 7


@pytest.mark.parametrize("url", ["http://", "http://[broken/a.wav", "http://h:port/a.wav", "http://a..b/"])
def test_a_broken_url(url: str) -> None:
    error = error_of(url)
    assert (error.kind, error.attempts) == ("bad_url", 1)


def test_a_host_is_not_asked_by_too_many_at_once(server: Server) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def count(handler: Handler) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        server.stall(0.05)
        with lock:
            now[0] -= 1
        whole(handler)

    server.answer = count
    with_two = limits(per_host=2)
    threads = [threading.Thread(target=read, args=(f"{server.url}/{n}.wav", with_two)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], len(server.asked)) == (2, 8)


def test_downloads_wait_for_room(server: Server, tmp_path: Path) -> None:
    room_for_two = limits(bytes_in_memory=1000, bytes_held=2 * len(BODY))
    read_whole = []

    def use(name: str) -> None:
        with open_audio(audio_source(f"{server.url}/{name}"), room_for_two) as file:
            server.stall(0.05)
            read_whole.append(file.read() == BODY)

    threads = [threading.Thread(target=use, args=(f"{n}.wav",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_whole == [True] * 6


def test_the_default_limits_leave_room_for_a_busy_server() -> None:
    assert 0.3 ** Limits().attempts < 1e-4
