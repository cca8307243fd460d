"""Says how good a run's transcripts are, where it is known what was said.

    python -m pipelines.evaluate --run out

and for a run that was made without references, or with times of words to compare:

    python -m pipelines.evaluate --run gs://bucket/out --references talks.jsonl

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

from transforms.core.log_redaction import hide_secrets
from transforms.core.redaction import redact

_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; `argv` is without the program's name. Gives the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a text must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        logging.basicConfig(level=os.environ.get("LOG_LEVEL", "WARNING").upper())
        hide_secrets()
        options = vars(_parser().parse_args(argv))
        _evaluate(options)
    except KeyboardInterrupt:
        print("Interrupted: the evaluation is not finished.", file=sys.stderr)
        return 130
    except Exception as error:  # whatever ends it ends it with a sentence; LOG_LEVEL=DEBUG has the rest
        _LOGGER.debug("the evaluation failed", exc_info=True)
        sentence = " ".join(str(error).split()) or type(error).__name__
        print(f"Nothing was evaluated: {redact(sentence)}", file=sys.stderr)
        return 1
    return 0


def _evaluate(options: dict[str, Any]) -> None:
    from pipelines.evaluation.evaluation import (
        PAGE_FILE,
        RECORDINGS_FILE,
        evaluate,
    )  # Arrow, which --help need not wait for
    from pipelines.evaluation.tally import notes, table, time_sentences

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


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m pipelines.evaluate",
        description="Says how good the transcripts of a finished run are, where it is known what was said: "
        "word and character error rates with the normalisers of the Whisper paper, in all and per language, "
        "and the worst recordings word by word.",
        epilog="Writes DIR/evaluation/recordings.jsonl (a line a recording), an HTML page, and `evaluation` "
        "into DIR/run.json; again, they are replaced. Exit codes: 0 it was evaluated, 1 it could not be, 130 "
        "it was interrupted. LOG_LEVEL=DEBUG in the environment shows tracebacks.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--run", metavar="DIR", required=True, help="folder or URL that pipelines.transcribe wrote to"
    )
    parser.add_argument(
        "--references",
        metavar="MANIFEST",
        help="a manifest (.jsonl, .csv, .tsv) with what was said; it goes before the references in the rows. "
        "Recordings are found by path or URL, or else by file name where only one has it. Of .jsonl, words "
        "or segments (lists of start, end, text) have times compared too",
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
    sys.exit(main())
