"""The program `whisper-beam serve`.

The table of its options in docs/server.md is updated by

    python -m pipelines.server.command docs/server.md
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from pipelines.backend import WHISPER, Backend
from pipelines.flags import add_version_flag, with_underscores
from pipelines.option_checks import OptionsError, nearest
from pipelines.option_flags import HelpFormatter, OptionParser, add_options, with_options_table
from pipelines.process.memory import keep_returning_free_memory, limit_malloc_arenas
from pipelines.server.options import ServeOptions, grouped_options

EXTRA = ("anyio", "h11", "prometheus_client", "python_multipart", "starlette", "uvicorn")
"""Libraries of the extra `serve`."""

DESCRIPTION = """\
Serves one Whisper model over HTTP, with OpenAI's API and a page to use in a browser.

    {prog} --model openai/whisper-base --port 8000
    curl localhost:8000/v1/audio/transcriptions -F file=@talk.mp3

Clients of OpenAI work with base_url http://localhost:8000/v1. The page is at http://localhost:8000/."""

EPILOG = """\
Names of options may be written with dashes: --keep-warm is --keep_warm. Without keys anybody who reaches the
port may use the server; by default that is this machine alone.

SIGTERM and Ctrl-C stop it: new requests are refused, and those that are running have --drain_s seconds.
A second signal ends them. LOG_LEVEL=DEBUG in the environment shows more. Exit codes: 0 it was stopped, 1 it
could not start, 130 it was interrupted before it started."""


def main(
    argv: Sequence[str] | None = None,
    backend: Backend = WHISPER,
    prog: str = "python -m pipelines.server.command",
) -> int:
    """Runs the command line; returns the exit code only if nothing was served.

    Args:
        argv: without the program's name; None for those of the process.
        backend: the model.
        prog: the program's name, for its help.
    """
    try:
        _run(parse(sys.argv[1:] if argv is None else argv, prog), backend)
    except OSError as error:  # an address in use, or not one of this machine
        print(f"whisper-beam serve: {error.strerror or error}", file=sys.stderr)
    except ValueError as error:  # an option
        print(f"whisper-beam serve: {error}", file=sys.stderr)
    except KeyboardInterrupt:  # before there was a server that could be stopped
        return 130
    return 1


def _run(options: ServeOptions, backend: Backend) -> NoReturn:
    """Serves until SIGTERM or SIGINT, and ends the process.

    Raises:
        ValueError: an option that cannot be used, or the server is not installed.
        OSError: the address is in use, or not one of this machine.
    """
    try:
        from pipelines.server.server import LoadError, Server, serve
    except ImportError as error:
        if str(error.name).partition(".")[0] not in EXTRA:
            raise
        raise OptionsError(f"{error}; install the server: pip install 'whisper-beam[serve]'") from error
    _configure_process()
    server = Server(backend=backend, **{one.name: getattr(options, one.name) for one in fields(options)})
    try:
        serve(server, ends_process=True)
    except LoadError:  # the log has the reason
        _end_process(1)
    _end_process(0)


def _end_process(code: int) -> NoReturn:
    """Ends the process; where Python ends around a compiler or a running program of XLA, these crash."""
    logging.shutdown()
    os._exit(code)


def _configure_process() -> None:
    from transforms.core.log_redaction import hide_secrets

    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        known = ", ".join(logging.getLevelNamesMapping())
        raise OptionsError(f"LOG_LEVEL={level} in the environment: not one of {known}")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn", "jax"):  # what they do is of no interest, what goes wrong is
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
    hide_secrets()
    limit_malloc_arenas()
    keep_returning_free_memory()


def parse(argv: Sequence[str], prog: str = "whisper-beam serve") -> ServeOptions:
    """Returns the options of a command line.

    Raises:
        OptionsError: a flag that does not exist, or a value that cannot be used.
        SystemExit: after `--help` or `--version`.
    """
    parser = OptionParser(
        prog=prog,
        usage="%(prog)s [OPTION ...]",
        description=DESCRIPTION.format(prog=prog),
        epilog=EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    add_options(parser, grouped_options())
    known = {flag for action in parser._actions for flag in action.option_strings}
    values, unknown = parser.parse_known_args([_as_known(word, known) for word in argv])
    for word in unknown:
        flag = word.partition("=")[0]
        raise OptionsError(f"{flag}: no such option{nearest(flag, sorted(known))}; --help lists them all")
    return ServeOptions(**vars(values))


def _as_known(word: str, known: set[str]) -> str:
    """Returns a flag as it is known, for any mix of dashes and underscores."""
    flag = with_underscores(word)
    for spelling in (flag, flag.replace("--no_", "--no-", 1)):
        if spelling.partition("=")[0] in known:
            return spelling
    return word


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].endswith(".md"):
        page = Path(sys.argv[1])
        page.write_text(with_options_table(page.read_text("utf-8"), grouped_options()), "utf-8")
    else:
        sys.exit(main())
