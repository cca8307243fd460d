"""HTTP/1.1 of one connection: uvicorn's, without its log of accesses, and with errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.server.errors import invalid_request
from pipelines.server.security import REQUEST_ID


class HttpProtocol(H11Protocol):
    """See `H11Protocol`. The logger of accesses belongs to the process, and maybe to another server."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401  # uvicorn's
        super().__init__(**arguments)
        self.access_log = False

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are no HTTP request, which the application never gets; closes the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer is under way
            answer = invalid_request(msg, code="invalid_http").response()
            headers = [
                *answer.raw_headers,
                (REQUEST_ID.encode(), str(uuid4()).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=answer.status_code, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()
