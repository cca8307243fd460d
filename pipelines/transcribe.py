"""Transcribes recordings with Whisper on Flax through Apache Beam.

    python -m pipelines.transcribe --input 'talks/**/*.mp3' --output out

and on a cluster, with Beam's own options behind:

    python -m pipelines.transcribe --input gs://bucket/talks --output gs://bucket/out \
        --runner DataflowRunner --project NAME --region europe-west4 --temp_location gs://bucket/tmp \
        --sdk_container_image europe-west4-docker.pkg.dev/NAME/images/whisper-beam:cpu

Exit codes: 0 all was transcribed, 2 some recordings failed, 1 the run failed, 130 it was interrupted
(143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.process.signals import leaving_at_once, told_interrupt

if TYPE_CHECKING:  # whatever takes time to import is imported where an interrupt is expected
    from pipelines.backend import Backend

_OUR_CLASS = re.compile(r"^(model|transforms|pipelines)(\.\w+)+: ")
_BEAM_STEP = re.compile(r" \[while running '[^']*'\]$")
_BEAM_CHATTER = (
    "root",
    "apache_beam.options.pipeline_options",
    "apache_beam.utils.subprocess_server",  # that a job server starts and ends
    "PrismRunner",  # what ended a run, which is told anyway
)
_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, backend: Backend | None = None) -> int:
    """Runs the command line and gives the exit code.

    Args:
        argv: without the program's name; None for those of the process.
        backend: the model; None for Whisper.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a text must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        with leaving_at_once():
            from pipelines.backend import WHISPER
            from pipelines.command_line import parse
            from pipelines.process.memory import uncollected, use_few_arenas

            use_few_arenas()
            _quiet_logs()
            options, beam_args = parse(sys.argv[1:] if argv is None else argv)
            with uncollected():
                from pipelines.run import transcribe  # brings Beam, seconds that --help need not wait for

        return transcribe(options, beam_args, backend or WHISPER)
    except KeyboardInterrupt as error:
        return told_interrupt(error)
    except Exception as error:  # whatever ends a run ends it with a sentence; LOG_LEVEL=DEBUG has the rest
        from transforms.core.redaction import redact

        _LOGGER.debug("the run failed", exc_info=True)
        print(f"The run failed: {redact(_sentence(error))}", file=sys.stderr)
        return 1


def _sentence(error: Exception) -> str:
    """What an error says; of a traceback in text, which is how Beam passes errors on, the last line.

    Beam has the error's class before it, which of our own says nothing more, and its step behind it.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = lines[-1].strip() if "Traceback" in lines[0] else " ".join(lines)
    return _OUR_CLASS.sub("", _BEAM_STEP.sub("", said))


def _quiet_logs() -> None:
    level = os.environ.get("LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        known = ", ".join(logging.getLevelNamesMapping())
        raise ValueError(f"LOG_LEVEL={level} in the environment: not one of {known}")
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if level == "DEBUG":
        return
    for handler in logging.getLogger().handlers:
        handler.addFilter(_speaks_to_users)


def _speaks_to_users(record: logging.LogRecord) -> bool:
    """Drops what Beam says beside our own sentences: tracebacks, unknown flags, packages it would like."""
    if record.name.startswith(("apache_beam", "SdkWorker@")):  # the latter: of a worker, by way of Prism
        has_traceback = record.exc_info or record.exc_text or "Traceback (most" in record.getMessage()
        # Beam has job servers log more than the root's level lets through.
        is_wanted = record.levelno >= logging.getLogger().level
        return is_wanted and not has_traceback and record.name not in _BEAM_CHATTER
    return record.name not in _BEAM_CHATTER


if __name__ == "__main__":
    sys.exit(main())
