"""Which hosts downloads reach: redirects, private addresses, DNS rebinding, proxies."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.support.downloads import BODY, GUARDED, error_of, in_turn, read, send_body, stalling
from tests.support.servers import QUICK, Answer, Handler, Server, send, serving, write_certificate
from tests.support.stops import OwnStopError, StopSoon
from transforms.fetch.guarded_connections import Watchdog
from transforms.fetch.policy import FetchPolicy


def redirects(times: int) -> Answer:
    def answer(handler: Handler) -> None:
        n = int(handler.path.rpartition("/")[2])
        if n < times:
            send(handler, (301, 302, 303, 307, 308)[n % 5], b"moved", {"Location": f"/hop/{n + 1}"})
        else:
            send(handler, 200, BODY)

    return answer


def test_at_most_five_redirects_are_followed(server: Server) -> None:
    server.answer = redirects(5)
    assert read(f"{server.url}/0") == BODY
    server.requests.clear()
    server.answer = redirects(10**6)
    error = error_of(f"{server.url}/0")
    assert (error.kind, error.retryable, len(server.requests)) == ("redirects", False, 6)


def test_body_of_a_redirect_is_not_read(server: Server) -> None:
    def endless(handler: Handler) -> None:
        if handler.path == "/b.wav":
            return send_body(handler)
        send(handler, 302, b"", {"Location": "/b.wav", "Content-Length": str(1 << 40)})
        while not server.closing.is_set():
            handler.wfile.write(BODY)
        return None

    server.answer = endless
    assert read(f"{server.url}/a.wav") == BODY


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/a.wav", "data:audio/wav;base64,AAAA"])
def test_redirect_to_another_scheme_is_refused(server: Server, target: str) -> None:
    server.answer = lambda handler: send(handler, 302, b"", {"Location": target})
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable, len(server.requests)) == ("forbidden_redirect", False, 1)


def test_credentials_of_a_url_are_sent_to_its_own_host_only(server: Server) -> None:
    with serving(send_body) as other:
        server.answer = in_turn(
            lambda handler: send(handler, 302, b"", {"Location": "/again"}),
            lambda handler: send(handler, 302, b"", {"Location": f"http://localhost:{other.port}/b.wav"}),
        )
        assert read(f"http://me:hunter2@127.0.0.1:{server.port}/a.wav") == BODY
        assert ["Authorization" in request.headers for request in server.requests] == [True, True]
        assert "Authorization" not in other.requests[0].headers


def test_private_hosts_are_not_connected_to(server: Server) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433"):
        error = error_of(f"http://{host}:{server.port}/a.wav", GUARDED)
        assert (error.kind, error.retryable, error.attempts) == ("forbidden_host", False, 1)
        assert "--allow_private_hosts" in error.message
    assert server.accepted == 0


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Makes `h.example` resolve to each address in turn, then the last one; returns the names."""
    resolved: list[str] = []
    resolve, remaining = socket.getaddrinfo, list(answers)

    def fake(host: str, port: object, *args: object, **more: object) -> object:
        resolved.append(host)
        if host == "h.example":
            host = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return resolve(host, port, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("socket.getaddrinfo", fake)
    return resolved


def public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Makes these addresses of loopback count as public."""
    from transforms.fetch import public_addresses

    original = public_addresses.is_public
    monkeypatch.setattr(
        public_addresses, "is_public", lambda address: address in addresses or original(address)
    )


def test_redirect_to_a_private_host_is_not_followed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    public(monkeypatch, "127.0.0.1")
    with serving(send_body) as inside:
        for target in (f"http://127.0.0.2:{inside.port}/", "http://169.254.169.254/latest/meta-data/"):
            server.answer = lambda handler, target=target: send(handler, 302, b"", {"Location": target})
            error = error_of(f"{server.url}/a.wav", GUARDED)
            assert (error.kind, error.attempts) == ("forbidden_host", 1)
        assert (len(server.requests), inside.accepted) == (2, 0)


def test_dns_rebinding_does_not_bypass_the_check(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the checked address, not to the name server's later answer."""
    public(monkeypatch, "127.0.0.2")
    resolved = resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    error = error_of(f"http://h.example:{server.port}/a.wav", limits_guarded(attempts=1))
    assert error.kind == "connection"  # no server at 127.0.0.2
    assert resolved.count("h.example") == 1
    assert server.accepted == 0
    error = error_of(f"http://h.example:{server.port}/a.wav", limits_guarded(attempts=1))
    assert (error.kind, server.accepted) == ("forbidden_host", 0)


def limits_guarded(**changed: float) -> FetchPolicy:
    return replace(GUARDED, limits=replace(QUICK, **changed))  # type: ignore[arg-type]


def test_host_header_is_the_name_not_the_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    public(monkeypatch, "127.0.0.1")
    resolving(monkeypatch, "127.0.0.1")
    assert read(f"http://h.example:{server.port}/a.wav", GUARDED) == BODY
    assert server.requests[0].headers["Host"] == f"h.example:{server.port}"


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
    server.answer = stalling(server, "headers")
    error = error_of(url, limits_guarded(connect_s=0.2, read_s=0.3, stall_s=0.3, give_up_s=0.5))
    assert error.kind == "timeout"


def test_host_of_the_url_is_checked_with_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    assert error_of("http://127.0.0.2:1/a.wav", GUARDED).kind == "forbidden_host"
    assert server.accepted == 0
    assert read("http://unknown.invalid/a.wav", GUARDED) == BODY  # only the proxy can resolve it
    assert server.requests[0].path == "http://unknown.invalid/a.wav"
    assert read("http://127.0.0.2:1/a.wav") == BODY  # with --allow_private_hosts


def test_a_watchdog_closes_connections_once_the_work_is_cancelled() -> None:
    """Also one that is added later, and it keeps the exception for the download to raise."""
    first, second = socket.socketpair(), socket.socketpair()
    with first[0], first[1], second[0], second[1], StopSoon(0.0) as check:
        with Watchdog(monotonic() + 60, check) as watchdog:
            watchdog.watch(first[0])
            assert first[1].recv(1) == b""
            assert watchdog.tripped
            watchdog.watch(second[0])
            assert second[1].recv(1) == b""
        assert isinstance(watchdog.stop, OwnStopError)
        assert threading.get_ident() not in check.threads


def test_a_deadline_is_no_cancellation() -> None:
    with Watchdog(monotonic()) as watchdog:
        while not watchdog.tripped:
            pass
    assert watchdog.stop is None
