"""Worker processes of the local runner (`--direct_running_mode multi_processing`) that die.

Beam waits for ever for the answer of a process that was killed before its connections stood, or between two
bundles. Here the answer is that it died: the other processes finish what they have begun, which is committed,
and then the run ends. The next run of the same command does the rest, and gives up a recording that has
killed its process three times (`transforms.checkpoint.resume`).
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

from transforms.checkpoint.spans import MAX_DEATHS

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""How often is looked whether a dead process was asked something."""

_READERS = frozenset({"beam_control_read", "read_grpc_client_inputs"})
"""Beam's threads that read from a process, and end with an exception when it dies."""

_deaths: list[str] = []


class WorkerDiedError(RuntimeError):
    """A worker process of the local runner died; another run does what it worked on."""


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WatchedWorkerHandler(SubprocessSdkWorkerHandler):
    """Beam's own, but for a process that is dead somebody answers."""

    def start_worker(self) -> None:
        """Starts the process, in a thread that waits for its end."""
        self._closed = threading.Event()
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run)
        self.worker_thread.start()

    def close(self) -> None:
        """Ends the process, and what waits for its end."""
        self._closed.set()
        super().close()

    def _run(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as error:  # so Beam tells of an exit code other than 0
            if self._closed.is_set():
                return
            reason = _told(str(error))
            _deaths.append(reason)
            logger.warning("%s; what the others have begun is finished first", reason)
            while not self._closed.wait(POLL_S):
                self._answer(reason)

    def _answer(self, reason: str) -> None:
        """Answers all that the process was asked: Beam offers nothing else that ends its wait."""
        asked = self.control_conn._futures_by_id
        for name in list(asked):
            if (future := asked.pop(name, None)) is not None:
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=reason))


def _told(error: str) -> str:
    """What Beam says of a death, in a sentence; a shell gives 128 more than the number of the signal."""
    code = error.rpartition(" ")[2]
    if code in (str(128 + signal.SIGKILL), str(-signal.SIGKILL)):
        return "a worker process was killed, perhaps because memory ran out"
    return f"a worker process ended with exit code {code}"


@contextmanager
def watched_workers() -> Iterator[None]:
    """Says that a worker died, and what to do, in the place of what Beam makes of it.

    Raises:
        WorkerDiedError: the run failed, and a worker had died before.
    """
    _deaths.clear()
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is None or args.thread.name not in _READERS:
            before(args)

    threading.excepthook = hook
    try:
        yield
    except Exception as error:  # whatever Beam raises: of a closed channel, of an answer that is an error
        if not _deaths:
            raise
        raise WorkerDiedError(
            f"{_deaths[0]}; what is done is kept: give the same command again, and a recording that kills "
            f"its process is given up after {MAX_DEATHS} times; fewer workers (--direct_num_workers) "
            "take less memory"
        ) from error
    finally:
        threading.excepthook = before
