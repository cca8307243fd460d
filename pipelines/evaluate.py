"""Compares the transcripts of a finished run with reference transcripts: word and character error rates.

    whisper-beam evaluate out

and for a run that was made without references, or with times of words to compare:

    whisper-beam evaluate gs://bucket/out --references talks.jsonl

`python -m pipelines.evaluate` is the same program.

Exit codes: 0 it was evaluated, 1 it could not be, 130 it was interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pipelines.flags import add_version_flag, with_underscores
from pipelines.process.import_path import leave_out_working_directory

_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, prog: str = "python -m pipelines.evaluate") -> int:
    """Runs the command line and returns the exit code.

    Args:
        argv: without the program's name; None for those of the process.
        prog: the program's name, for its help.
    """
    from transforms.core.log_redaction import hide_secrets  # not before the import path is safe
    from transforms.core.redaction import redact

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a text must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        logging.basicConfig(level=os.environ.get("LOG_LEVEL", "WARNING").upper())
        hide_secrets()
        _evaluate(_parse(sys.argv[1:] if argv is None else argv, prog))
    except KeyboardInterrupt:
        print("Interrupted: the evaluation is not finished.", file=sys.stderr)
        return 130
    except Exception as error:  # any error becomes one sentence; LOG_LEVEL=DEBUG shows the traceback
        _LOGGER.debug("the evaluation failed", exc_info=True)
        sentence = " ".join(str(error).split()) or type(error).__name__
        print(f"Nothing was evaluated: {redact(sentence)}", file=sys.stderr)
        return 1
    return 0


def _evaluate(options: dict[str, Any]) -> None:
    # Imports Arrow, which --help does not need.
    from pipelines.evaluation.evaluation import PAGE_FILE, RECORDINGS_FILE, evaluate
    from pipelines.evaluation.tally import notes, table, time_sentences
    from transforms.core.redaction import redact

    tally = evaluate(**options)
    print(table(tally))
    for sentence in (*time_sentences(tally.times), *notes(tally)):
        print(sentence)
    run = redact(options["run"]).rstrip("/")
    print(f"each recording: {run}/{RECORDINGS_FILE}")
    print(f"the worst: {redact(options['html'] or f'{run}/{PAGE_FILE}')}")


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting with 2."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists the options")


def _parse(argv: Sequence[str], prog: str) -> dict[str, Any]:
    parser = _parser(prog)
    n_flags = argv.index("--") if "--" in argv else len(argv)
    values, unknown = parser.parse_known_args([*map(with_underscores, argv[:n_flags]), *argv[n_flags:]])
    options = vars(values)
    if unknown:
        from pipelines.option_checks import nearest

        similar = nearest(unknown[0].partition("=")[0].lstrip("-"), list(options), prefix="--")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{similar}")
    folders = [folder for folder in (options.pop("folder"), options["run"]) if folder is not None]
    if len(folders) != 1:
        parser.error("give the run's folder once: as an argument, or with --run")
    return {**options, "run": folders[0]}


def _parser(prog: str) -> _Parser:
    parser = _Parser(
        prog=prog,
        description="Compares the transcripts of a finished run with reference transcripts: word and "
        "character error rates with the normalisers of the Whisper paper, in all and per language, and the "
        "worst recordings word by word.",
        epilog="Writes DIR/evaluation/recordings.jsonl (a line a recording), an HTML page, and `evaluation` "
        "into DIR/run.json; a rerun replaces them. Names of options may be written with dashes. Exit codes: "
        "0 it was evaluated, 1 it could not be, 130 it was interrupted. LOG_LEVEL=DEBUG in the environment "
        "shows tracebacks.",
        allow_abbrev=False,
    )
    add_version_flag(parser)
    parser.add_argument("folder", metavar="DIR", nargs="?", help="folder or URL that the run wrote to")
    parser.add_argument("--run", metavar="DIR", help="the same, as an option")
    parser.add_argument(
        "--references",
        metavar="MANIFEST",
        help="a manifest (.jsonl, .json, .csv, .tsv, also with .gz) with reference transcripts, which come "
        "before those in the rows. Recordings are found by path or URL, or else by file name where it is "
        "unique. Of JSON, the times of words or segments (lists of start, end, text) are compared, too",
    )
    parser.add_argument(
        "--audio_column",
        metavar="COLUMN",
        help="the manifest's column with the audio, where it has no usual name",
    )
    parser.add_argument(
        "--text_column",
        metavar="COLUMN",
        help="the manifest's column with the text, where it has no usual name",
    )
    parser.add_argument(
        "--html", metavar="FILE", help="where the page goes (default: DIR/evaluation/report.html)"
    )
    parser.add_argument(
        "--worst", metavar="N", type=int, default=20, help="recordings that the page shows (default: 20)"
    )
    return parser


if __name__ == "__main__":
    leave_out_working_directory()
    sys.exit(main())
