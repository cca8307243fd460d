"""Errors of the HTTP API, in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

INVALID_REQUEST, SERVER, RATE_LIMIT = "invalid_request_error", "server_error", "rate_limit_error"
FORMATS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
"""The formats that OpenAI names; more are decoded."""

MAX_QUOTED = 100
"""Characters of a client's value that a message repeats."""


class ApiError(Exception):
    """An answer that is an error; the clients of OpenAI make their exceptions of it.

    Attributes:
        status: HTTP status.
        message: what was wrong, with the value, and what to do.
        type: OpenAI's class of error, such as `invalid_request_error`.
        param: the field that was wrong; None for the request as a whole.
        code: short name of the error for programs, such as `model_not_found`.
        headers: further headers of the answer, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID_REQUEST,  # noqa: A002  # OpenAI's name
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.type = status, message, type
        self.param, self.code, self.headers = param, code, dict(headers or {})

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns the body of the answer; also the `data` of an error event in a stream."""
        fields = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": fields}

    def response(self) -> JSONResponse:
        """Returns the answer."""
        return JSONResponse(self.to_json(), self.status, self.headers)


def quoted(value: str) -> str:
    """Returns a client's value for a message: escaped, and shortened."""
    return repr(value if len(value) <= MAX_QUOTED else f"{value[:MAX_QUOTED]}...")


def one_of(names: Iterable[str]) -> str:
    """Returns names for a message: `'json', 'text'`."""
    return ", ".join(repr(name) for name in names)


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Returns a 400: a field, or the body, cannot be used."""
    return ApiError(400, message, param=param, code=code)


def invalid_file() -> ApiError:
    """Returns the 400 for a file that is not audio, in OpenAI's words."""
    formats = one_of(FORMATS)
    return invalid_request(f"Invalid file format. Supported formats: [{formats}]", "file")


def too_large(limit: int, n_bytes: int) -> ApiError:
    """Returns the 413 for a file or body of `n_bytes` so far, in OpenAI's words and of its type."""
    message = f"Maximum content size limit ({limit}) exceeded ({n_bytes} bytes read)"
    return ApiError(413, message, type=SERVER)


def unauthorized(missing: bool) -> ApiError:
    """Returns the 401 for a request without a key (`missing`), or with a wrong one."""
    if missing:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    else:
        message = "Incorrect API key provided. This server has keys of its own: ask whoever runs it."
    return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str, code: str) -> ApiError:
    """Returns a 403."""
    return ApiError(403, message, code=code)


def model_not_found(name: str, known: Sequence[str]) -> ApiError:
    """Returns the 404 for a model that is not served; `known` are the names that are."""
    message = (
        f"The model {quoted(name)} does not exist or you do not have access to it. "
        f"This server has: {one_of(known)}."
    )
    return ApiError(404, message, param="model", code="model_not_found")


def not_found(method: str, path: str) -> ApiError:
    """Returns the 404 for a path that is not served."""
    return ApiError(404, f"Invalid URL ({method} {quoted(path)})", code="unknown_url")


def method_not_allowed(method: str, allowed: Sequence[str]) -> ApiError:
    """Returns the 405 for a path that has other methods."""
    message = f"Not allowed to {quoted(method)}: this path has {one_of(allowed)}."
    return ApiError(405, message, code="method_not_supported", headers={"Allow": ", ".join(allowed)})


def upload_stalled(seconds: float) -> ApiError:
    """Returns the 408 for a body of which nothing has arrived for some time."""
    return ApiError(408, f"No data of the upload arrived for {seconds:g} s.", code="upload_stalled")


def rate_limited(retry_after_s: float) -> ApiError:
    """Returns the 429 for a client that sends too many requests."""
    wait = retry_after(retry_after_s)
    message = f"Rate limit reached: too many requests of this client. Please try again in {wait} s."
    headers = {"Retry-After": wait}
    return ApiError(429, message, type=RATE_LIMIT, code="rate_limit_exceeded", headers=headers)


def overloaded(limit: int, retry_after_s: float) -> ApiError:
    """Returns the 429 for a server that has as many requests as it takes."""
    wait = retry_after(retry_after_s)
    message = f"The server has {limit} requests, as many as it takes. Please try again in {wait} s."
    headers = {"Retry-After": wait}
    return ApiError(429, message, type=RATE_LIMIT, code="server_overloaded", headers=headers)


def unavailable(message: str, code: str, retry_after_s: float) -> ApiError:
    """Returns a 503: the server cannot take a request at present."""
    headers = {"Retry-After": retry_after(retry_after_s)}
    return ApiError(503, message, type=SERVER, code=code, headers=headers)


def internal_error(message: str = "The server had an error while processing your request.") -> ApiError:
    """Returns a 500; never for bad input."""
    return ApiError(500, message, type=SERVER, code="internal_error")


def retry_after(seconds: float) -> str:
    """Returns the value of `Retry-After`: whole seconds, at least 1."""
    return str(max(1, math.ceil(seconds)))
