from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pipelines.option_checks import OptionsError
from pipelines.server.api_keys import VARIABLE, ApiKeys, KeyCheck, load_keys
from tests.support.asgi import Answer, call, http_scope

KEYS = ApiKeys(["first-key", "second-key"])
PATH = "/v1/audio/transcriptions"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(scope.get("state", {}))(scope, receive, send)


def ask(authorization: str | None, path: str = PATH, keys: ApiKeys = KEYS) -> Answer:
    headers = {} if authorization is None else {"authorization": authorization}
    return call(KeyCheck(app, keys), http_scope("POST", path, headers))


@pytest.mark.parametrize(
    ("authorization", "index"),
    [("Bearer first-key", 0), ("bearer second-key", 1), ("  BEARER   second-key ", 1)],
)
def test_right_keys_are_accepted(authorization: str, index: int) -> None:
    answer = ask(authorization)
    assert answer.status == 200
    assert answer.body == f'{{"key":{index}}}'.encode()


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic Zmlyc3Qta2V5", "first-key", "Token first-key"]
)
def test_missing_key_is_a_401(authorization: str | None) -> None:
    answer = ask(authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.error["code"] == "invalid_api_key"
    assert "You didn't provide" in answer.error["message"]


@pytest.mark.parametrize(
    "key", ["third-key", "first-key2", "first-ke", "FIRST-KEY", "first-key second-key", "\xe9", "sk-no-key"]
)
def test_wrong_key_is_a_401_that_does_not_repeat_it(key: str) -> None:
    answer = ask(f"Bearer {key}")
    assert answer.status == 401
    assert "Incorrect API key" in answer.error["message"]
    assert key not in answer.error["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/", 200), ("/health", 200), ("/metrics", 401), ("/openapi.json", 401), ("/v1/models", 401)),
        *(("/nothing", 401), ("//", 401), ("/health/", 401), ("/health/../v1/models", 401)),
    ],
)
def test_page_and_health_are_open(path: str, status: int) -> None:
    assert ask(None, path).status == status


def test_without_keys_all_is_open() -> None:
    assert ask(None, keys=ApiKeys([])).status == 200
    assert ask("Bearer anything", keys=ApiKeys([])).status == 200


def test_all_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def record(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("hmac.compare_digest", record)
    for key, index in ((b"first-key", 0), (b"second-key", 1), (b"x", None)):
        compared.clear()
        assert KEYS.find(key) == index
        assert compared == [(32, 32)] * 2


def test_keys_are_those_of_options_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the team\n\nfrom-file-1\n  from-file-2  \n#from-file-3\n")
    keys = load_keys(["option-1", "option-2", "option-1"], str(file), {VARIABLE: "from-environment"})
    found = [keys.find(key) for key in (b"option-1", b"option-2", b"from-file-1", b"from-file-2")]
    assert found == [0, 1, 2, 3]
    assert keys.find(b"from-environment") == 4
    assert keys.find(b"from-file-3") is None


def test_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not load_keys([])
    monkeypatch.setenv(VARIABLE, "secret")
    assert load_keys([]).find(b"secret") == 0


@pytest.mark.parametrize("key", ["", "a b", "a\n", "schlüssel", "\x00"])
def test_keys_that_no_client_could_send_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"--api_key\b") as caught:
        load_keys([key], None, {})
    assert not key or key not in str(caught.value)
    with pytest.raises(OptionsError, match=VARIABLE):
        load_keys([], None, {VARIABLE: key})


def test_file_without_keys_does_not_open_the_server(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    with pytest.raises(OptionsError, match=r"--api_key_file .*cannot be read"):
        load_keys([], str(file), {})
    file.write_text("# none yet\n")
    with pytest.raises(OptionsError, match="has no keys"):
        load_keys([], str(file), {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(OptionsError, match="cannot be read"):
        load_keys([], str(file), {})
    file.write_text("two words\n")
    with pytest.raises(OptionsError, match="no spaces"):
        load_keys([], str(file), {})
