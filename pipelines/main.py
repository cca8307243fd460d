"""The command `whisper-beam`, which runs one of the programs.

    whisper-beam transcribe talks/*.mp3 -o out
    whisper-beam evaluate out
    whisper-beam serve --model openai/whisper-base

Each command imports only its own program, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.process.import_path import leave_out_working_directory
from pipelines.process.quick_exit import exit_quickly

COMMANDS = ("transcribe", "evaluate", "serve")

HELP = """\
usage: whisper-beam COMMAND ...

Transcribes recordings with Whisper on JAX, in an Apache Beam pipeline.

commands:
  transcribe   recordings to transcripts: Parquet, JSON lines, subtitles
                   whisper-beam transcribe talks/*.mp3 -o out
  evaluate     error rates of a run's transcripts against references
                   whisper-beam evaluate out
  serve        an HTTP server with OpenAI's API, and a page for the browser
                   whisper-beam serve --model openai/whisper-base

options:
  -h, --help   show this help
  --version    show the version

whisper-beam COMMAND --help shows a command's options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; 1 where there is no such command.

    Args:
        argv: without the program's name; None for those of the process.
    """
    if argv is None:
        leave_out_working_directory()
    command, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if command == "transcribe":
        from pipelines import transcribe

        return transcribe.main(rest, prog="whisper-beam transcribe")
    if command == "evaluate":
        from pipelines import evaluate

        return evaluate.main(rest, prog="whisper-beam evaluate")
    if command == "serve":
        from pipelines.server import command as serve

        return serve.main(rest, prog="whisper-beam serve")
    if command in ("-h", "--help"):
        print(HELP)
        return 0
    if command == "--version":
        from pipelines.flags import version_line

        print(version_line())
        return 0
    print(_refusal(command) if command else HELP, file=sys.stderr)
    return 1


def run() -> None:
    """Runs the command of the process and ends the process, which a server does by itself."""
    exit_code = main()
    if sys.argv[1:2] != ["serve"]:
        exit_quickly(exit_code)
    sys.exit(exit_code)


def _refusal(word: str) -> str:
    from pipelines.option_checks import nearest

    if word.startswith("-"):
        example = f"whisper-beam transcribe {word} ..."
        return f"whisper-beam: {word} is not a command; options follow one: {example}"
    similar = nearest(word, COMMANDS)
    advice = "" if similar else f"; to transcribe a recording: whisper-beam transcribe {word} -o DIR"
    return f"whisper-beam: {word} is not a command{similar}; commands are {', '.join(COMMANDS)}{advice}"


if __name__ == "__main__":
    run()
