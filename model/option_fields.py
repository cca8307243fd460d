"""Options as dataclass fields: each is declared once, with its default, its help sentence and its range.

The command line, the Python API, the checks and the table in the documentation are made from these fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, field, fields
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def option(
    default: Any,  # noqa: ANN401  # of whatever type the option is
    text: str,
    *,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    shapes_output: bool = True,
) -> Any:  # noqa: ANN401  # a dataclass field, typed as its value
    """Declares an option as a field of a dataclass.

    Args:
        default: `dataclasses.MISSING` if the option is required.
        text: the help sentence.
        metavar: stands for the value in the help.
        choices: the allowed values, or elements of a tuple; empty for any.
        parse: converts the word on the command line to the value; None to use the type of the default.
        minimum: the minimum of the value, or of each element of a tuple; None for none.
        maximum: the maximum, likewise; checked only if there is a minimum.
        shapes_output: whether the transcripts depend on the option.
    """
    metadata = {
        "help": text,
        "metavar": metavar,
        "choices": choices,
        "parse": parse,
        "minimum": minimum,
        "maximum": maximum,
        "shapes_output": shapes_output,
    }
    return field(default=default, metadata=metadata)


def option_fields(kind: Any) -> tuple[Field[Any], ...]:  # noqa: ANN401  # a dataclass, or an instance of one
    """Returns the fields of a dataclass that were declared with `option`."""
    return tuple(one for one in fields(kind) if "shapes_output" in one.metadata)


def select_options(options: object, kind: type[Kind]) -> Kind:
    """Returns the options of `kind`, taken from a record that has them among others."""
    return kind(**{one.name: getattr(options, one.name) for one in option_fields(kind)})


def parse_words(text: str) -> tuple[str, ...]:
    """Returns the words of a text, separated by commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def parse_floats(text: str) -> tuple[float, ...]:
    """Returns the numbers of a text, separated by commas."""
    return tuple(float(word) for word in text.split(","))


def parse_integers(text: str) -> tuple[int, ...]:
    """Returns the whole numbers of a text, separated by commas; empty words are skipped."""
    return tuple(int(word) for word in text.split(",") if word.strip())
