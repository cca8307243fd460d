from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from model.languages import LANGUAGES
from pipelines.server import multipart
from pipelines.server.errors import ApiError
from pipelines.server.form import FormRules, model_aliases, parse_form
from pipelines.server.upload import BLOCK_BYTES, OVERHEAD_BYTES, ClientDisconnected, Upload, UploadReader
from tests.support.asgi import BOUNDARY, FORM, Body, audio_part, call, form_body, http_scope, part
from tests.support.bad_forms import REFUSED_BODIES, REFUSED_FIELDS, REFUSED_HEADERS
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits
from transforms.fetch.spool import DISK, Spool

LIMIT = 2 << 20
BLOCK = 64 << 10
READER = UploadReader(LIMIT)


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []
    assert (DISK._reserved, DISK._unwritten) == (0, 0)


def blocks_of(body: bytes, n_bytes: int = BLOCK) -> list[bytes]:
    return [body[start : start + n_bytes] for start in range(0, len(body), n_bytes)] or [b""]


def read(
    body: Body,
    headers: dict[str, str] | None = None,
    reader: UploadReader = READER,
    check: Callable[[Upload], None] = lambda upload: None,
) -> Upload:
    async def run() -> Upload:
        upload = await reader.read(http_scope("POST", headers=FORM | (headers or {})), body.receive)
        try:
            check(upload)
        finally:
            await upload.close()
        return upload

    return anyio.run(run)


@pytest.fixture
def spools(monkeypatch: pytest.MonkeyPatch) -> list[Spool]:
    """All spools that are made."""
    made: list[Spool] = []

    class Recorded(Spool):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            made.append(self)

    monkeypatch.setattr("pipelines.server.upload.Spool", Recorded)
    return made


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize("n_bytes", [1, 10, LIMIT])
def test_form_is_read_with_and_without_a_length(file_first: bool, n_bytes: int) -> None:
    audio = bytes(range(256)) * (n_bytes // 256 + 1)
    audio = audio[:n_bytes]
    fields = [part("model", "base"), part("language", "de")]
    body = form_body(audio_part(audio), *fields) if file_first else form_body(*fields, audio_part(audio))

    def check(upload: Upload) -> None:
        assert upload.fields == (("model", "base"), ("language", "de"))
        assert (upload.filename, upload.n_bytes) == ("talk.wav", n_bytes)
        assert upload.digest == hashlib.sha256(audio).hexdigest()
        assert upload.spool.file.read() == audio

    for headers in ({"content-length": str(len(body))}, {"transfer-encoding": "chunked"}):
        assert read(Body(blocks_of(body)), headers, check=check).spool.file.closed


def test_blocks_are_parsed_in_threads_and_in_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, threads = [], set()
    write = multipart.Multipart.write

    def record(self: multipart.Multipart, block: bytes) -> None:
        sizes.append(len(block))
        threads.add(threading.get_ident())
        write(self, block)

    monkeypatch.setattr(multipart.Multipart, "write", record)
    read(Body(blocks_of(form_body(audio_part(b"x" * (1 << 20))), 1000)))
    assert all(size >= BLOCK_BYTES for size in sizes[:-1])
    assert len(sizes) == 4
    assert threading.get_ident() not in threads


def test_event_loop_runs_while_a_block_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    async def run() -> None:
        body = Body([form_body(audio_part())])
        async with anyio.create_task_group() as group:
            group.start_soon(read_and_close, body)
            with anyio.fail_after(10):
                await anyio.sleep(0.05)
            written.set()

    async def read_and_close(body: Body) -> None:
        await (await READER.read(http_scope("POST", headers=FORM), body.receive)).close()

    monkeypatch.setattr(Spool, "write", lambda self, block: setattr(self, "n_bytes", int(written.wait(10))))
    started = monotonic()
    anyio.run(run)
    assert monotonic() - started < 5


def test_small_file_is_not_on_the_disk(spools: list[Spool]) -> None:
    read(Body([form_body(audio_part(b"x" * 100_000))]))
    assert len(spools) == 1
    assert spools[0].peak_bytes == 100_000
    assert spools[0]._reserved == 0


def refused(body: Body, headers: dict[str, str] | None = None, reader: UploadReader = READER) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body, headers, reader)
    return caught.value


def test_declared_length_is_refused_before_reading() -> None:
    body = Body([form_body(audio_part())])
    n_bytes = LIMIT + OVERHEAD_BYTES + 1
    error = refused(body, {"content-length": str(n_bytes)})
    assert (error.status, error.message) == (
        413,
        f"Maximum content size limit ({LIMIT}) exceeded ({n_bytes} bytes read)",
    )
    assert body.n_bytes == 0
    assert refused(Body([]), {"content-length": "9" * 5000}).status == 413


@pytest.mark.parametrize("block", [1000, 320 << 10])
@pytest.mark.parametrize("in_file", [True, False], ids=["file", "after_the_end"])
def test_body_without_length_is_read_up_to_the_limit_and_a_megabyte(
    block: int, in_file: bool, spools: list[Spool]
) -> None:
    junk = b"x" * (LIMIT + (5 << 20))
    body = Body(blocks_of(form_body(audio_part(junk)) if in_file else form_body(audio_part()) + junk, block))
    error = refused(body, {"transfer-encoding": "chunked"})
    assert (error.status, error.type) == (413, "server_error")
    assert error.message == f"Maximum content size limit ({LIMIT}) exceeded ({body.n_bytes} bytes read)"
    assert LIMIT < body.n_bytes < LIMIT + 1_000_000
    assert spools[0].file.closed
    assert spools[0].peak_bytes <= LIMIT


def test_full_disk_is_a_503(spools: list[Spool]) -> None:
    reader = UploadReader(LIMIT, limits=Limits(bytes_each=LIMIT, bytes_in_memory=10, bytes_total=100))
    error = refused(Body([form_body(audio_part(b"x" * 1000))]), reader=reader)
    assert (error.status, error.code, error.headers) == (503, "disk_full", {"Retry-After": "30"})
    assert spools[0].file.closed


def test_failed_write_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise AudioError("fetch", "no_room", "no space", retryable=True)

    monkeypatch.setattr(Spool, "write", full)
    assert refused(Body([form_body(audio_part())])).status == 503


@pytest.mark.parametrize("n_blocks", [0, 1, 20])
def test_disconnect_closes_the_spool(n_blocks: int, spools: list[Spool]) -> None:
    blocks = blocks_of(form_body(audio_part(b"x" * LIMIT)))[:n_blocks]
    with pytest.raises(ClientDisconnected):
        read(Body(blocks, ends=False))
    assert spools[0].file.closed


def test_cancelled_read_closes_the_spool(spools: list[Spool]) -> None:
    async def run() -> None:
        body = Body(blocks_of(form_body(audio_part(b"x" * LIMIT)))[:20], stalls=True)
        async with anyio.create_task_group() as group:
            group.start_soon(READER.read, http_scope("POST", headers=FORM), body.receive)
            await body.is_stalled.wait()
            group.cancel_scope.cancel()

    anyio.run(run)
    assert spools[0].peak_bytes > 0
    assert spools[0].file.closed


def test_stalled_upload_is_a_408(spools: list[Spool]) -> None:
    started = monotonic()
    body = Body([form_body(audio_part())[:50]], stalls=True)
    error = refused(body, reader=UploadReader(LIMIT, stall_s=0.05))
    assert monotonic() - started < 10
    assert (error.status, error.code) == (408, "upload_stalled")
    assert "0.05 s" in error.message
    assert spools[0].file.closed


def test_missing_file_names_the_parts() -> None:
    error = refused(Body([form_body(part("audio", "x", "a.wav"), part("model", "base"))]))
    assert (error.status, error.param) == (400, "file")
    assert "'audio', 'model'" in error.message
    assert "none" in refused(Body([f"--{BOUNDARY}--".encode()])).message


def test_file_is_not_required_where_a_url_may_be() -> None:
    upload = read(Body([form_body(part("url", "x"))]), reader=UploadReader(LIMIT, file_required=False))
    assert (upload.filename, upload.n_bytes, upload.fields) == (None, 0, (("url", "x"),))


@pytest.mark.parametrize(("headers", "message"), REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_other_headers_are_refused(headers: dict[str, str], message: str) -> None:
    error = refused(Body([form_body(audio_part())]), headers)
    assert error.status == 400
    assert message in error.message


RULES = FormRules(
    model="openai/whisper-base",
    aliases=model_aliases("openai/whisper-base"),
    languages=tuple(code for code in LANGUAGES if code != "yue"),
)


async def transcribe(scope: Scope, receive: Receive, send: Send) -> None:
    """The steps of a server up to the model."""
    try:
        upload = await READER.read(scope, receive)
        try:
            parse_form(upload.fields, RULES, "transcribe", has_file=upload.filename is not None)
        finally:
            await upload.close()
    except ApiError as error:
        await error.response()(scope, receive, send)
    else:
        await ApiError(200, "accepted").response()(scope, receive, send)


FIELDS = {name: [part(*field) for field in fields] for name, fields, _ in REFUSED_FIELDS}
BAD_INPUTS: dict[str, tuple[dict[str, str], bytes]] = {
    **{
        f"header_{name}": (headers, form_body(audio_part())) for name, (headers, _) in REFUSED_HEADERS.items()
    },
    **{f"body_{name}": ({}, body) for name, (body, _, _) in REFUSED_BODIES.items()},
    **{f"field_{name}": ({}, form_body(*parts, audio_part())) for name, parts in FIELDS.items()},
    **{f"field_{name}_last": ({}, form_body(audio_part(), *parts)) for name, parts in FIELDS.items()},
    "model": ({}, form_body(audio_part(), part("model", "gpt-4o-transcribe"))),
    "no_file": ({}, form_body(part("model", "base"))),
    "large_file": ({}, form_body(audio_part(b"x" * (LIMIT + 1)))),
    "large_length": ({"content-length": "99999999999"}, form_body(audio_part())),
}


@pytest.mark.parametrize(("headers", "body"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_bad_inputs_are_errors_of_the_client_in_the_shape_of_openai(
    headers: dict[str, str], body: bytes
) -> None:
    answer = call(transcribe, http_scope("POST", headers=FORM | headers), Body(blocks_of(body)))
    assert 400 <= answer.status < 500
    assert answer.status != 422
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["message"]
    assert answer.error["type"] in ("invalid_request_error", "server_error")


def test_there_are_many_bad_inputs_and_a_good_one() -> None:
    assert len(BAD_INPUTS) >= 40
    body = form_body(part("language", "de"), audio_part())
    assert call(transcribe, http_scope("POST", headers=FORM), Body([body])).status == 200
