from __future__ import annotations

import gzip
import random
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import pytest

from tests.transforms.servers import (
    LOCAL,
    QUICK,
    Answer,
    Handler,
    Server,
    send,
    send_range,
    serving,
    write_certificate,
)
from transforms.errors import AudioError
from transforms.fetch import open_audio
from transforms.hosts import HOSTS
from transforms.policy import FetchPolicy, Limits
from transforms.uris import audio_source

BODY = random.Random(0).randbytes(300_000)
GUARDED = FetchPolicy(limits=QUICK)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    HOSTS._unanswered.clear()
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda handler: send(handler, 200, BODY)) as server:
        yield server


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


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, the last one for ever."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def status(code: int, headers: Mapping[str, str] | None = None) -> Answer:
    return lambda handler: send(handler, code, b"busy", headers)


def whole(handler: Handler) -> None:
    send(handler, 200, BODY)


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


def redirects(times: int) -> Answer:
    def answer(handler: Handler) -> None:
        n = int(handler.path.rpartition("/")[2])
        if n < times:
            send(handler, (301, 302, 303, 307, 308)[n % 5], b"moved", {"Location": f"/hop/{n + 1}"})
        else:
            send(handler, 200, BODY)

    return answer


def test_five_redirects_are_followed_and_no_more(server: Server) -> None:
    server.answer = redirects(5)
    assert read(f"{server.url}/0") == BODY
    server.asked.clear()
    server.answer = redirects(10**6)
    error = error_of(f"{server.url}/0")
    assert (error.kind, error.retryable, len(server.asked)) == ("redirects", False, 6)


def test_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    def endless(handler: Handler) -> None:
        if handler.path == "/b.wav":
            return whole(handler)
        send(handler, 302, b"", {"Location": "/b.wav", "Content-Length": str(1 << 40)})
        while not server.closing.is_set():
            handler.wfile.write(BODY)
        return None

    server.answer = endless
    assert read(f"{server.url}/a.wav") == BODY


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/a.wav", "data:audio/wav;base64,AAAA"])
def test_a_redirect_to_another_scheme_is_refused(server: Server, target: str) -> None:
    server.answer = lambda handler: send(handler, 302, b"", {"Location": target})
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, len(server.asked)) == ("forbidden_redirect", False, 1)


def test_credentials_of_a_url_go_to_its_own_host_alone(server: Server) -> None:
    with serving(whole) as other:
        server.answer = in_turn(
            lambda handler: send(handler, 302, b"", {"Location": "/again"}),
            lambda handler: send(handler, 302, b"", {"Location": f"http://localhost:{other.port}/b.wav"}),
        )
        assert read(f"http://me:hunter2@127.0.0.1:{server.port}/a.wav") == BODY
        assert ["Authorization" in asked.headers for asked in server.asked] == [True, True]
        assert "Authorization" not in other.asked[0].headers


def test_a_private_host_is_not_even_connected_to(server: Server) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433"):
        error = error_of(f"http://{host}:{server.port}/a.wav", GUARDED)
        assert (error.kind, error.retryable, error.attempts) == ("forbidden_host", False, 1)
        assert "--allow_private_hosts" in error.message
    assert server.accepted == 0


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Has `h.example` resolve to each address in turn, the last one for ever."""
    asked: list[str] = []
    resolve, left = socket.getaddrinfo, list(answers)

    def lie(host: str, port: object, *args: object, **more: object) -> object:
        asked.append(host)
        if host == "h.example":
            host = left.pop(0) if len(left) > 1 else left[0]
        return resolve(host, port, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("socket.getaddrinfo", lie)
    return asked


def public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Takes these addresses of loopback for public ones."""
    from transforms import hosts

    judge = hosts.is_public
    monkeypatch.setattr(hosts, "is_public", lambda address: address in addresses or judge(address))


def test_a_redirect_to_a_private_host_is_not_followed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    public(monkeypatch, "127.0.0.1")
    with serving(whole) as inside:
        for target in (f"http://127.0.0.2:{inside.port}/", "http://169.254.169.254/latest/meta-data/"):
            server.answer = lambda handler, target=target: send(handler, 302, b"", {"Location": target})
            error = error_of(f"{server.url}/a.wav", GUARDED)
            assert (error.kind, error.attempts) == ("forbidden_host", 1)
        assert (len(server.asked), inside.accepted) == (2, 0)


def test_a_name_that_changes_its_address_fools_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what was checked is what is connected to, whatever the name server says then."""
    public(monkeypatch, "127.0.0.2")
    asked = resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    error = error_of(f"http://h.example:{server.port}/a.wav", limits_guarded(attempts=1))
    assert error.kind == "connection"  # nobody listens at 127.0.0.2
    assert asked.count("h.example") == 1
    assert server.accepted == 0
    error = error_of(f"http://h.example:{server.port}/a.wav", limits_guarded(attempts=1))
    assert (error.kind, server.accepted) == ("forbidden_host", 0)


def limits_guarded(**changed: float) -> FetchPolicy:
    return replace(GUARDED, limits=replace(QUICK, **changed))  # type: ignore[arg-type]


def test_a_name_is_sent_as_it_is_when_its_address_is_connected_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    public(monkeypatch, "127.0.0.1")
    resolving(monkeypatch, "127.0.0.1")
    assert read(f"http://h.example:{server.port}/a.wav", GUARDED) == BODY
    assert server.asked[0].headers["Host"] == f"h.example:{server.port}"


def test_https_is_guarded_watched_and_verified_by_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path / "host.pem", "h.example")
    server.use_tls(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    resolving(monkeypatch, "127.0.0.1")
    url = f"https://h.example:{server.port}/a.wav"
    assert error_of(url, GUARDED).kind == "forbidden_host"
    assert server.accepted == 0
    public(monkeypatch, "127.0.0.1")
    assert read(url, GUARDED) == BODY
    error = error_of(f"https://127.0.0.1:{server.port}/a.wav", GUARDED)
    assert (error.kind, error.attempts) == ("bad_certificate", 1)
    server.answer = stalls_of(server, "headers")
    error = error_of(url, limits_guarded(connect_s=0.2, give_up_s=0.5))
    assert error.kind == "timeout"


def test_through_a_proxy_the_host_of_the_url_is_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    assert error_of("http://127.0.0.2:1/a.wav", GUARDED).kind == "forbidden_host"
    assert server.accepted == 0
    assert read("http://nobody.invalid/a.wav", GUARDED) == BODY  # only the proxy can resolve it
    assert server.asked[0].path == "http://nobody.invalid/a.wav"
    assert read("http://127.0.0.2:1/a.wav") == BODY  # with --allow_private_hosts


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
