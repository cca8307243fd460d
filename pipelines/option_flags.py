"""Options as flags of a command line, and as a table of the documentation.

Both are made from fields that were declared with `model.option_fields.option`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field
from typing import Any, NoReturn

from pipelines.option_checks import OptionsError

_SHORT_FLAGS = {"output": "-o"}
_TABLE = re.compile(r"(?<=<!-- options -->\n).*(?=<!-- /options -->)", re.DOTALL)

Grouped = Iterable[tuple[str, Field[Any]]]
"""Options in the order of the help, each with the title of its group."""


def options_table(options: Grouped) -> str:
    """Returns a table of options, in Markdown."""
    rows = ["| option | default | description |", "|---|---|---|"]
    for _, option in options:
        choices = option.metadata["choices"]
        text = option.metadata["help"] + (f": `{'`, `'.join(choices)}`" if choices else "")
        flags = " ".join(f"`{flag}`" for flag in flags_of(option))
        rows.append(f"| {flags} | {shown_default(option)} | {text} |")
    return "\n".join(rows)


def with_options_table(page: str, options: Grouped) -> str:
    """Returns a page of Markdown with the table between `<!-- options -->` and `<!-- /options -->` renewed.

    Raises:
        ValueError: it has no such markers.
    """
    renewed, n_tables = _TABLE.subn(lambda _: f"\n{options_table(options)}\n\n", page)
    if not n_tables:
        raise ValueError("no <!-- options --> and <!-- /options --> to write the table between")
    return renewed


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows switches without the value that they may have."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, _Switch):
            return ", ".join(action.option_strings)
        return super()._format_action_invocation(action)


class OptionParser(argparse.ArgumentParser):
    """Raises `OptionsError` instead of exiting with 2, the exit code of a run with failed recordings."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise OptionsError(message)


def add_options(parser: argparse.ArgumentParser, options: Grouped) -> None:
    """Adds the flags of options to a parser, in their groups."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for title, option in options:
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        group.add_argument(*flags_of(option), **_argparse_settings(option))


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
    """`--vad`, `--no-vad`, and `--vad=false` for templates, which can only give values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        negated = str(option_string).startswith("--no-")
        meaning = {None: not negated, "true": True, "false": False}
        word = values.lower() if isinstance(values, str) else None
        if word not in meaning or (negated and word is not None):
            allowed = "takes no value" if negated else "give true or false, or no value for true"
            raise OptionsError(f"{option_string} {values}: {allowed}")
        setattr(namespace, self.dest, meaning[word])


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


def flags_of(option: Field[Any]) -> list[str]:
    """Returns the flags of an option: `--vad`, `--no-vad`."""
    short = [_SHORT_FLAGS[option.name]] if option.name in _SHORT_FLAGS else []
    return [f"--{option.name}", *short, *([f"--no-{option.name}"] if option.default is True else [])]


def shown_default(option: Field[Any]) -> str:
    """Returns a default as it would be typed, in backticks; `on` for a switch that is on; empty for none."""
    default = option.default
    if default is MISSING or default is None or default == () or default == "" or default is False:
        return ""
    if isinstance(default, bool):
        return "on"
    if isinstance(default, tuple):
        return f"`{','.join(f'{one:g}' if isinstance(one, float) else str(one) for one in default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
