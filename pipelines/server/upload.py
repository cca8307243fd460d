"""The body of a request: read in blocks, parsed and written in threads, limited in size.

The event loop only collects blocks; it never waits for the disk, nor for the parser.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from pipelines.server.errors import ApiError, invalid_request, quoted, too_large, unavailable, upload_stalled
from pipelines.server.multipart import FILE, Multipart
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits
from transforms.fetch.spool import Spool

BLOCK_BYTES = 256 << 10
"""Bytes that are parsed and written at a time."""

OVERHEAD_BYTES = 512 << 10
"""Bytes of a body beside its file. With the largest block of a server, 320 KiB, less than 1 MB."""

BYTES_IN_MEMORY = 1 << 20
STALL_S = 60.0
NO_ROOM_RETRY_S = 30.0
CONTENT_TYPE = "multipart/form-data"


class ClientDisconnected(Exception):  # noqa: N818  # not an error of this program
    """The client closed the connection before the body was complete."""


@dataclass(frozen=True)
class Upload:
    """A form that has arrived.

    Attributes:
        fields: names and values of the text fields, in their order.
        spool: content of the file, positioned at its start; empty without a file.
        digest: SHA-256 of the content, in hexadecimal digits.
        filename: the last part of the client's name of the file; None without a file.
    """

    fields: tuple[tuple[str, str], ...]
    spool: Spool
    digest: str
    filename: str | None

    @property
    def n_bytes(self) -> int:
        """The length of the file."""
        return self.spool.n_bytes

    async def close(self) -> None:
        """Deletes the file; a large one takes a moment, in a thread."""
        await _close(self.spool)


class UploadReader:
    """Reads the forms of a server."""

    def __init__(
        self,
        max_bytes: int,
        *,
        file_required: bool = True,
        stall_s: float = STALL_S,
        threads: int = 4,
        limits: Limits | None = None,
    ) -> None:
        """Creates the reader.

        Args:
            max_bytes: maximum length of a file.
            file_required: whether a form without a file is an error.
            stall_s: maximum seconds without data.
            threads: maximum number of blocks that are parsed and written at the same time.
            limits: the limits of memory and disk; those of `max_bytes` by default.
        """
        self._max_bytes, self._file_required, self._stall_s = max_bytes, file_required, stall_s
        self._limits = limits or Limits(bytes_each=max_bytes, bytes_in_memory=min(BYTES_IN_MEMORY, max_bytes))
        self._threads = anyio.CapacityLimiter(threads)

    async def read(self, scope: Scope, receive: Receive) -> Upload:
        """Reads a form, whose parts may be in any order; the caller closes the upload.

        Raises:
            ApiError: 400 for a body that is no form, 408 for one that stops arriving, 413 for one that is too
                large, of which at most `max_bytes` + 1 MB have been read, 503 if the disk is full.
            ClientDisconnected: the client is gone.
        """
        boundary = self._check_headers(Headers(scope=scope))
        spool = Spool(self._limits)
        try:
            form = Multipart(boundary, spool)
            await self._read_body(receive, form)
            if form.filename is None and self._file_required:
                names = ", ".join(quoted(name) for name, _ in form.fields[:10]) or "none"
                raise invalid_request(f"The form has no part 'file'; its parts: {names}.", FILE)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _close(spool)
            raise
        return Upload(tuple(form.fields), spool, form.digest.hexdigest(), form.filename)

    def _check_headers(self, headers: Headers) -> bytes:
        """Returns the boundary."""
        kind, options = parse_options_header(headers.get("content-type"))
        if kind.decode("latin-1") != CONTENT_TYPE:
            given = quoted(headers.get("content-type", ""))
            raise invalid_request(f"Content-Type {given}: send the file and its fields as {CONTENT_TYPE}.")
        if not options.get(b"boundary"):
            raise invalid_request(f"The header Content-Type {CONTENT_TYPE} has no boundary.")
        encoding = headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise invalid_request(f"Content-Encoding {quoted(encoding)}: send the body as it is.")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise invalid_request(f"Content-Length {quoted(length)}: not a number of bytes.")
        if len(length) > 18 or int(length) > self._max_bytes + OVERHEAD_BYTES:
            raise too_large(self._max_bytes, int(length[:18]))
        return options[b"boundary"]

    async def _read_body(self, receive: Receive, form: Multipart) -> None:
        blocks: list[bytes] = []
        n_collected = n_read = 0
        more = True
        while more:
            block, more = await self._receive(receive)
            n_read += len(block)
            n_collected += len(block)
            blocks.append(block)
            if n_read > self._max_bytes + OVERHEAD_BYTES:
                raise too_large(self._max_bytes, n_read)
            if n_collected >= BLOCK_BYTES or not more:
                await self._parse(form, b"".join(blocks), n_read, last=not more)
                blocks, n_collected = [], 0

    async def _receive(self, receive: Receive) -> tuple[bytes, bool]:
        try:
            with anyio.fail_after(self._stall_s):
                message = await receive()
        except TimeoutError as error:
            raise upload_stalled(self._stall_s) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        return message.get("body", b""), message.get("more_body", False)

    async def _parse(self, form: Multipart, block: bytes, n_read: int, last: bool) -> None:
        def parse() -> None:
            form.write(block)
            if last:
                form.finish()

        try:
            await anyio.to_thread.run_sync(parse, limiter=self._threads)
        except AudioError as error:
            raise self._refusal(error, n_read) from error

    def _refusal(self, error: AudioError, n_read: int) -> ApiError:
        if error.kind == "too_large":
            return too_large(self._max_bytes, n_read)
        message = "The server has no disk space for the file at present."
        return unavailable(message, "disk_full", NO_ROOM_RETRY_S)


async def _close(spool: Spool) -> None:
    await anyio.to_thread.run_sync(spool.close)
