"""The command line of `pipelines.transcribe` and the table of its options, made from `TranscribeOptions`.

The table in docs/options.md is updated by

    python -m pipelines.command_line docs/options.md
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.flags import add_version_flag, with_underscores
from pipelines.option_checks import nearest
from pipelines.option_flags import HelpFormatter, OptionParser, add_options, flags_of, with_options_table
from pipelines.options import OptionsError, TranscribeOptions, grouped_options

_ANSWERED_FLAGS = ("-h", "--help", "--version")
_INPUT = "--input"
_RULE = "recordings stand before Beam's options, or behind --"

_DESCRIPTION = """\
Transcribes recordings with Whisper into a dataset of Parquet and JSON lines.

    {prog} talks/*.mp3 -o out
    {prog} gs://bucket/talks -o gs://bucket/out \\
        --runner FlinkRunner --flink_master localhost:8081"""

_EPILOG = """\
Names of options may be written with dashes: --word-timestamps is --word_timestamps.

Any other option is passed on to Apache Beam, with the word behind it as its value. Recordings stand before
the first of these, or behind `--`:
    {prog} -o out --flink_master localhost:8081 -- talks/*.mp3

Exit codes: 0 all was transcribed, 2 some recordings failed (listed in DIR/failures), 1 the run failed,
130 it was interrupted. LOG_LEVEL=DEBUG in the environment shows Beam's log, and tracebacks."""


def parse(argv: Sequence[str], prog: str = "whisper-beam transcribe") -> tuple[TranscribeOptions, list[str]]:
    """Returns the options of a command line, and the arguments that are left for Beam.

    Args:
        argv: without the program's name.
        prog: the program's name, for its help.

    Raises:
        OptionsError: a value that cannot be used. Unknown flags are found by `check_beam_flags`.
        SystemExit: after `--help` or `--version`.
    """
    ours, beam_args = _split(argv)
    try:
        values = vars(_parser(prog).parse_args(ours))
        return TranscribeOptions(**values), beam_args
    except OptionsError as error:
        raise OptionsError(f"{error}{_hint(ours, beam_args)}") from error


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divides a command line into our options, each as one word (`--name=value`), and those left for Beam.

    Beam's own parser runs later, so here any unknown flag is Beam's, and the word that follows it its value.
    Whether a second word is a recording cannot be known: it is refused.
    """
    known = {flag: option for _, option in grouped_options() for flag in flags_of(option)}
    ours: list[str] = []
    beam_args: list[str] = []
    words = list(argv)
    several: str | None = None  # the flag that further words belong to
    while words:
        word = words.pop(0)
        if word == "--":
            ours += [f"{_INPUT}={recording}" for recording in words]
            break
        if not _is_flag(word):
            if beam_args and several is None:
                hint = _similar_option(beam_args) or f" ({beam_args[0]} is Beam's)"
                raise OptionsError(f"{word}: belongs to no option; {_RULE}{hint}")
            ours.append(f"{several or _INPUT}={word}")
            continue
        several = None
        name, equals, value = word.partition("=")
        flag = _canonical_flag(name, known)
        if word in _ANSWERED_FLAGS:
            ours.append(word)
        elif flag is None:
            beam_args.append(word)
            if not equals and words and not _is_flag(words[0]):
                beam_args.append(words.pop(0))
        else:
            if not equals and words and _takes_next(known[flag], words[0]):
                equals, value = "=", words.pop(0)
            ours.append(f"{flag}{equals}{value}")
            several = flag if _takes_several(known[flag]) else None
    return ours, beam_args


def _takes_several(option: Field[Any]) -> bool:
    return isinstance(option.default, tuple) and not option.metadata["parse"]


def _takes_next(option: Field[Any], word: str) -> bool:
    """Whether a word that follows an option is its value; of a switch, only true and false are."""
    if isinstance(option.default, bool):
        return word.lower() in ("true", "false")
    return not _is_flag(word)


def _canonical_flag(name: str, known: Mapping[str, Field[Any]]) -> str | None:
    """Returns our flag in the form of `flags_of`, for any mix of dashes and underscores; None for others."""
    flag = with_underscores(name)
    # The first: `--no_speech_threshold` is not a switch that is turned off.
    for spelling in (flag, re.sub("^--no_", "--no-", flag)):
        if spelling in known:
            return spelling if spelling.startswith("--") else f"--{known[spelling].name}"
    return None


def _is_flag(word: str) -> bool:
    """Whether argparse would take a word for a flag: text with blanks and negative numbers are values."""
    return len(word) > 1 and word[0] == "-" and " " not in word.partition("=")[0] and not _is_number(word)


def _hint(ours: Sequence[str], beam_args: Sequence[str]) -> str:
    """Returns a hint why recordings or the output may be missing; empty if the command line has both."""
    given = {word.partition("=")[0] for word in ours}
    if "--output" in given and given & {_INPUT, "--dataset"}:
        return ""
    taken = [
        f"; {word} was taken for the value of {flag}: {_RULE}"
        for flag, word in pairwise(beam_args)
        if not _is_flag(word)
    ]
    return _similar_option(beam_args) or "".join(taken[:1])


def _similar_option(beam_args: Sequence[str]) -> str:
    """Returns a hint that an argument left for Beam resembles one of our options; empty if none does."""
    names = [option.name for _, option in grouped_options()]
    for flag in (with_underscores(word).partition("=")[0] for word in beam_args if _is_flag(word)):
        similar = nearest(flag.lstrip("-"), names, prefix="--")
        if similar:
            return f"; {flag} is not an option of whisper-beam{similar}"
    return ""


def check_beam_flags(rest: Sequence[str], beam_flags: Sequence[str], unknown_flags: Sequence[str]) -> None:
    """Raises `OptionsError` for arguments that neither we nor Beam know, with the nearest known option.

    Args:
        rest: the arguments that `parse` left.
        beam_flags: names of Beam's flags, without dashes.
        unknown_flags: names among `rest` that are none of them.
    """
    ours = [option.name for _, option in grouped_options()]
    for flag in unknown_flags:
        raise OptionsError(_no_such_option(f"--{flag.lstrip('-')}", [*ours, *beam_flags]))
    for word in rest:
        if word.startswith("-") and not word.startswith("--") and not _is_number(word):
            raise OptionsError(_no_such_option(word, [*ours, *beam_flags]))
    for word in _without_option(rest):
        raise OptionsError(f"{word}: is not the value of any of Beam's options; {_RULE}")


def _no_such_option(flag: str, names: Sequence[str]) -> str:
    similar = nearest(flag.lstrip("-").replace("-", "_"), names, prefix="--")
    return f"{flag}: no such option{similar}; --help lists them all"


def _without_option(beam_args: Sequence[str]) -> list[str]:
    """Returns the words that are not the value of any option, according to Beam's own parser."""
    from apache_beam.options.pipeline_options import PipelineOptions  # slow to import

    left: list[str] = []

    def collect(parser: argparse.ArgumentParser) -> None:
        left.extend(word for word in parser.parse_known_args(list(beam_args))[1] if not _is_flag(word))

    PipelineOptions(list(beam_args)).get_all_options(add_extra_args_fn=collect)
    return left


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _parser(prog: str) -> OptionParser:
    parser = OptionParser(
        prog=prog,
        usage="%(prog)s [RECORDING ...] -o DIR [OPTION ...]",
        description=_DESCRIPTION.format(prog=prog),
        epilog=_EPILOG.format(prog=prog),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument_group("RECORDING", "a file, folder, glob, URL, archive or manifest, as of --input")
    add_version_flag(parser)
    add_options(parser, grouped_options())
    return parser


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_options_table(page.read_text("utf-8"), grouped_options()), "utf-8")
