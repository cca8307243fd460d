"""The server: in a thread beside other servers of the process, or as the program of its own.

    with Server(model="openai/whisper-base", port=8000) as server:
        print(server.url)

    run_server("openai/whisper-base", port=8000)  # blocks

It listens before the model is loaded; requests wait for the model.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipelines.backend import EMBEDDED_WHISPER, Backend
from pipelines.option_checks import OptionsError, nearest
from pipelines.server.app import Application
from pipelines.server.engine import LOADING, Engine
from pipelines.server.http_server import HttpServer
from pipelines.server.options import ServeOptions

if TYPE_CHECKING:
    from pipelines.inference import Inference

RESERVE_S = 30.0
"""Seconds for which a call of the model stays free for the next short recording, after one."""

GRACE_S = 5.0
"""Seconds for the answers of requests that were cancelled, until their connections are closed."""

POLL_S = 0.1
_LOGGER = logging.getLogger(__name__)


class LoadError(RuntimeError):
    """The model cannot be loaded; the log has the reason."""


class Server:
    """A server in a thread of this process. It changes no setting of the process, and handles no signal.

    Args:
        backend: loads the model.
        options: options of `whisper-beam serve` (docs/server.md), by name.

    Attributes:
        options: the options.
        port: the port; of a server with port 0, the one that it got when it was started.

    Raises:
        OptionsError: an option that cannot be used.
    """

    def __init__(self, *, backend: Backend = EMBEDDED_WHISPER, **options: Any) -> None:  # noqa: ANN401  # ServeOptions
        self.options = ServeOptions(**_checked(options))
        self.port = self.options.port
        self._backend = backend
        self._engine = Engine(self._load, self.options.max_requests)
        self._app = Application(self.options, self._engine)
        self._http = HttpServer(self._app)

    @property
    def url(self) -> str:
        """The URL of the server; of one that listens on every address, its URL on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.options.host, self.options.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_listening(self) -> bool:
        """Whether it was started, and not all of its connections have ended since."""
        return self._http.is_running

    @property
    def is_loading(self) -> bool:
        """Whether the model is neither loaded nor has failed to load."""
        return self._engine.state == LOADING

    def start(self) -> Self:
        """Begins to listen, and to load the model; returns once connections are accepted.

        Raises:
            OSError: the address is in use, or not one of this machine.
            RuntimeError: the server was started before.
        """
        self.port = self._http.start(self.options.host, self.options.port)
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

        A model that is still being loaded is waited for, as that cannot be interrupted.

        Args:
            drain_s: seconds until the requests that are still running are cancelled; None for `--drain_s`.
        """
        self._app.admission.drain()
        self._http.refuse()
        if not self._http.join(self.options.drain_s if drain_s is None else drain_s):
            self.cancel()
            if not self._http.join(GRACE_S):
                self._http.abort()
                self._http.join()
        self._engine.close()

    def cancel(self) -> None:
        """Answers all requests that are running with 503."""
        self._http.call(self._app.cancel_all)

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
        LoadError: the model cannot be loaded.
    """
    serve(Server(model=model_name, host=host, port=port, dtype=dtype, **options))


def serve(server: Server, *, ends_process: bool = False) -> None:
    """Runs a server until SIGTERM or SIGINT; a second signal cancels what is running.

    Args:
        server: the server.
        ends_process: whether the process ends after it, by `os._exit`. Then a model that is still being
            loaded is not waited for.

    Raises:
        OSError: the address is in use, or not one of this machine.
        LoadError: the model cannot be loaded.
    """
    with _stop_signals() as signals:
        server.start()
        try:
            _LOGGER.info("%s is loading %s", server.url, server.options.model)
            while server.is_loading and not signals.wait(POLL_S):
                pass
            if not server.is_loading:
                _check_loaded(server)
                _LOGGER.info("%s is ready", server.url)
                signals.wait()
        finally:
            _stop(server, signals, waits_for_model=not ends_process)


def _check_loaded(server: Server) -> None:
    try:
        server.wait_until_ready()
    except Exception as error:  # of any type, as any library of the model raises it
        raise LoadError(f"{server.options.model} cannot be loaded: {error}") from error


def _stop(server: Server, signals: _Signals, *, waits_for_model: bool) -> None:
    _LOGGER.info("%s is stopping", server.url)
    stopping = threading.Thread(target=server.stop, name="stop", daemon=True)
    stopping.start()
    while stopping.is_alive():
        stopping.join(POLL_S)
        if signals.count > 1:
            server.cancel()
        if server.is_loading and not (waits_for_model or server.is_listening):
            return


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


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options with `dtype` as a name.

    Raises:
        OptionsError: there is no such option.
    """
    known = list(ServeOptions.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise OptionsError(f"{name}: no such option{nearest(name, known)}")
    dtype = options.get("dtype", "")
    if isinstance(dtype, str):
        return options
    import numpy as np

    return {**options, "dtype": np.dtype(dtype).name}
