"""The application without a network: routes, states, and errors in OpenAI's shape."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from pipelines.flags import version_line
from pipelines.inference import Inference
from pipelines.server.app import Application, _Counted
from pipelines.server.engine import Engine
from pipelines.server.monitoring import ServerMetrics
from pipelines.server.options import ServeOptions
from pipelines.server.schema import ROUTES
from tests.support.asgi import FORM, Answer, Body, call, http_scope

MODEL = "openai/whisper-base"
HOST = {"host": "127.0.0.1:8000"}


class FakeInference:
    def close(self) -> None:
        """There is nothing to close."""


class Loader:
    """Loads when it may; raises `error` then, if it has one."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> Inference:
        assert self.may_end.wait(10)
        if self.error:
            raise self.error
        return cast(Inference, FakeInference())


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def engine(loader: Loader) -> Iterator[Engine]:
    engine = Engine(loader, 2)
    engine.start()
    yield engine
    loader.may_end.set()
    engine.close()


@pytest.fixture
def app(engine: Engine) -> Application:
    return Application(ServeOptions(model=MODEL, model_alias=("mine",)), engine)


def get(app: Application, path: str, method: str = "GET", **headers: str) -> Answer:
    return call(app, http_scope(method, path, {**HOST, **headers}))


def json_of(answer: Answer) -> Any:  # noqa: ANN401  # whatever it is
    return json.loads(answer.body)


def test_states_of_the_model(app: Application, engine: Engine, loader: Loader) -> None:
    assert json_of(get(app, "/health")) == {"status": "loading"}
    answer = get(app, "/ready")
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "model_loading", "5")
    loader.may_end.set()
    engine.wait(10)
    assert json_of(get(app, "/health")) == {"status": "ok"}
    assert json_of(get(app, "/ready")) == {"status": "ready"}


def test_model_that_cannot_be_loaded(app: Application, engine: Engine, loader: Loader) -> None:
    loader.error = ValueError("no such model")
    loader.may_end.set()
    with pytest.raises(ValueError, match="no such model"):
        engine.wait(10)
    assert json_of(get(app, "/health")) == {"status": "failed"}
    answer = get(app, "/ready")
    assert (answer.status, answer.error["code"]) == (503, "model_failed")


def test_page(app: Application) -> None:
    answer = get(app, "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert b"Transcribe speech" in answer.body


def test_models(app: Application) -> None:
    (model,) = json_of(get(app, "/v1/models"))["data"]
    assert (model["id"], model["object"], model["owned_by"]) == (MODEL, "model", "whisper-beam")
    assert isinstance(model["created"], int)
    for name in (MODEL, "whisper-1", "base", "mine"):
        assert json_of(get(app, f"/v1/models/{name}")) == model
    answer = get(app, "/v1/models/gpt-4")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")


def test_metrics_of_two_servers_are_apart(app: Application, engine: Engine) -> None:
    other = Application(ServeOptions(model=MODEL), engine)
    get(app, "/health")
    counted = b'whisper_beam_requests_total{endpoint="/health",status="200"} 1.0'
    assert counted in get(app, "/metrics").body
    assert counted not in get(other, "/metrics").body


def test_schema_has_the_routes_of_the_application(app: Application) -> None:
    document = json_of(get(app, "/openapi.json"))
    assert document["info"]["version"] == version_line().split()[1]
    for route in ROUTES:
        answer = get(app, route.path.replace("{model}", MODEL), "PUT", origin="http://127.0.0.1:8000")
        assert answer.status == 405, route.path
        assert ("POST" in answer.headers["allow"]) == route.is_form


@pytest.mark.parametrize("path", ["/v1", "/v1/audio/speech", "/v1/audio/transcriptions/", "/health/", "/%ff"])
def test_paths_that_do_not_exist(app: Application, path: str) -> None:
    answer = get(app, path)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


def test_bugs_are_answered_in_the_same_shape(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.metrics, "render", lambda: 1 / 0)
    answer = Answer()
    with pytest.raises(ZeroDivisionError):  # for the log of uvicorn, after the answer
        anyio.run(app, http_scope("GET", "/metrics", HOST), Body([b""]).receive, answer.send)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert "division" not in answer.error["message"]


def test_guards_come_before_everything(engine: Engine) -> None:
    app = Application(ServeOptions(model=MODEL, api_key=("secret",)), engine)
    foreign_host = call(app, http_scope("GET", "/health", {"host": "evil.example"}))
    assert (foreign_host.status, foreign_host.error["code"]) == (400, "host_not_allowed")
    assert get(app, "/health", origin="https://evil.example").status == 403
    assert get(app, "/v1/models").status == 401
    assert get(app, "/no/such/path").status == 401
    assert get(app, "/v1/models", authorization="Bearer secret").status == 200
    for answer in (foreign_host, get(app, "/health"), get(app, "/v1/models")):
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert json_of(get(app, "/openapi.json", authorization="Bearer secret"))["components"]["securitySchemes"]


def test_no_request_comes_in_while_the_server_stops(app: Application) -> None:
    app.admission.drain()
    answer = call(app, http_scope("POST", "/v1/audio/transcriptions", {**HOST, **FORM}))
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    assert get(app, "/health").status == 200


@pytest.mark.parametrize(("sends", "status"), [(True, 418), (False, 499)])
def test_answers_are_counted_also_those_that_no_client_waited_for(sends: bool, status: int) -> None:
    metrics = ServerMetrics()

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if sends:
            await send({"type": "http.response.start", "status": 418, "headers": []})
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        call(_Counted(answered, metrics), http_scope("GET", "/health"))
    assert f'endpoint="/health",status="{status}"}} 1.0' in metrics.render().decode()
