"""The field `url`: refused unless it is allowed, and never an address of the server's own network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.server.server import Server as WhisperServer
from tests.support.openai_answers import events_of
from tests.support.raw_http import Answer, form, post
from tests.support.server_backends import WORDS, talk, text_of
from tests.support.servers import Handler, Server, send, serving

TALK = talk(3)


def answer(handler: Handler) -> None:
    match handler.path:
        case "/talk.wav":
            send(handler, 200, TALK)
        case "/page":
            send(handler, 200, b"<html>" * 100, {"Content-Type": "text/html"})
        case "/moved":
            send(handler, 302, headers={"Location": "/talk.wav"})
        case "/to-file":
            send(handler, 302, headers={"Location": "file:///etc/passwd"})
        case "/empty":
            send(handler, 200)
        case _:
            send(handler, 404)


@pytest.fixture(scope="module")
def talks() -> Iterator[Server]:
    with serving(answer) as talks:
        yield talks


@pytest.fixture(scope="module")
def fetching() -> Iterator[WhisperServer]:
    """A server that fetches URLs, of private addresses too."""
    with WhisperServer(
        backend=WORDS, model="m", port=0, allow_urls=True, allow_private_hosts=True, fetch_timeout_s=5
    ) as server:
        yield server


@pytest.fixture(scope="module")
def careful() -> Iterator[WhisperServer]:
    """A server that fetches URLs of public addresses only."""
    with WhisperServer(backend=WORDS, model="m", port=0, allow_urls=True) as server:
        yield server


def transcribe(server: WhisperServer, url: str, **fields: str) -> Answer:
    return post(server.port, form(None, [("url", url), *fields.items()]))


def test_urls_are_off(server: WhisperServer, talks: Server) -> None:
    n_before = talks.accepted
    for fields in ([("url", f"{talks.url}/talk.wav")], [("url", "")]):
        for file in (None, TALK):
            refused = post(server.port, form(file, fields))
            assert refused.status == 400
    assert talks.accepted == n_before
    assert refused.error["param"] == "url"
    assert "--allow_urls" in refused.error["message"]


@pytest.mark.parametrize("path", ["/talk.wav", "/moved"])
def test_url_instead_of_a_file(fetching: WhisperServer, talks: Server, path: str) -> None:
    assert transcribe(fetching, f"{talks.url}{path}").json["text"] == text_of(3)
    verbose = transcribe(fetching, f"{talks.url}{path}", response_format="verbose_json").json
    assert verbose["duration"] == 3
    streamed = events_of(transcribe(fetching, f"{talks.url}{path}", stream="true").body)
    assert streamed[-1]["text"] == text_of(3)


@pytest.mark.parametrize(
    ("path", "code"), [("/page", None), ("/no-such", "not_found"), ("/empty", "empty"), ("/to-file", "")]
)
def test_url_without_audio(fetching: WhisperServer, talks: Server, path: str, code: str | None) -> None:
    refused = transcribe(fetching, f"{talks.url}{path}")
    assert refused.status == 400
    assert refused.error["type"] == "invalid_request_error"
    assert code == "" or refused.error["code"] == code
    assert "passwd" not in refused.error["message"] or path == "/to-file"
    assert "root:" not in refused.text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "talk.wav",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.wav",
        "s3://bucket/a.wav",
        "data:audio/wav;base64,AAAA",
        "http://",
        "http://[::1",
        "http://a b/",
        "javascript:alert(1)",
        "http://127.0.0.1/" + "a" * 9_000,
        "http://127.0.0.1/\u2028a",
    ],
    ids=lambda url: url[:20],
)
def test_what_is_no_url(fetching: WhisperServer, url: str) -> None:
    refused = transcribe(fetching, url)
    assert refused.status == 400
    assert refused.error["param"] == "url"


def test_file_and_url(fetching: WhisperServer, talks: Server) -> None:
    refused = post(fetching.port, form(TALK, [("url", f"{talks.url}/talk.wav")]))
    assert refused.error["param"] == "url"
    neither = post(fetching.port, form(None, [("model", "m")]))
    assert neither.error["param"] == "file"
    assert "or url" in neither.error["message"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"],
)
def test_private_addresses_are_not_fetched(careful: WhisperServer, talks: Server, host: str) -> None:
    n_before = talks.accepted
    refused = transcribe(careful, f"http://{host}:{talks.port}/talk.wav")
    assert refused.status == 400
    assert refused.error["param"] == "url"
    assert talks.accepted == n_before


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/a.wav"])
def test_networks_of_clouds_are_not_fetched(careful: WhisperServer, url: str) -> None:
    refused = transcribe(careful, url)
    assert refused.status == 400
    assert refused.error["param"] == "url"
