"""The endpoints /v1/audio/transcriptions and /v1/audio/translations."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from model.interface import AUTO
from pipelines.option_checks import OptionsError, language_code
from pipelines.options import RecordingOptions
from pipelines.server.engine import Engine, Finished, Job
from pipelines.server.errors import ApiError, internal_error, invalid_file, invalid_request, unavailable
from pipelines.server.form import FormRules, ParsedForm, parse_form
from pipelines.server.limits import Admission, RateLimit, client_of
from pipelines.server.monitoring import ServerMetrics
from pipelines.server.request import TranscriptionRequest
from pipelines.server.stopping import Stop, stopping
from pipelines.server.upload import NO_ROOM_RETRY_S, ClientDisconnected, Upload, UploadReader
from transforms.core.types import Failure

if TYPE_CHECKING:
    from pipelines.inference import Call, Inference, TranscriptionError

OTHER_LANGUAGE, UNEXPECTED, NO_ROOM, NOT_AUDIO = "other_language", "unexpected", "no_room", "not_audio"
"""Kinds of failures with answers of their own."""

_LOGGER = logging.getLogger(__name__)


class Transcriptions:
    """Answers the requests of one endpoint.

    Args:
        task: `transcribe` or `translate`.
        engine: runs the transcriptions.
        rules: what forms may ask for, once the model is loaded.
        reader: reads the forms.
        admission: limits the requests at a time; the endpoints of a server share it.
        rate_limit: limits the requests of each client; None for no limit.
        metrics: the figures of the server.
        stop: ends the waits for an upload, or for the model, when the server stops.
    """

    def __init__(
        self,
        task: str,
        engine: Engine,
        rules: RulesOf,
        reader: UploadReader,
        admission: Admission,
        rate_limit: RateLimit | None,
        metrics: ServerMetrics,
        stop: Stop,
    ) -> None:
        self._task, self._engine, self._rules, self._reader = task, engine, rules, reader
        self._admission, self._rate_limit, self._metrics = admission, rate_limit, metrics
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request.

        Raises:
            ApiError: the answer is an error.
        """

        async def receive_until_stopped() -> Message:
            with self._stop.ends_wait():
                return await receive()

        if self._rate_limit is not None:
            self._rate_limit.take(client_of(scope))
        with ExitStack() as inside:
            inside.enter_context(self._admission.admit())
            try:
                upload = await self._reader.read(scope, receive_until_stopped)
                try:
                    answer = _Answer(send, inside.close)
                    await answer.while_connected(receive, self._answer(upload, scope, receive, answer.send))
                finally:
                    await asyncio.shield(upload.close())
            except ClientDisconnected:
                _LOGGER.info("%s: the client closed the connection", scope["path"])

    async def _answer(self, upload: Upload, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stop.ends_wait():
            inference = await self._engine.inference()
        rules = self._rules(inference)
        parsed = parse_form(upload.fields, rules, self._task, has_file=upload.filename is not None)
        job = self._submit(inference, parsed.request, upload)
        try:
            if parsed.request.stream:
                await self._stream(inference, parsed, job, send)
            else:
                response = await self._whole(inference, parsed, job)
                await response(scope, receive, send)
        finally:
            job.cancel()
            await asyncio.shield(job.ended())

    def _submit(self, inference: Inference, request: TranscriptionRequest, upload: Upload) -> Job:
        from pipelines.audio_input import audio_input, from_file

        if request.url is not None:
            audio = audio_input(request.url)
        else:
            audio = from_file(upload.spool.file, upload.digest, upload.filename)
        recognition = self._metrics.recognition

        def make_call(cancelled: threading.Event) -> Call:
            return inference.call(
                audio, None, cancelled, recognition, **call_options(request, inference.options)
            )

        try:
            return self._engine.submit(inference, make_call, with_segments=request.stream)
        except OptionsError as error:
            raise invalid_request(str(error)) from error

    async def _whole(self, inference: Inference, parsed: ParsedForm, job: Job) -> Response:
        from pipelines.server.formats import render

        finished = await self._finished(job)
        # Of ten hours it takes a second, for which the event loop must not wait.
        body = await asyncio.to_thread(
            render, finished.row, finished.failures, parsed.request, inference.token_ids
        )
        headers = {**body.headers, **parsed.headers(), "content-type": body.content_type}
        return Response(body.content, headers=headers)

    async def _stream(self, inference: Inference, parsed: ParsedForm, job: Job, send: Send) -> None:
        from pipelines.server.events import CONTENT_TYPE, HEADERS, begin, event_stream

        async def finished() -> Finished:
            return await self._finished(job)

        events = await begin(
            event_stream(job.segments(), finished, parsed.request, inference.token_ids, error_body)
        )
        async with aclosing(events):
            headers = {**HEADERS, **parsed.headers(), "content-type": CONTENT_TYPE}
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
                }
            )
            async for chunk in events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _finished(self, job: Job) -> Finished:
        """Waits for the result.

        Raises:
            ApiError: there is none, or a part of the recording is missing in it.
        """
        try:
            finished = await job.result()
        except Exception as error:
            raise to_api_error(error) from error
        for failure in finished.failures:
            if _is_of_server(failure):
                _LOGGER.error("%s: %s: %s", failure.uri, failure.kind, failure.message)
                raise internal_error("The model failed on a part of the recording.")
        self._metrics.count_audio(finished.row["duration_s"])
        return finished


class RulesOf:
    """What forms may ask for, by the model that was loaded."""

    def __init__(self, model: str, aliases: frozenset[str], *, allow_urls: bool) -> None:
        self._model, self._aliases, self._allow_urls = model, aliases, allow_urls

    def __call__(self, inference: Inference) -> FormRules:
        """Returns the rules."""
        return FormRules(
            model=self._model,
            aliases=self._aliases,
            languages=inference.languages,
            default_language=inference.options.language_code(inference.languages),
            allow_urls=self._allow_urls,
        )


def call_options(request: TranscriptionRequest, defaults: RecordingOptions) -> dict[str, Any]:
    """Returns the options of a request that differ from those of the server, for `Inference.call`."""
    options: dict[str, Any] = {"task": request.task, "word_timestamps": request.words}
    if request.language is not None:
        options |= {"language": request.language, "languages": ()}
    elif request.languages:
        options |= {"language": AUTO, "languages": request.languages}
    elif language_code(defaults.language) is not None:  # the request asks for detection
        options["language"] = AUTO
    if request.prompt is not None:
        options["initial_prompt"] = request.prompt
    if request.hotwords is not None:
        options["hotwords"] = request.hotwords
    if request.clip_timestamps:
        options["clip_timestamps"] = request.clip_timestamps
    if request.temperature:
        options["temperature"] = (request.temperature,)
    return options


class _Answer:
    """An answer that is being made, until the client disconnects.

    Args:
        send: sends a message.
        before_end: called before the last message, after which the client may send its next request.
    """

    def __init__(self, send: Send, before_end: Callable[[], None]) -> None:
        self._send, self._before_end = send, before_end
        self._is_complete = False

    async def send(self, message: Message) -> None:
        """Sends a message of the answer."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._is_complete = True
            self._before_end()
        await self._send(message)

    async def while_connected(self, receive: Receive, work: Coroutine[Any, Any, None]) -> None:
        """Runs the work, and cancels it when the client disconnects before the answer is complete.

        Args:
            receive: that of the request, whose body has been read.
            work: makes the answer.

        Raises:
            ClientDisconnected: the client is gone; the work has ended.
        """
        working = asyncio.create_task(work)
        watching = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
            if not (working.done() or self._is_complete):  # servers also call a complete answer disconnected
                raise ClientDisconnected
            await working
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.wait([working, watching])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def error_body(error: Exception) -> dict[str, Any]:
    """Returns the body of an error."""
    return to_api_error(error).to_json()


def to_api_error(error: Exception) -> ApiError:
    """Returns the answer for an exception of a transcription: 4xx where the audio is at fault."""
    from pipelines.inference import CancelledError, TranscriptionError

    match error:
        case ApiError():
            return error
        case OptionsError():
            return invalid_request(str(error))
        case TranscriptionError():
            return _recording_error(error)
        case CancelledError():  # by the server, as the client is still there
            return stopping()
    _LOGGER.error("a transcription failed", exc_info=error)
    return internal_error()


def _recording_error(error: TranscriptionError) -> ApiError:
    failures = error.failures
    if not failures or any(_is_of_server(failure) for failure in failures):
        _LOGGER.error("a transcription failed: %s", error)
        return internal_error()
    if failures[0].kind == NO_ROOM:
        message = "The server has no disk space for the file at present."
        return unavailable(message, "disk_full", NO_ROOM_RETRY_S)
    return _unusable(failures[0])


def _is_of_server(failure: Failure) -> bool:
    """Whether not the file is at fault, but the model or this program."""
    if failure.kind == OTHER_LANGUAGE:
        return False
    return failure.stage in ("transcribe", "merge") or failure.kind == UNEXPECTED


def _unusable(failure: Failure) -> ApiError:
    """Returns the 400 for a file that cannot be read."""
    if failure.kind == NOT_AUDIO:
        return invalid_file()
    what = "url" if failure.stage == "fetch" and failure.kind != "empty" else "file"
    return invalid_request(f"The audio cannot be used: {failure.message}.", what, failure.kind)
