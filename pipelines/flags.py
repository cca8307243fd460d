"""Flags that all programs have in common; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def with_underscores(flag: str) -> str:
    """Returns `--word_timestamps` for `--word-timestamps`, with or without a value behind `=`."""
    name, equals, value = flag.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else flag


def version_line() -> str:
    """Returns the name and version of the installed package, such as `whisper-beam 0.1.0`.

    Raises:
        ValueError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version  # only --version needs it

    try:
        return f"whisper-beam {version('whisper-beam')}"
    except PackageNotFoundError as error:
        raise ValueError("the version is not known, as whisper-beam is not installed") from error


def program_version() -> str:
    """Returns the version of the installed package; `unknown` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("whisper-beam")
    except PackageNotFoundError:
        return "unknown"


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    """Adds `--version`; argparse's own action would look the version up whenever a parser is made."""
    parser.add_argument("--version", action=_VersionAction)


class _VersionAction(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and exit")

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        print(version_line())
        parser.exit()
