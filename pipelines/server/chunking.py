"""The field `chunking_strategy`: checked, and otherwise without effect.

Voice activity detection is always on, with values of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from pipelines.server.errors import ApiError, invalid_request, one_of, quoted

PARAM: Final = "chunking_strategy"
AUTO, SERVER_VAD = "auto", "server_vad"
MAX_MS = 60_000
RANGES: Mapping[str, tuple[float, bool]] = {
    "threshold": (1, False),
    "prefix_padding_ms": (MAX_MS, True),
    "silence_duration_ms": (MAX_MS, True),
}
"""Field of `server_vad` -> its maximum, and whether it is a whole number. The minimum is 0."""


def check_chunking_strategy(value: str | None, parts: Mapping[str, str]) -> None:
    """Checks a chunking strategy.

    Args:
        value: `auto`, or an object in JSON; None if the field is missing.
        parts: the fields `chunking_strategy[...]`, by the name in brackets.

    Raises:
        ApiError: 400.
    """
    if value is not None and parts:
        raise invalid_request(f"{PARAM} and {PARAM}[...] cannot be combined: give one of them.", PARAM)
    if parts:
        _check_object({name: text if name == "type" else _number(text) for name, text in parts.items()})
    elif value is not None and value.strip() != AUTO:
        _check_object(_from_json(value))


def _from_json(text: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise _invalid(f" {quoted(text)}") from None
    if not isinstance(value, dict):
        raise _invalid(f" {quoted(text)}")
    return value


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _check_object(fields: Mapping[str, object]) -> None:
    kind = fields.get("type")
    if kind != SERVER_VAD and not (kind == AUTO and len(fields) == 1):
        raise _invalid(f"[type] {_shown(kind)}")
    for name, value in fields.items():
        if name != "type":
            _check_field(name, value)


def _check_field(name: str, value: object) -> None:
    if name not in RANGES:
        known = one_of(("type", *RANGES))
        raise invalid_request(f"{PARAM}[{quoted(name)}]: no such field; give some of {known}.", PARAM)
    maximum, whole = RANGES[name]
    if not _is_in_range(value, maximum, whole):
        number = "a whole number" if whole else "a number"
        message = f"{PARAM}[{name}] {_shown(value)}: give {number} from 0 to {maximum:g}."
        raise invalid_request(message, PARAM)


def _is_in_range(value: object, maximum: float, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= maximum and (not whole or value == int(value))


def _shown(value: object) -> str:
    return quoted(str(value)) if isinstance(value, str | int | float | None) else type(value).__name__


def _invalid(given: str) -> ApiError:
    fields = f"an object with type {SERVER_VAD!r} and some of {one_of(RANGES)}"
    return invalid_request(f"{PARAM}{given}: give {AUTO!r}, or {fields}.", PARAM)
