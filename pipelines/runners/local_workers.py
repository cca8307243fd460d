"""Detection of dead worker processes of the local runner (`--direct_running_mode multi_processing`).

Beam waits forever for the answer of a process that was killed before its connections were established, or
between two bundles. Here such a request is answered with an error: the other processes finish and commit what
they have started, and then the run ends. The next run of the same command does the rest, and gives up a
recording that has crashed its process three times (`transforms.checkpoint.resume`).
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker

from transforms.checkpoint.spans import MAX_CRASHES

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""Interval at which requests to a dead process are answered."""

_READERS = frozenset({"beam_control_read", "read_grpc_client_inputs"})
"""Names of Beam's threads that read from a process; they end with an exception when it dies."""

_crashes: list[str] = []


class WorkerDiedError(RuntimeError):
    """A worker process of the local runner died; another run does its work."""


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WatchedWorkerHandler(SubprocessSdkWorkerHandler):
    """Beam's handler of a worker process, extended to answer the requests to a dead one."""

    def start_worker(self) -> None:
        """Starts the process, and a thread that waits for its end."""
        self._closed = threading.Event()
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run)
        self.worker_thread.start()

    def close(self) -> None:
        """Ends the process and the thread that waits for it."""
        self._closed.set()
        super().close()

    def _run(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as error:  # Beam's way to report an exit code other than 0
            if self._closed.is_set():
                return
            reason = _describe_exit(str(error))
            _crashes.append(reason)
            logger.warning("%s; the other processes finish their work first", reason)
            while not self._closed.wait(POLL_S):
                self._answer(reason)

    def _answer(self, reason: str) -> None:
        """Answers all requests to the process with an error: Beam has no other way to end its wait."""
        pending = self.control_conn._futures_by_id
        for name in list(pending):
            if (future := pending.pop(name, None)) is not None:
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=reason))


def _describe_exit(error: str) -> str:
    """Describes the end of a process by Beam's message; shells return 128 plus the signal's number."""
    code = error.rpartition(" ")[2]
    if code in (str(128 + signal.SIGKILL), str(-signal.SIGKILL)):
        return "a worker process was killed, possibly because memory ran out"
    return f"a worker process ended with exit code {code}"


@contextmanager
def watched_workers() -> Iterator[None]:
    """Reports the death of a worker, and what to do, in place of Beam's error.

    Raises:
        WorkerDiedError: the run failed after a worker had died.
    """
    _crashes.clear()
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is None or args.thread.name not in _READERS:
            before(args)

    threading.excepthook = hook
    try:
        yield
    except Exception as error:  # whatever Beam raises: of a closed channel, of an answer that is an error
        if not _crashes:
            raise
        raise WorkerDiedError(
            f"{_crashes[0]}; completed work is kept. Give the same command again: a recording that crashes "
            f"its process is given up after {MAX_CRASHES} attempts. Fewer workers (--direct_num_workers) "
            "need less memory"
        ) from error
    finally:
        threading.excepthook = before
