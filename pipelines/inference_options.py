"""Options as callers in Python give them: by name, with the values that other Whisper libraries take."""

from __future__ import annotations

import numbers
import os
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from model.interface import AUTO, ModelOptions
from model.option_fields import option_fields
from pipelines.option_checks import OptionsError, nearest
from pipelines.option_groups import parse_clips
from pipelines.options import RecordingOptions

WORD = "word"
"""The value of `return_timestamps` for words."""

_TYPES = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "True or False"}


def first_options(model: str | os.PathLike[str], given: Mapping[str, Any]) -> RecordingOptions:
    """Returns the options of a model that is to be loaded, and the defaults of its recordings.

    Raises:
        OptionsError: an option that does not exist, or a value that cannot be used.
    """
    return RecordingOptions(**_values({"model": os.fspath(model), **given}))


def changed_options(defaults: RecordingOptions, given: Mapping[str, Any]) -> RecordingOptions:
    """Returns the options of one recording.

    Args:
        defaults: those of recordings that give none.
        given: the options that differ. `language` and `languages` each override the other of the defaults.

    Raises:
        OptionsError: an option that does not exist, an option of the model, or a value that cannot be used.
    """
    values = _values(given)
    fixed = [one.name for one in option_fields(ModelOptions) if one.name in values]
    if fixed:
        raise OptionsError(
            f"{fixed[0]}: is an option of the model, which is loaded: give it to Inference(...)"
        )
    if values.get("language", AUTO) != AUTO:
        values.setdefault("languages", ())
    elif values.get("languages"):
        values.setdefault("language", AUTO)
    options = replace(defaults, **values)
    if options.splits_channels():
        raise OptionsError(
            "channels 'split': a call transcribes one recording; call it for each channel, with "
            "channels='0', channels='1', ..."
        )
    if options.takes_all_streams():
        raise OptionsError(
            "audio_stream 'all': a call transcribes one recording; call it for each stream, with "
            "audio_stream='0', audio_stream='1', ..."
        )
    return options


def max_windows(batch_size: object) -> int | None:
    """Returns the maximum number of windows of one recording in a batch; None for a whole batch.

    Raises:
        OptionsError: it is no number, or less than 1.
    """
    if batch_size is None:
        return None
    if not _fits(batch_size, int) or not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise OptionsError(f"batch_size {batch_size!r}: give a whole number of at least 1")
    return int(batch_size)


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options under the names of `RecordingOptions`, with values of the types of its fields."""
    types = {one.name: _HINTS[one.name] for one in option_fields(RecordingOptions)}
    values = dict(given)
    for name in values:
        if name not in types:
            raise OptionsError(f"{name}: no such option{nearest(name, list(types))}")
    values = _converted(values)
    for name, value in values.items():
        if not _fits(value, types[name]):
            raise OptionsError(f"{name} {value!r}: give {_described(types[name])}")
    return values


def _converted(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with values that other Whisper libraries take converted to those of the fields."""
    values = dict(given)
    if "return_timestamps" in values:
        values |= _timestamps(values["return_timestamps"], values.get("word_timestamps"))
    if values.get("language", "") is None:
        values["language"] = AUTO
    if "dtype" in values:
        values["dtype"] = _dtype_name(values["dtype"])
    if isinstance(values.get("clip_timestamps"), str):
        values["clip_timestamps"] = _clip_times(values["clip_timestamps"])
    for name in ("channels", "audio_stream"):
        if _fits(values.get(name), int):
            values[name] = str(values[name])
    return values


def _timestamps(wanted: object, words: object) -> dict[str, object]:
    """Returns the options for a value of `return_timestamps`: True, False, or "word" for words too."""
    if isinstance(wanted, str):
        if wanted != WORD:
            raise OptionsError(f"return_timestamps {wanted!r}: give True, False or {WORD!r}")
        return {"return_timestamps": True, "word_timestamps": True}
    return {"return_timestamps": wanted, "word_timestamps": False if words is None else words}


def _clip_times(text: str) -> tuple[float, ...]:
    """Returns the times of clips that are given as openai/whisper takes them, as one text."""
    try:
        return parse_clips(text)
    except ArgumentTypeError as error:
        raise OptionsError(f"clip_timestamps {text!r}: {error}") from error


def _dtype_name(dtype: object) -> object:
    """Returns the name of a type such as `jax.numpy.bfloat16`; anything else unchanged."""
    if isinstance(dtype, str) or dtype is None:
        return dtype
    try:
        return np.dtype(dtype).name  # type: ignore[call-overload]  # of any type
    except TypeError:
        return dtype


def _fits(value: object, wanted: Any) -> bool:  # noqa: ANN401  # a type hint
    """Whether a value can be that of an option; of several values, whether each one can."""
    if isinstance(wanted, UnionType):
        return any(_fits(value, one) for one in get_args(wanted))
    if get_origin(wanted) is tuple:
        elements = value if isinstance(value, list | tuple) else [value]
        return all(_fits(element, get_args(wanted)[0]) for element in elements)
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if wanted in (int, float):
        return isinstance(value, numbers.Integral if wanted is int else numbers.Real)
    return isinstance(value, wanted)


def _described(wanted: Any) -> str:  # noqa: ANN401  # a type hint
    if isinstance(wanted, UnionType):
        return " or ".join(_described(one) for one in get_args(wanted))
    if get_origin(wanted) is tuple:
        return f"{_described(get_args(wanted)[0])}, or several in a list"
    return _TYPES.get(wanted.__name__, "None")


_HINTS = get_type_hints(RecordingOptions)
