"""Runs over URLs: with a faulty server, and with secrets in every part of a URL."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import pytest

import pipelines.run
from pipelines import beam_transform
from tests.support.archive_builders import zip_of
from tests.support.servers import QUICK, Handler, Server, send, send_range, serving
from tests.support.tone_backend import expected_text, failures, rows, run, snapshot, write_talk
from transforms.fetch import public_addresses
from transforms.fetch.host_slots import HOSTS
from transforms.fetch.policy import FetchPolicy, Limits

SECRET = "hunter2hunter2hunter2"


@dataclass(frozen=True, kw_only=True)
class QuickPolicy(FetchPolicy):
    limits: Limits = replace(  # noqa: RUF009  # frozen
        QUICK, connect_s=0.3, read_s=0.3, stall_s=0.3, give_up_s=1.0
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "fetch_timeout_s", min(self.fetch_timeout_s, 5.0))


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (beam_transform, pipelines.run):
        monkeypatch.setattr(module, "FetchPolicy", QuickPolicy)
    monkeypatch.setattr(HOSTS, "_n_unanswered", Counter())
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def talk(tmp_path: Path) -> bytes:
    return write_talk(tmp_path / "talk.wav", 2).read_bytes()


class Faults:
    """Server whose fault is chosen by the path: `/flaky/` fails three times in ten, `/stall/` stalls, ..."""

    def __init__(self, talk: bytes, trap: Server) -> None:
        self.talk, self.trap = talk, trap
        self.server: Server | None = None
        self._random, self._lock = random.Random(0), threading.Lock()
        self._seen: Counter[str] = Counter()

    def __call__(self, handler: Handler) -> None:
        with self._lock:
            self._seen[handler.path] += 1
            is_first = self._seen[handler.path] == 1
            luck = self._random.random()
        kind = handler.path.split("/")[1]
        getattr(self, kind)(handler, is_first=is_first, luck=luck)

    def flaky(self, handler: Handler, *, luck: float, **_: object) -> None:
        if luck < 0.3:
            send(handler, 500, b"no")
        else:
            send(handler, 200, self.talk)

    def cut(self, handler: Handler, **_: object) -> None:
        send_range(handler, self.talk, '"v1"', 30_000)

    def once(self, handler: Handler, *, is_first: bool, **_: object) -> None:
        if is_first:
            self._stall()
        send(handler, 200, self.talk)

    def longer(self, handler: Handler, *, is_first: bool, **_: object) -> None:
        send(handler, 200, self.talk, {"Content-Length": str(len(self.talk) + 100 * is_first)})

    def stall(self, handler: Handler, **_: object) -> None:
        self._stall()

    def drip(self, handler: Handler, **_: object) -> None:
        handler.send_response(200)
        handler.end_headers()
        for n in range(1000):
            handler.wfile.write(self.talk[n : n + 1])
            self._stall(0.05)

    def lies(self, handler: Handler, **_: object) -> None:
        send(handler, 200, self.talk, {"Content-Length": str(len(self.talk) + 1)})

    def loop(self, handler: Handler, **_: object) -> None:
        send(handler, 302, b"", {"Location": handler.path})

    def metadata(self, handler: Handler, **_: object) -> None:
        send(handler, 302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})

    def inside(self, handler: Handler, **_: object) -> None:
        send(handler, 307, b"", {"Location": f"{self.trap.url}/a.wav"})

    def down(self, handler: Handler, **_: object) -> None:
        send(handler, 503, b"no")

    def html(self, handler: Handler, **_: object) -> None:
        send(handler, 200, b"<!doctype html><html>please log in</html>")

    def _stall(self, seconds: float = 20.0) -> None:
        assert self.server is not None
        self.server.stall(seconds)


@pytest.fixture
def trap() -> Iterator[Server]:
    with serving(lambda handler: send(handler, 200, b"secret"), host="127.0.0.2") as trap:
        yield trap


def test_faulty_server(
    tmp_path: Path, out: Path, talk: bytes, trap: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = (
        public_addresses.is_public
    )  # the server's own address counts as public, other addresses are checked
    monkeypatch.setattr(
        public_addresses, "is_public", lambda address: address == "127.0.0.1" or judge(address)
    )
    good = {"flaky": 40, "cut": 5, "once": 3, "longer": 5}
    bad = {
        "stall": "timeout", "drip": "timeout", "lies": "short_body", "loop": "redirects", "down": "http_503",
        "metadata": "forbidden_host", "inside": "forbidden_host", "html": "not_audio",
    }  # fmt: skip
    faults = Faults(talk, trap)
    with serving(faults) as server:
        faults.server = server
        names = [f"{kind}/{n}.wav" for kind, most in good.items() for n in range(most)]
        urls = [f"{server.url}/{name}" for name in (*names, *(f"{kind}/0.wav" for kind in bad))]
        (tmp_path / "list.txt").write_text("\n".join([*urls, f"{trap.url}/b.wav"]))
        started = monotonic()
        assert run(tmp_path / "list.txt", out) == 2
        wall_s = monotonic() - started
        n_asked = len(server.requests)
    assert {row["uri"].removeprefix(server.url + "/"): row["text"] for row in rows(out)} == dict.fromkeys(
        names, expected_text("en", 2)
    )
    found = {row["uri"].removeprefix(server.url + "/").split("/")[0]: row["kind"] for row in failures(out)}
    assert found == {**bad, "http:": "forbidden_host"}
    assert trap.accepted == 0
    print(f"{len(urls) + 1} URLs, {n_asked} requests, {wall_s:.1f} s")  # for docs/reliability.md
    assert wall_s < 30


def planted(server: Server) -> list[str]:
    """Returns URLs with a secret in every part, of recordings that exist, are missing, or are refused."""
    port = server.port
    return [
        f"http://me:{SECRET}@127.0.0.1:{port}/good/1.wav",
        f"{server.url}/good/2.wav?x=1&token={SECRET}",
        f"{server.url}/good/3.wav?X-Amz-Credential=me&X-Amz-Signature={SECRET}#access_token={SECRET}",
        f"{server.url}/good/4.wav?%74oken={SECRET}",
        f"{server.url}/moved/5.wav?sig={SECRET}",
        f"http://me:{SECRET}@127.0.0.1:{port}/missing/1.wav?token={SECRET}",
        f"{server.url}/broken/2.wav?api_key={SECRET}",
        f"{server.url}/short/3.wav?password={SECRET}",
        f"{server.url}/stall/4.wav?token={SECRET}",
        f"{server.url}/html/5.wav?jwt={SECRET}",
        f"{server.url}/away/6.wav?token={SECRET}",
        f"{server.url}/netrc/7.wav",
        f"http://me:{SECRET}@127.0.0.1:1/refused.wav?token={SECRET}",
        f"http://me:{SECRET}@nobody.invalid/a.wav?token={SECRET}",
        f"http://me:{SECRET}@[broken/a.wav?token={SECRET}",
        f"nosuchscheme://me:{SECRET}@h/a.wav?token={SECRET}",
    ]


class Leaky:
    """Server whose response is chosen by the path, and contains the secrets where it can."""

    def __init__(self, talk: bytes) -> None:
        self.talk = talk
        self.server: Server | None = None
        self.seen: list[str] = []

    def __call__(self, handler: Handler) -> None:
        assert self.server is not None
        self.seen.append(f"{handler.path} {handler.headers}")
        listed = "\n".join(json.dumps({"url": url}) for url in planted(self.server))
        moved = {"Location": f"/good/5.wav?token={SECRET}", "Set-Cookie": f"session={SECRET}"}
        away = {"Location": f"ftp://me:{SECRET}@h/a.wav?token={SECRET}"}
        leak = f"bad Authorization: Basic {SECRET} for /a.wav?token={SECRET}"
        match handler.path.split("/")[1].partition("?")[0]:
            case "good" | "netrc":
                send(handler, 200, self.talk)
            case "list.jsonl":
                send(handler, 200, listed.encode())
            case "moved":
                send(handler, 302, b"", moved)
            case "away":
                send(handler, 302, b"", away)
            case "broken":
                send(handler, 500, b"", reason=leak)
            case "short":
                send(handler, 200, self.talk[:1000], {"Content-Length": str(len(self.talk))})
            case "html":
                send(handler, 200, b"<html></html>")
            case "stall":
                self.server.stall()
            case _:
                send(handler, 404, SECRET.encode())


def test_secrets_are_never_printed_or_written(
    tmp_path: Path,
    out: Path,
    talk: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    plant_in_environment(tmp_path, monkeypatch)
    leaky = Leaky(talk)
    with serving(leaky) as server:
        leaky.server = server
        listed = f"http://me:{SECRET}@127.0.0.1:{server.port}/list.jsonl?token={SECRET}"
        flags = ["--allow_private_hosts", "--trust_manifests"]
        assert run(listed, out, *flags) == 2
    output = capfd.readouterr()
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert any(SECRET in line for line in leaky.seen)  # the secrets did reach the server
    assert any(basic in line for line in leaky.seen if line.startswith("/netrc"))
    assert len(rows(out)) == 6
    assert len(failures(out)) == 10
    texts = [output.out, output.err, caplog.text, *map(vars_of, caplog.records)]
    texts += [content.decode("utf-8", "replace") for content in snapshot(out).values()]
    for secret in (SECRET, basic):
        assert [text for text in texts if secret in text] == []
    assert any(record.name.startswith("urllib3") for record in caplog.records)  # debug logs are captured


def plant_in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "WHISPER_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@127.0.0.1:1")


def vars_of(record: logging.LogRecord) -> str:
    return f"{vars(record)} {logging.Formatter().format(record)}"


def test_remote_manifest_cannot_read_local_files(tmp_path: Path, out: Path) -> None:
    wav = write_talk(tmp_path / "mine.wav", 2)
    with serving(lambda handler: send(handler, 200, f"file://{wav}\n".encode())) as server:
        listed = f"{server.url}/list.txt"
        assert run(listed, out, "--allow_private_hosts") == 2
        (failure,) = failures(out)
        assert (failure["uri"], failure["kind"]) == (listed, "forbidden_uri")
        assert "--trust_manifests" in failure["message"]
        assert run(listed, out, "--allow_private_hosts", "--trust_manifests") == 0
    assert [row["uri"] for row in rows(out)] == [str(wav)]


def test_private_addresses_given_by_the_user_are_refused(
    out: Path, talk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda handler: send(handler, 200, talk)) as server:
        assert run(f"{server.url}/a.wav", out) == 2
        assert server.accepted == 0
        (failure,) = failures(out)
        assert (failure["kind"], failure["retryable"]) == ("forbidden_host", False)
        assert "--allow_private_hosts" in failure["message"]
        assert run(f"{server.url}/a.wav", out) == 2
        assert "nothing is transcribed again" in capsys.readouterr().err
        assert run(f"{server.url}/a.wav", out, "--allow_private_hosts") == 0
    assert [row["text"] for row in rows(out)] == [expected_text("en", 2)]


def test_private_addresses_of_archives_are_refused_each_time_they_are_read(tmp_path: Path, out: Path) -> None:
    mixed = write_talk(tmp_path / "mixed.wav", 80, french_from=76)  # its last window is decoded again
    packed = zip_of({"mixed.wav": mixed.read_bytes()})
    with serving(lambda handler: send(handler, 200, packed)) as server:
        url = f"{server.url}/talks.zip"
        assert run(url, out) == 2
        assert server.accepted == 0
        assert [failure["kind"] for failure in failures(out)] == ["forbidden_host"]
        assert run(url, out, "--allow_private_hosts") == 0
        assert len(server.requests) == 2
    assert [(row["uri"], row["text"]) for row in rows(out)] == [
        (f"{url}//mixed.wav", expected_text("en", 80))
    ]


def test_failures_that_may_pass_are_tried_again_also_in_a_finished_run(out: Path, talk: bytes) -> None:
    with serving(lambda handler: send(handler, 503, b"no")) as server:
        url = f"{server.url}/a.wav"
        for n_runs in (1, 2):  # a finished run, and one that resumes
            asked = len(server.requests)
            assert run(url, out, "--allow_private_hosts") == 2
            assert len(server.requests) > asked, n_runs
            assert [failure["kind"] for failure in failures(out)] == ["http_503"]
        server.answer = lambda handler: send(handler, 200, talk)
        assert run(url, out, "--allow_private_hosts") == 0
    assert ([row["text"] for row in rows(out)], failures(out)) == ([expected_text("en", 2)], [])
