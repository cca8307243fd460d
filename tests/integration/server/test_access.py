"""Who may use the server: keys, host names and origins, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.server.server import Server
from tests.support.asgi import FORM
from tests.support.raw_http import TRANSCRIPTIONS, TRANSLATIONS, Answer, form, get, send
from tests.support.server_backends import WORDS, talk

BODY = form(talk(1))
OTHER = "https://example.org"
KEYED_PATHS = ("/v1/models", "/v1/models/m", "/metrics", "/openapi.json", "/no/such/path", "/v1/")
CORS = "access-control-allow-origin"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("# two\nsk-file-1\nsk-file-2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPER_BEAM_API_KEY", "sk-environment")
        server = Server(backend=WORDS, model="m", port=0, api_key=("sk-option",), api_key_file=str(file))
    with server:
        yield server


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """A server with an origin and host names of its own."""
    with Server(
        backend=WORDS,
        model="m",
        port=0,
        api_key=("sk-1",),
        allowed_origins=(OTHER,),
        allowed_hosts=("talks.example.org", "*.lan"),
    ) as server:
        yield server


def transcribe(server: Server, path: str = TRANSCRIPTIONS, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(server.port, "POST", path, {**FORM, **named}, BODY)


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "sk-option", "Basic sk-option"])
def test_no_key(keyed: Server, path: str, authorization: str) -> None:
    answer = transcribe(keyed, path, **({"Authorization": authorization} if authorization else {}))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.error["code"] == "invalid_api_key"
    assert "didn't provide an API key" in answer.error["message"]


@pytest.mark.parametrize("key", ["sk-optio", "sk-option1", "SK-OPTION", "# two", "sk-option,sk-file-1", "é"])
def test_wrong_key(keyed: Server, key: str) -> None:
    answer = transcribe(keyed, Authorization=f"Bearer {key}")
    assert answer.status == 401
    assert "Incorrect API key" in answer.error["message"]
    assert key not in answer.text


@pytest.mark.parametrize("key", ["sk-option", "sk-file-1", "sk-file-2", "sk-environment"])
def test_right_key(keyed: Server, key: str) -> None:
    assert transcribe(keyed, Authorization=f"Bearer {key}").json["text"] == "en0"
    assert transcribe(keyed, authorization=f"bearer  {key} ").status == 200


def test_what_needs_a_key(keyed: Server) -> None:
    for path in KEYED_PATHS:
        assert get(keyed.port, path).status == 401
        assert get(keyed.port, path, {"Authorization": "Bearer sk-option"}).status in (200, 404)
    for path in ("/", "/health", "/ready"):
        assert get(keyed.port, path).status == 200


def test_key_is_checked_before_the_body_is_read(keyed: Server) -> None:
    headers = {**FORM, "Content-Length": str(1 << 29)}
    assert send(keyed.port, "POST", TRANSCRIPTIONS, headers).status == 401


FOREIGN_ORIGINS = [
    OTHER,
    "http://example.org",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "https://127.0.0.1:{port}0",
    "http://127.0.0.1.example.org:{port}",
    "null",
    "",
    "file://",
    "chrome-extension://abc",
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_foreign_origin(server: Server, origin: str) -> None:
    host = f"127.0.0.1:{server.port}"
    answer = transcribe(server, Host=host, Origin=origin.format(port=server.port))
    assert answer.status == 403
    assert answer.error["code"] == "origin_not_allowed"
    assert CORS not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_own_page(server: Server, host: str) -> None:
    """The page of the server may use it, by whichever name it was opened."""
    own = f"{host}:{server.port}"
    page = get(server.port, "/", {"Host": own})
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    answer = transcribe(server, Host=own, Origin=f"http://{own}")
    assert answer.json["text"] == "en0"
    assert CORS not in answer.headers


def test_cors_is_off(server: Server) -> None:
    for headers in ({}, {"Origin": OTHER}):
        for path in ("/", "/health", "/v1/models", "/metrics"):
            answer = get(server.port, path, headers)
            assert answer.status == (403 if headers else 200)
            assert not any(name.startswith("access-control") for name in answer.headers)
    assert preflight(server).status == 403


def preflight(server: Server, origin: str = OTHER) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-lang",
    }
    return send(server.port, "OPTIONS", TRANSCRIPTIONS, headers)


def test_allowed_origin(shared: Server) -> None:
    """Its preflight has no key; the request has one, and its answer can be read, an error too."""
    asked = preflight(shared)
    assert asked.status == 204
    assert asked.headers[CORS] == OTHER
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == "authorization,x-stainless-lang"
    for key, status in (("sk-1", 200), ("sk-2", 401)):
        answer = transcribe(shared, Origin=OTHER, Authorization=f"Bearer {key}")
        assert answer.status == status
        assert answer.headers[CORS] == OTHER
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [f"{OTHER}.evil.com", "http://example.org", f"{OTHER}:444", "null"])
def test_other_origins_stay_foreign(shared: Server, origin: str) -> None:
    assert preflight(shared, origin).status == 403
    assert transcribe(shared, Origin=origin, Authorization="Bearer sk-1").status == 403


@pytest.mark.parametrize(
    "host",
    ["example.org", "evil.com:8000", "127.0.0.1.evil.com", "10.0.0.1", "localhost@evil.com", "", "a b"],
)
def test_foreign_host(server: Server, host: str) -> None:
    """As of a name that an attacker has pointed to this machine."""
    answer = transcribe(server, Host=host)
    assert answer.status == 400
    assert answer.error["code"] == "host_not_allowed"
    assert get(server.port, "/", {"Host": host}).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "localhost."])
def test_loopback_hosts(server: Server, host: str) -> None:
    """The port may be that of a tunnel or proxy."""
    assert transcribe(server, Host=host).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("talks.example.org", 200), ("TALKS.example.org:443", 200), ("a.lan", 200), ("lan", 400), ("blan", 400)],
)
def test_configured_hosts(shared: Server, host: str, status: int) -> None:
    assert transcribe(shared, Host=host, Authorization="Bearer sk-1").status == status


def test_each_answer_has_the_headers_of_a_safe_server(server: Server, keyed: Server) -> None:
    answers = [
        get(server.port, "/health"),
        get(server.port, "/no/such"),
        get(server.port, "/health", {"Host": "evil.com"}),
        get(server.port, "/health", {"Origin": OTHER}),
        get(keyed.port, "/metrics"),
        transcribe(server),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("given", "is_kept"), [("abc-1", True), ("a\tb", False), ("a" * 129, False)])
def test_request_id_of_the_client(server: Server, given: str, is_kept: bool) -> None:
    answer = get(server.port, "/health", {"X-Request-Id": given})
    assert (answer.headers["x-request-id"] == given) == is_kept
