from __future__ import annotations

import httpx2
import openai
import pytest

from pipelines.server import errors
from pipelines.server.errors import ApiError, quoted
from tests.support.asgi import call, http_scope

ALL = [
    (errors.invalid_request("language 'xx'", "language"), 400, openai.BadRequestError),
    (errors.invalid_file(), 400, openai.BadRequestError),
    (errors.unauthorized(missing=True), 401, openai.AuthenticationError),
    (errors.forbidden("Origin", "origin_not_allowed"), 403, openai.PermissionDeniedError),
    (errors.model_not_found("big", ("base", "whisper-1")), 404, openai.NotFoundError),
    (errors.not_found("GET", "/v2"), 404, openai.NotFoundError),
    (errors.method_not_allowed("PUT", ("GET", "HEAD")), 405, openai.APIStatusError),
    (errors.upload_stalled(60), 408, openai.APIStatusError),
    (errors.too_large(100, 200), 413, openai.APIStatusError),
    (errors.rate_limited(2.1), 429, openai.RateLimitError),
    (errors.overloaded(64, 0.2), 429, openai.RateLimitError),
    (errors.internal_error(), 500, openai.InternalServerError),
    (errors.unavailable("The server is stopping.", "shutting_down", 5), 503, openai.InternalServerError),
]


@pytest.mark.parametrize(("error", "status", "kind"), ALL, ids=lambda value: str(value)[:20])
def test_client_of_openai_reads_each_error(
    error: ApiError, status: int, kind: type[openai.APIStatusError]
) -> None:
    answer = call(error.response(), http_scope())
    assert answer.status == error.status == status
    assert answer.headers["content-type"] == "application/json"
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(answer.status, headers=answer.headers, content=answer.body)
    )
    client = openai.OpenAI(
        api_key="k",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(transport=transport),
    )
    with pytest.raises(kind) as caught:
        client.models.list()
    assert caught.value.status_code == status
    assert caught.value.body == answer.error == error.to_json()["error"]
    assert (caught.value.code, caught.value.param) == (error.code, error.param)
    assert error.message in str(caught.value)


def test_texts_of_openai_are_verbatim() -> None:
    assert errors.too_large(26214400, 26296541).to_json()["error"] == {
        "message": "Maximum content size limit (26214400) exceeded (26296541 bytes read)",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert errors.invalid_file().message == (
        "Invalid file format. Supported formats: "
        "['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']"
    )


def test_missing_and_wrong_key_differ_in_text_alone() -> None:
    missing, wrong = errors.unauthorized(missing=True), errors.unauthorized(missing=False)
    assert missing.code == wrong.code == "invalid_api_key"
    assert "didn't provide" in missing.message
    assert "Incorrect" in wrong.message


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1.01, "2"), (30, "30")])
def test_retry_after_is_whole_seconds_and_at_least_one(seconds: float, header: str) -> None:
    assert errors.rate_limited(seconds).headers == {"Retry-After": header}
    assert f"try again in {header} s" in errors.rate_limited(seconds).message


def test_values_of_clients_are_escaped_and_shortened() -> None:
    assert quoted("a\n\ud800") == r"'a\n\ud800'"
    assert len(quoted("x" * 10_000)) < 120
    error = errors.invalid_request(f"language {quoted(chr(0xD800))}")
    assert call(error.response(), http_scope()).error["message"] == r"language '\ud800'"


def test_method_not_allowed_names_the_methods() -> None:
    assert call(errors.method_not_allowed("PUT", ("GET", "HEAD")).response(), http_scope()).headers[
        "allow"
    ] == ("GET, HEAD")
