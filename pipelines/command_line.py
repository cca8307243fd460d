"""The command line of `pipelines.transcribe`, and the table for the README, made from the options' record."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, NoReturn

from pipelines.options import OptionsError, TranscribeOptions, nearest


def parse(argv: Sequence[str]) -> tuple[TranscribeOptions, list[str]]:
    """The options of a command line, and the arguments that are left for Beam.

    Raises:
        OptionsError: a value that cannot be used. Flags nobody knows are found by `check_beam_flags`.
        SystemExit: after `--help` was answered.
    """
    known, rest = _parser().parse_known_args(list(argv))
    return TranscribeOptions(**vars(known)), rest


def check_beam_flags(rest: Sequence[str], beam_flags: Sequence[str], unknown_flags: Sequence[str]) -> None:
    """Raises `OptionsError` for arguments that neither we nor Beam know, with the nearest that we do.

    Args:
        rest: what `parse` left.
        beam_flags: names of Beam's flags, without dashes.
        unknown_flags: names among `rest` that are none of them.
    """
    ours = [option.name for option in fields(TranscribeOptions)]
    for flag in unknown_flags:
        similar = nearest(flag.lstrip("-"), [*ours, *beam_flags], prefix="--")
        raise OptionsError(f"--{flag.lstrip('-')}: no such option{similar}; --help lists them all")
    for word in rest:
        if word.startswith("-") and not word.startswith("--") and not _is_number(word):
            similar = nearest(word.lstrip("-"), [*ours, *beam_flags], prefix="--")
            raise OptionsError(f"{word}: no such option{similar}; --help lists them all")
        if word == "--":
            raise OptionsError("--: belongs to no option; --help lists them all")
    for before, word in zip(("", *rest), rest, strict=False):
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            raise OptionsError(f"{word}: belongs to no option; recordings follow --input")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def options_table() -> str:
    """The table of the options for the README, in Markdown."""
    rows = ["| option | default | what it is |", "|---|---|---|"]
    for option in fields(TranscribeOptions):
        choices = option.metadata["choices"]
        text = option.metadata["help"] + (f": `{'`, `'.join(choices)}`" if choices else "")
        flags = " ".join(f"`{flag}`" for flag in _flags(option))
        rows.append(f"| {flags} | {shown_default(option)} | {text} |")
    return "\n".join(rows)


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting with 2, which is what a run with failed recordings gives."""

    def error(self, message: str) -> NoReturn:
        raise OptionsError(message)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m pipelines.transcribe",
        description="Transcribes recordings with Whisper into a dataset of Parquet and JSON lines.",
        epilog="Any other option goes to Apache Beam. Exit codes: 0 all was transcribed, 2 some recordings "
        "failed (listed in DIR/failures), 1 the run failed, 130 it was interrupted. LOG_LEVEL=DEBUG in the "
        "environment shows what Beam says, and tracebacks.",
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in fields(TranscribeOptions):
        name = option.metadata["group"]
        group = groups.setdefault(name, parser.add_argument_group(name))
        group.add_argument(*_flags(option), **_argparse_settings(option))
    return parser


def _argparse_settings(option: Field[Any]) -> dict[str, Any]:
    shown = shown_default(option).replace("`", "")
    text = option.metadata["help"] + (f" (default: {shown})" if shown else "")
    settings: dict[str, Any] = {"help": text.replace("%", "%%"), "metavar": option.metadata["metavar"]}
    default = option.default
    if default is MISSING:
        return {**settings, "required": True}
    settings["default"] = default
    if isinstance(default, bool):
        return {**settings, "action": _Switch, "nargs": "?", "metavar": "true|false"}
    if option.metadata["parse"]:
        names = ",".join(option.metadata["choices"])
        return {**settings, "type": option.metadata["parse"], "metavar": option.metadata["metavar"] or names}
    if isinstance(default, tuple):  # several words too: what a shell makes of an unquoted glob
        return {**settings, "action": _Extend, "nargs": "+"}
    if option.metadata["choices"]:
        settings["metavar"] = "|".join(option.metadata["choices"])
    return {**settings, "type": type(default) if isinstance(default, int | float) else str}


class _Switch(argparse.Action):
    """`--vad`, `--no-vad`, and `--vad=false` for who can give values alone, as templates do."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        negated = str(option_string).startswith("--no-")
        told = {None: not negated, "true": True, "false": False}
        word = values.lower() if isinstance(values, str) else None
        if word not in told or (negated and word is not None):
            allowed = "takes no value" if negated else "give true or false, or no value for true"
            raise OptionsError(f"{option_string} {values}: {allowed}")
        setattr(namespace, self.dest, told[word])


class _Extend(argparse.Action):
    """Like argparse's own `extend`, for tuples."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), *(values or ())))


def _flags(option: Field[Any]) -> list[str]:
    return [f"--{option.name}", *([f"--no-{option.name}"] if option.default is True else [])]


def shown_default(option: Field[Any]) -> str:
    """The default as it would be typed, in backticks; `on` for a switch that is, else nothing."""
    default = option.default
    if default is MISSING or default is None or default == () or default == "" or default is False:
        return ""
    if isinstance(default, bool):
        return "on"
    if isinstance(default, tuple):
        return f"`{','.join(f'{one:g}' if isinstance(one, float) else str(one) for one in default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
