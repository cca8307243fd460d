"""Transcribes recordings with Whisper on Flax through Apache Beam.

    whisper-beam transcribe talks/*.mp3 -o out

and on a cluster, with Beam's own options behind:

    whisper-beam transcribe gs://bucket/talks -o gs://bucket/out \
        --runner DataflowRunner --project NAME --region europe-west4 --temp_location gs://bucket/tmp \
        --sdk_container_image europe-west4-docker.pkg.dev/NAME/images/whisper-beam:cpu

`python -m pipelines.transcribe` is the same program.

Exit codes: 0 all was transcribed, 2 some recordings failed, 1 the run failed, 130 it was interrupted
(143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.process.import_path import leave_out_working_directory
from pipelines.process.left_out_packages import leaving_out
from pipelines.process.quick_exit import exit_quickly

if TYPE_CHECKING:  # imports that take time are where an interrupt is expected
    from pipelines.backend import Backend
    from pipelines.options import TranscribeOptions

_OUR_CLASS = re.compile(r"^(model|transforms|pipelines)(\.\w+)+: ")
_BEAM_STEP = re.compile(r" \[while running '[^']*'\]$")
_BEAM_CHATTER = (
    "root",
    "apache_beam.io.mongodbio",  # that MongoDB's client is not installed
    "apache_beam.options.pipeline_options",
    "apache_beam.utils.subprocess_server",  # that a job server starts and ends
    "PrismRunner",  # the error that ended a run, which is printed anyway
)
LOCAL_RUNNER = "DirectRunner"
SWITCH_INTERVAL_S = 0.0005
UNUSED_BY_LOCAL_RUNS = ("boto3", "pandas", "pymongo")
_LOGGER = logging.getLogger(__name__)


def main(
    argv: Sequence[str] | None = None,
    backend: Backend | None = None,
    prog: str = "python -m pipelines.transcribe",
) -> int:
    """Runs the command line and returns the exit code.

    Args:
        argv: without the program's name; None for those of the process.
        backend: the model; None for Whisper.
        prog: the program's name, for its help.
    """
    from pipelines.process.signals import exiting_immediately, report_interrupt

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a text must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        with exiting_immediately():
            from model.interface import ModelOptions
            from model.option_fields import select_options
            from pipelines.command_line import parse
            from pipelines.process.memory import limit_malloc_arenas, returning_free_memory

            limit_malloc_arenas()
            _tune_interpreter()
            _quiet_logs()
            options, beam_args = parse(sys.argv[1:] if argv is None else argv, prog)
            from pipelines.backend import WHISPER

            backend = backend or WHISPER
            if backend.start_loading and loads_here(options, beam_args):
                backend.start_loading(select_options(options, ModelOptions))
            transcribe = _import_run(options, beam_args)

        with returning_free_memory():
            return transcribe(options, beam_args, backend)
    except KeyboardInterrupt as error:
        return report_interrupt(error)
    except Exception as error:  # any error becomes one sentence; LOG_LEVEL=DEBUG shows the traceback
        from transforms.core.redaction import redact

        _LOGGER.debug("the run failed", exc_info=True)
        print(f"The run failed: {redact(_message(error))}", file=sys.stderr)
        return 1


def loads_here(options: TranscribeOptions, beam_args: Sequence[str]) -> bool:
    """Whether this process will most likely load the model: on the local runner, unless the run is finished.

    Other runners load it in their workers, and their launcher imports no JAX.
    """
    from pipelines.output.run_files import SUCCESS_FILE

    if not _is_local(options, beam_args) or options.dry_run or options.partial:
        return False
    return options.overwrite or not os.path.exists(os.path.join(options.output, SUCCESS_FILE))


def _import_run(options: TranscribeOptions, beam_args: Sequence[str]) -> Callable[..., int]:
    """Imports Beam, which takes half a second, and returns `pipelines.run.transcribe`.

    For a local run without packages that Beam imports, and pyarrow at its first table, for nothing that the
    run uses: a third of these imports. `datasets`, which reads and uploads datasets, needs pandas.
    """
    from pipelines.process.memory import without_garbage_collection

    with without_garbage_collection():
        if not _is_local(options, beam_args) or options.dataset or options.push_to_hub:
            from pipelines.run import transcribe

            return transcribe
        with leaving_out(*UNUSED_BY_LOCAL_RUNS):
            from pyarrow.lib import _pandas_api

            from pipelines.run import transcribe

            _ = _pandas_api.have_pandas  # it looks for pandas once
            return transcribe


def _is_local(options: TranscribeOptions, beam_args: Sequence[str]) -> bool:
    return options.runner == LOCAL_RUNNER and not beam_args


def _tune_interpreter() -> None:
    """Saves time at the start that Python spends on waiting threads and on translations.

    Loading the model calls compiled code a thousand times, and after each call its thread waits for the
    interpreter. Beam makes a parser for each of four hundred views of its options, and `argparse` looks for
    translations of its titles on the disk each time, five thousand files.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    argparse._ = str  # type: ignore[attr-defined]


def _message(error: Exception) -> str:
    """Returns an error's message; of a traceback in text, which is how Beam passes errors on, the last line.

    Beam puts the error's class before it, which for our own classes adds nothing, and its step behind it.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    message = lines[-1].strip() if "Traceback" in lines[0] else " ".join(lines)
    return _OUR_CLASS.sub("", _BEAM_STEP.sub("", message))


def _quiet_logs() -> None:
    level = os.environ.get("LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        known = ", ".join(logging.getLevelNamesMapping())
        raise ValueError(f"LOG_LEVEL={level} in the environment: not one of {known}")
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if level == "DEBUG":
        return
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    """Whether a log record is for users: not Beam's tracebacks, unknown flags and optional packages."""
    if record.name.startswith(("apache_beam", "SdkWorker@")):  # the latter: of a worker, by way of Prism
        has_traceback = record.exc_info or record.exc_text or "Traceback (most" in record.getMessage()
        # Beam has job servers log more than the root's level lets through.
        is_wanted = record.levelno >= logging.getLogger().level
        return is_wanted and not has_traceback and record.name not in _BEAM_CHATTER
    return record.name not in _BEAM_CHATTER


if __name__ == "__main__":
    leave_out_working_directory()
    exit_quickly(main())
