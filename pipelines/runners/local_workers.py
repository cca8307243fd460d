"""Workers of the local runner: they end with their run, and the death of a worker process is noticed.

Beam waits forever for the answer of a process that was killed before its connections were established, or
between two bundles. Here such a request is answered with an error: the other processes finish and commit what
they have started, and then the run ends. The next run of the same command does the rest, and gives up a
recording that has crashed its process three times (`transforms.checkpoint.resume`).

An interrupt that arrives while Beam ends its workers would leave threads that the program waits for at its
end, forever. Here such threads are daemons, each worker is ended in a thread of its own, and
`watched_workers` ends those that Beam did not come to. Importing this module replaces Beam's handlers.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    EmbeddedGrpcWorkerHandler,
    EmbeddedWorkerHandler,
    GrpcServer,
    GrpcWorkerHandler,
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker

from transforms.checkpoint.spans import MAX_CRASHES

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""Interval at which requests to a dead process are answered."""

END_S = 10.0
"""How long an interrupted run waits for its workers; then they end by themselves, as their runner is gone."""

_READERS = frozenset({"beam_control_read", "read_grpc_client_inputs"})
"""Names of Beam's threads that read from a process; they end with an exception when it dies."""


class WorkerDiedError(RuntimeError):
    """A worker process of the local runner died; another run does its work."""


class _Handler(Protocol):
    def end(self) -> Future[None]:
        """Starts to end the worker, once; the result is there when it has ended."""


@dataclass
class _Workers:
    """The workers of one run: their handlers, what they are connected to, and how processes of them died."""

    handlers: list[_Handler] = field(default_factory=list)
    servers: list[GrpcServer] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    def end(self) -> None:
        """Ends the workers that are left, and waits for them, `END_S` at most."""
        wait([handler.end() for handler in self.handlers], END_S)
        for server in self.servers:
            server.close()


_WORKERS: ContextVar[_Workers] = ContextVar("_WORKERS")
"""Those of the run that this thread has started; Beam makes the handlers in it."""


def _workers() -> _Workers:
    """Returns the workers of the current run; of a pipeline that is not ours, an unused record."""
    return _WORKERS.get(None) or _Workers()


@WorkerHandler.register_environment(python_urns.EMBEDDED_PYTHON, None)
class InMemoryWorkerHandler(EmbeddedWorkerHandler):
    """Beam's handler of the only worker of a process, which runs in the thread of the runner."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  # of Beam's handler
        super().__init__(*arguments)
        _workers().handlers.append(self)

    def end(self) -> Future[None]:
        """Ends the thread that ends DoFns which are not used, and all DoFns, unless Beam has done so."""
        return _in_daemon(self.stop_worker)


class _ConnectedWorkerHandler(GrpcWorkerHandler):
    """Beam's handler of a worker behind gRPC, extended to end it whatever happens in the run."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  # of Beam's handler
        super().__init__(*arguments)
        self._run, self._lock = _workers(), threading.Lock()
        self._run.handlers.append(self)
        if self._grpc_server not in self._run.servers:
            self._run.servers.append(self._grpc_server)
        self._closed = threading.Event()
        self._ended: Future[None] | None = None
        self.control_conn._read_thread.daemon = True
        _flush_without_threads(self.data_conn)

    def close(self) -> None:
        """Ends the worker, and waits; an interrupt of the wait does not keep the worker from its end."""
        self.end().result()

    def end(self) -> Future[None]:
        """Starts to end the worker, once; the result is there when it has ended."""
        with self._lock:
            if self._ended is None:
                self._closed.set()
                # Beam does not send it to a worker that is not connected yet, which would then wait for it.
                self.control_conn.push(BeamFnControlServicer._DONE_MARKER)
                self._ended = _in_daemon(super().close)
            return self._ended


@WorkerHandler.register_environment(python_urns.EMBEDDED_PYTHON_GRPC, bytes)
class ThreadWorkerHandler(_ConnectedWorkerHandler, EmbeddedGrpcWorkerHandler):
    """Beam's handler of a worker in a thread of this process."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  # of Beam's handler
        super().__init__(*arguments)
        _flush_without_threads(self)


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WatchedWorkerHandler(_ConnectedWorkerHandler, SubprocessSdkWorkerHandler):
    """Beam's handler of a worker process, extended to answer the requests to a dead one."""

    def start_worker(self) -> None:
        """Starts the process, and a thread that waits for its end."""
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._watch, daemon=True)
        self.worker_thread.start()

    def _watch(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as error:  # Beam's way to report an exit code other than 0
            if self._closed.is_set():
                return
            reason = _describe_exit(str(error))
            self._run.crashes.append(reason)
            logger.warning("%s; the other processes finish their work first", reason)
            while not self._closed.wait(POLL_S):
                self._answer(reason)

    def _answer(self, reason: str) -> None:
        """Answers all requests to the process with an error: Beam has no other way to end its wait."""
        pending = self.control_conn._futures_by_id
        for name in list(pending):
            if (future := pending.pop(name, None)) is not None:
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=reason))


def _flush_without_threads(sender: Any) -> None:  # noqa: ANN401  # a data channel, or a handler that makes one
    """Lets elements be sent at the end of a bundle: a thread that sends them before outlives a failed one."""
    sender._data_buffer_time_limit_ms = 0


def _in_daemon(function: Callable[[], None]) -> Future[None]:
    """Calls a function in a thread that the end of the program does not wait for."""
    outcome: Future[None] = Future()

    def call() -> None:
        try:
            function()
        except Exception as error:  # of Beam or of a DoFn; raised where the result is wanted
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=call, name="end-worker", daemon=True).start()
    return outcome


def _describe_exit(error: str) -> str:
    """Describes the end of a process by Beam's message; shells return 128 plus the signal's number."""
    code = error.rpartition(" ")[2]
    if code in (str(128 + signal.SIGKILL), str(-signal.SIGKILL)):
        return "a worker process was killed, possibly because memory ran out"
    return f"a worker process ended with exit code {code}"


@contextmanager
def watched_workers() -> Iterator[None]:
    """Ends all workers of the run in the block, and reports the death of one in place of Beam's error.

    Raises:
        WorkerDiedError: the run failed after a worker had died.
    """
    workers = _Workers()
    current, before = _WORKERS.set(workers), threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is None or args.thread.name not in _READERS:
            before(args)

    threading.excepthook = hook
    try:
        try:
            yield
        finally:
            workers.end()
    except Exception as error:  # whatever Beam raises: of a closed channel, of an answer that is an error
        if not workers.crashes:
            raise
        raise WorkerDiedError(
            f"{workers.crashes[0]}; completed work is kept. Give the same command again: a recording that "
            f"crashes its process is given up after {MAX_CRASHES} attempts. Fewer workers "
            "(--direct_num_workers) need less memory"
        ) from error
    finally:
        threading.excepthook = before
        _WORKERS.reset(current)
