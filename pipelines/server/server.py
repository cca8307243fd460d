"""The server: in a thread beside other servers of the process, or as the program of its own.

from pipelines.server.server import Server, run_server

with Server(model="openai/whisper-base", port=8000) as server:
print(server.url)

run_server("openai/whisper-base", port=8000)  # blocks
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from pipelines.backend import EMBEDDED_WHISPER, Backend
from pipelines.server.app import Application
from pipelines.server.engine import Engine
from pipelines.server.options import ServeOptions

if TYPE_CHECKING:
    from pipelines.inference import Inference

RESERVE_S = 30.0
"""Seconds for which a call of the model stays free for the next short recording, after one."""

KEEP_ALIVE_S = 75
_GRACE_S = 5.0  # for answers, after the transcriptions have ended
_LOGGER = logging.getLogger(__name__)


class Server:
    """A server in a thread of this process. It changes no setting of the process, and handles no signal.

    Args:
        backend: loads the model.
        options: options of `whisper-beam serve` (docs/server.md), by name.

    Raises:
        OptionsError: an option that cannot be used.
    """

    def __init__(self, *, backend: Backend = EMBEDDED_WHISPER, **options: Any) -> None:  # noqa: ANN401  # ServeOptions
        self.options = ServeOptions(**_plain(options))
        self._backend = backend
        self._engine = Engine(self._load, self.options.max_requests)
        self._app = Application(self.options, self._engine)
        self._socket: socket.socket | None = None
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port; of a server with port 0, the one that it got."""
        return self.options.port if self._socket is None else int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The URL of the server."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    def start(self) -> Self:
        """Begins to listen, and to load the model; returns once connections are accepted.

        Raises:
            OSError: the address is in use, or not one of this machine.
        """
        if self._thread is not None:
            raise RuntimeError("the server was started before; make a new one")
        self._socket = _listening(self.options.host, self.options.port)
        config = uvicorn.Config(
            self._app,
            log_config=None,  # logging is the process's
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(self.options.drain_s + _GRACE_S),
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self._thread.start()
        self._engine.start()
        return self

    def wait_until_ready(self, timeout_s: float | None = None) -> Inference:
        """Waits until the model is loaded, and returns it.

        Raises:
            TimeoutError: it is not loaded yet.
            Exception: it cannot be loaded.
        """
        return self._engine.wait(timeout_s)

    def stop(self, drain_s: float | None = None) -> None:
        """Refuses new requests, lets those that are running finish, and ends all threads.

        Args:
            drain_s: seconds until the transcriptions that are still running are cancelled; None for
                `--drain_s`.
        """
        self._app.admission.drain()
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._thread.join(self.options.drain_s if drain_s is None else drain_s)
            self._engine.cancel_all()
            self._thread.join()
        self._engine.close()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop(0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        assert self._uvicorn is not None
        assert self._socket is not None
        with self._socket:
            asyncio.run(self._uvicorn.serve([self._socket]))

    def _load(self) -> Inference:
        from pipelines.inference import Inference

        options = self.options
        inference = Inference(backend=self._backend, reserve_s=RESERVE_S, **options.recording_options())
        inference.warm_up(prompts=options.keep_warm)
        self._app.metrics.set_batch_size(inference.batch_size)
        return inference


def run_server(
    model_name: str = ServeOptions.model,
    host: str = ServeOptions.host,
    port: int = ServeOptions.port,
    dtype: object = ServeOptions.dtype,
    **options: Any,  # noqa: ANN401  # of ServeOptions
) -> None:
    """Serves until the process gets SIGTERM or SIGINT, then lets running requests finish.

    Outside the main thread it handles no signals, and runs until the process ends.

    Args:
        model_name: name or folder of a Whisper model.
        host: address to listen on.
        port: port to listen on.
        dtype: precision, as a name or a type such as `jax.numpy.bfloat16`.
        options: further options of `whisper-beam serve` (docs/server.md), by name.

    Raises:
        OptionsError: an option that cannot be used.
        OSError: the address is in use, or not one of this machine.
        Exception: the model cannot be loaded.
    """
    serve(Server(model=model_name, host=host, port=port, dtype=dtype, **options))


def serve(server: Server) -> None:
    """Runs a server until SIGTERM or SIGINT; a second signal cancels what is running."""
    with _stop_signals() as signals:
        server.start()
        try:
            _LOGGER.info("%s is loading %s", server.url, server.options.model)
            while not signals.wait(0.2):
                try:
                    server.wait_until_ready(0)
                except TimeoutError:
                    continue
                break
            _LOGGER.info("%s is ready", server.url)
            signals.wait()
        finally:
            stopping = threading.Thread(target=server.stop, name="stop")
            stopping.start()
            while stopping.is_alive():
                stopping.join(0.2)
                if signals.count > 1:
                    server._engine.cancel_all()


class _Signals:
    """Signals that asked the process to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._any = threading.Event()

    def add(self, *_: object) -> None:
        self.count += 1
        self._any.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        return self._any.wait(timeout_s)


@contextmanager
def _stop_signals() -> Iterator[_Signals]:
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers there only
        yield signals
        return
    before = {number: signal.signal(number, signals.add) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options with `dtype` as a name."""
    dtype = options.get("dtype", "")
    if isinstance(dtype, str):
        return options
    import numpy as np

    return {**options, "dtype": np.dtype(dtype).name}


def _listening(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound; uvicorn listens on it."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening
