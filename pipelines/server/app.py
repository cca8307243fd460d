"""The ASGI application: routes, middleware, and errors in OpenAI's shape."""

from __future__ import annotations

import logging
import math
from time import perf_counter, time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.interface import TRANSCRIBE, TRANSLATE
from pipelines.flags import version_line
from pipelines.server.api_keys import KeyCheck, load_keys
from pipelines.server.engine import READY, Engine
from pipelines.server.errors import ApiError, internal_error, method_not_allowed, model_not_found, not_found
from pipelines.server.form import model_aliases
from pipelines.server.limits import Admission, RateLimit
from pipelines.server.monitoring import CONTENT_TYPE, ServerMetrics
from pipelines.server.options import ServeOptions
from pipelines.server.schema import openapi_document
from pipelines.server.security import HostCheck, OriginCheck, RequestIds
from pipelines.server.stopping import Stop
from pipelines.server.transcriptions import RulesOf, Transcriptions
from pipelines.server.unread_bodies import UnreadBodies
from pipelines.server.upload import UploadReader
from pipelines.server.web_page import web_page

OWNER = "whisper-beam"
_LOGGER = logging.getLogger(__name__)


class Application:
    """The application of one server, an ASGI app.

    Args:
        options: options of the server.
        engine: runs the transcriptions.

    Raises:
        OptionsError: API keys that cannot be used.
    """

    def __init__(self, options: ServeOptions, engine: Engine) -> None:
        self._options, self._engine, self._created = options, engine, int(time())
        self._aliases = model_aliases(options.model, options.model_alias)
        self._keys = load_keys(options.api_key, options.api_key_file)
        self.admission = Admission(options.max_requests)
        self._stop = Stop()
        self.metrics = ServerMetrics()
        self.metrics.watch(self._n_waiting, lambda: engine.n_jobs)
        routes = Starlette(routes=self._routes(), exception_handlers=_HANDLERS)
        routes.router.redirect_slashes = False  # it would redirect to the client's Host
        self._app = self._with_middleware(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        await self._app(scope, receive, send)

    def cancel_all(self) -> None:
        """Answers all requests that are inside with 503, from the event loop; `drain` the admission first."""
        self._stop.set()
        self._engine.cancel_all()

    def _n_waiting(self) -> int:
        return max(0, self.admission.n_requests - self._engine.n_jobs)  # which are not read at one moment

    def _routes(self) -> list[Route]:
        return [
            Route("/", self._page),
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._schema),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            *self._transcription_routes(),
        ]

    def _transcription_routes(self) -> list[Route]:
        options = self._options
        reader = UploadReader(options.max_upload_bytes, file_required=not options.allow_urls)
        rules = RulesOf(options.model, self._aliases, allow_urls=options.allow_urls)
        limit = None
        if options.rate_limit:
            limit = RateLimit(options.rate_limit, burst=max(1, math.ceil(options.rate_limit)))

        def endpoint(task: str) -> Transcriptions:
            return Transcriptions(
                task, self._engine, rules, reader, self.admission, limit, self.metrics, self._stop
            )

        return [
            Route("/v1/audio/transcriptions", endpoint(TRANSCRIBE), methods=["POST"]),
            Route("/v1/audio/translations", endpoint(TRANSLATE), methods=["POST"]),
        ]

    def _with_middleware(self, app: ASGIApp) -> ASGIApp:
        """Returns the app behind its checks; the outermost comes last."""
        options = self._options
        app = KeyCheck(app, self._keys)
        app = OriginCheck(app, options.allowed_origins)
        app = HostCheck(app, options.host, options.allowed_hosts)
        app = UnreadBodies(app, options.max_upload_bytes)
        return RequestIds(_Counted(app, self.metrics))

    async def _page(self, request: Request) -> Response:
        page = web_page()
        return Response(page.body, headers=dict(page.headers))

    async def _health(self, request: Request) -> Response:
        state = self._engine.state
        return JSONResponse({"status": "ok" if state == READY else state})

    async def _ready(self, request: Request) -> Response:
        if self._engine.state != READY:
            raise self._engine.not_ready()
        return JSONResponse({"status": READY})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)

    async def _schema(self, request: Request) -> Response:
        return JSONResponse(
            openapi_document(
                self._options.model,
                version=_version(),
                needs_key=bool(self._keys),
                allows_urls=self._options.allow_urls,
            )
        )

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._description()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self._options.model and name not in self._aliases:
            raise model_not_found(name, (self._options.model, *sorted(self._aliases)))
        return JSONResponse(self._description())

    def _description(self) -> dict[str, str | int]:
        return {
            "id": self._options.model,
            "object": "model",
            "created": self._created,
            "owned_by": OWNER,
        }


class _Counted:
    """Counts the answers of an app, and their seconds."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 499  # as nginx has it: the client closed the connection

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.count_request(scope["path"], status, perf_counter() - started)


def _version() -> str:
    try:
        return version_line().rpartition(" ")[2]
    except ValueError:  # not installed
        return "0"


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    """Answers what no route has, which Starlette raises."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        return method_not_allowed(request.method, allowed).response()
    if error.status_code == 404:
        return not_found(request.method, request.url.path).response()
    return ApiError(error.status_code, str(error.detail)).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    return internal_error().response()


_HANDLERS = {
    ApiError: _api_error,
    HTTPException: _http_error,
    Exception: _unexpected,
}
