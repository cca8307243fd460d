"""HTTP servers on loopback with scripted answers; they record requests and connections."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from transforms.fetch.policy import FetchPolicy, Limits

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler], None]

QUICK = Limits(
    connect_s=10,
    read_s=10,
    stall_s=10,
    min_bytes_per_s=10_000,
    give_up_s=30,
    back_off_s=0.002,
    max_wait_s=0.05,
    bytes_left_free=0,
)
"""Without long waits between attempts; the time limits are for servers that answer at once, or never."""

LOCAL = FetchPolicy(allow_private_hosts=True, fetch_timeout_s=60, limits=QUICK)


@dataclass(frozen=True)
class HttpRequest:
    """A request: its path with the query, and its headers."""

    path: str
    headers: Mapping[str, str]


class Server:
    """A server that calls `answer` for each request.

    Attributes:
        answer: writes the answer.
        requests: all requests, in order.
        accepted: number of connections.
    """

    def __init__(self, answer: Answer, host: str) -> None:
        self.answer = answer
        self.requests: list[HttpRequest] = []
        self.accepted = 0
        self.closing = threading.Event()
        self._http = _server_of(self, host)
        self.port: int = self._http.server_port
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def use_tls(self, certificate: Path) -> None:
        """Switches to `https`; the file contains the certificate and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()  # waits for the threads of requests
        self._thread.join()

    def stall(self, seconds: float = 20.0) -> None:
        """Waits without answering, at most until the server is closed."""
        self.closing.wait(seconds)


def _server_of(server: Server, host: str) -> ThreadingHTTPServer:
    class Counted(ThreadingHTTPServer):
        request_queue_size = 128

        def get_request(self) -> tuple[object, object]:  # type: ignore[override]
            server.accepted += 1
            return super().get_request()

    class Recorded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(HttpRequest(self.path, dict(self.headers)))
            try:
                server.answer(self)
            except OSError:  # the client has closed the connection
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Counted((host, 0), Recorded)


@contextmanager
def serving(answer: Answer, host: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(answer, host)
    try:
        yield server
    finally:
        server.close()


def send(
    handler: Handler,
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> None:
    """Sends a complete answer; `headers` may declare another length."""
    handler.send_response(status, reason)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def send_range(handler: Handler, body: bytes, tag: str, max_bytes: int | None = None) -> None:
    """Answers like a server with range support; closes the connection after `max_bytes`."""
    requested = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if requested is None or handler.headers.get("If-Range", tag) != tag:
        handler.send_response(200)
        start = 0
    else:
        start = int(requested[1])
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("ETag", tag)
    handler.end_headers()
    handler.wfile.write(body[start:][:max_bytes])


def write_certificate(path: Path, host: str) -> Path:
    """Writes a self-signed certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
