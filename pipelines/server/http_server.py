"""uvicorn in a thread: listens, serves an ASGI app, and ends without leaving anything."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from pipelines.server.http_protocol import HttpProtocol

KEEP_ALIVE_S = 75
BACKLOG = 2048


class HttpServer:
    """Serves an app in a thread. All methods may be called by any thread.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        # Without `access_log=False`, which would silence other servers of the process.
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not all of its connections have ended since."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, host: str, port: int) -> int:
        """Begins to listen, and returns the port.

        Raises:
            OSError: the address is in use, or not one of this machine.
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("the server was started before; make a new one")
        listening = _listening(host, port)
        got = int(listening.getsockname()[1])
        self._thread = threading.Thread(target=self._run, args=(listening,), name="server", daemon=True)
        self._thread.start()
        return got

    def refuse(self) -> None:
        """Refuses new connections; ends once all requests have been answered."""
        self._uvicorn.should_exit = True

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits for the end; returns whether it has come."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.is_running

    def call(self, function: Callable[[], None]) -> None:
        """Calls a function on the event loop, if it is running."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed
            return

    def abort(self) -> None:
        """Closes all connections, those too whose clients do not read their answers."""
        self.call(self._abort)

    def _abort(self) -> None:
        for connection in list(self._uvicorn.server_state.connections):
            connection.transport.abort()

    def _run(self, listening: socket.socket) -> None:
        with listening:
            asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        await self._uvicorn.serve([listening])


def _listening(host: str, port: int) -> socket.socket:
    """Returns a listening socket.

    Raises:
        OSError: the address is in use, or not one of this machine; says which one.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listening
