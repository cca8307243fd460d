"""Checks of the options: each raises `OptionsError` with the option, its value, and the values allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence

from model.interface import AUTO, AUTO_PER_WINDOW, DecodingOptions, ModelOptions
from model.languages import LANGUAGES, code_among, code_of, may_be_code
from model.mesh_shape import MeshError, parse_mesh
from model.option_fields import option_fields
from pipelines.option_groups import (
    ALL_STREAMS,
    DEFAULT_STREAM,
    MIX,
    NONE,
    ROW_FORMATS,
    SPLIT,
    InputOptions,
    OutputOptions,
    RunOptions,
    SafeguardOptions,
    WindowOptions,
)
from transforms.core.clips import Clips, ClipTimes, checked_clips
from transforms.recognition.fallback import FallbackPolicy

CHANNELS = {"left": 0, "right": 1}
MAX_CHANNEL = 63
MAX_STREAM = 999  # FFmpeg reads up to a thousand
MAX_NEW_TOKENS_PROMPTED = 384  # so that a prompt has room
_RAM = re.compile(r"\d+(\.\d+)?[KMGT]i?B")
_LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.ASCII | re.IGNORECASE)  # BCP 47
_HUB_NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)


class OptionsError(ValueError):
    """An option that cannot be used: which, its value, and what is allowed."""


def check_fields(options: object) -> None:
    """Checks each option by itself: its choices and its range, as they are declared."""
    for one in option_fields(options):
        value = getattr(options, one.name)
        minimum, maximum = one.metadata["minimum"], one.metadata["maximum"]
        for element in value if isinstance(value, tuple) else (value,):
            if one.metadata["choices"] and element is not None:
                _check_choice(one.name, element, one.metadata["choices"])
            if minimum is not None and element is not None:
                _check_range(one.name, element, minimum, maximum)


def check_input(options: InputOptions) -> None:
    """Checks that an input is named."""
    if not options.input and not options.dataset:
        raise OptionsError("nothing to transcribe: give --input or --dataset")


def check_output(options: OutputOptions) -> None:
    """Checks what excludes each other, the name of a dataset on the Hub, and that there are files for it."""
    for name in ("overwrite", "retry_failed", "push_to_hub"):
        if options.partial and getattr(options, name):
            raise OptionsError(f"--partial writes what is finished by now: it cannot be given with --{name}")
    if options.push_to_hub is None:
        return
    if not _HUB_NAME.fullmatch(options.push_to_hub):
        raise OptionsError(
            f"--push_to_hub {options.push_to_hub}: not the name of a dataset; give OWNER/NAME, in letters, "
            "digits, '-', '_' and '.'"
        )
    if "parquet" not in row_formats(options.format):
        raise OptionsError("--push_to_hub uploads Parquet files: add parquet to --format")


def clips_of(clip_timestamps: Sequence[float]) -> ClipTimes:
    """Returns the clips that the option names; none if they are all of a recording.

    Raises:
        OptionsError: a time is no number of seconds, or a clip is empty or does not follow the one before.
    """
    try:
        clips = checked_clips(clip_timestamps)
    except ValueError as error:
        given = ",".join(f"{time_s:g}" for time_s in clip_timestamps)
        raise OptionsError(f"--clip_timestamps {given}: {error}") from error
    return () if Clips.of(clips).is_whole else clips


def check_windows(options: WindowOptions) -> None:
    """Checks the stride: with more than half a window, a moment would be in three windows."""
    _check_range("stride_length_s", options.stride_length_s, 0, options.chunk_length_s / 2)


def check_model(options: ModelOptions) -> None:
    """Checks the mesh."""
    try:
        mesh = parse_mesh(options.mesh)
        mesh.check_batch(options.batch_size)
    except MeshError as error:
        raise OptionsError(f"--mesh: {error}") from error
    if options.parallel_batches > 1 and mesh.data * mesh.model > 1:
        raise OptionsError(
            f"--parallel_batches {options.parallel_batches}: the devices of --mesh {options.mesh} work on "
            "one batch at a time, together; leave it out, or take a larger --batch_size"
        )


def check_decoding(options: DecodingOptions, max_new_tokens: int, *, own_codes: bool = False) -> None:
    """Checks the language, and that a prompt has room beside the tokens to be written.

    Args:
        options: the options.
        max_new_tokens: the maximum number of tokens written per window.
        own_codes: whether the model may have languages that Whisper does not have. Codes of these are checked
            once the model is known (`fitted_to_model`).
    """
    if options.initial_prompt or options.hotwords or options.condition_on_previous_text:
        _check_range("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS_PROMPTED)
    _check_language(options.language, "language", own_codes=own_codes)
    for language in options.languages:
        _check_language(language, "languages", own_codes=own_codes)
        if language_code(language) is None:
            raise OptionsError(f"--languages {language}: give codes or English names, such as en,de")
    if options.languages and options.language not in (None, AUTO):
        raise OptionsError(
            f"--languages {','.join(options.languages)}: cannot be combined with --language "
            f"{options.language}; it restricts the vote of --language auto"
        )


def check_fallback(policy: FallbackPolicy) -> None:
    """Checks that temperatures are not empty."""
    if not policy.temperature:
        raise OptionsError("--temperature: give at least one, such as 0")


def check_safeguards(options: SafeguardOptions) -> None:
    """Checks temperatures and filters."""
    check_fallback(options)
    if NONE in options.hallucination_filters and len(options.hallucination_filters) > 1:
        raise OptionsError(f"--hallucination_filters: {NONE} cannot be combined with others")


def check_run(options: RunOptions) -> None:
    """Checks the resources of workers."""
    accelerator, min_ram = options.accelerator, options.min_ram
    if accelerator is not None and not (accelerator.isascii() and accelerator.startswith("type:")):
        raise OptionsError(
            f"--accelerator {accelerator}: give it as type:NAME;count:N, such as "
            "type:nvidia-l4;count:1;install-nvidia-driver"
        )
    if accelerator is not None and accelerator.startswith("type:tpu"):
        raise OptionsError(
            f"--accelerator {accelerator}: TPUs are for all workers of a Dataflow job or for none; give "
            "--dataflow_service_options=worker_accelerator=type:NAME;topology:NxM"
        )
    if min_ram is not None and not _RAM.fullmatch(min_ram):
        raise OptionsError(f"--min_ram {min_ram}: give a number and its unit, such as 16GB or 16GiB")


def row_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats of the rows: those named, or Parquet, from which reports and evaluations read."""
    return tuple(name for name in formats if name in ROW_FORMATS) or ("parquet",)


def channel_number(channels: str) -> int | None:
    """Returns the channel to transcribe, from 0; None for a mix of all, or each apart.

    Raises:
        OptionsError: `channels` names no channel.
    """
    if channels in (MIX, SPLIT):
        return None
    if channels in CHANNELS:
        return CHANNELS[channels]
    if not (channels.isascii() and channels.isdigit()):
        similar = nearest(channels, (MIX, SPLIT, *CHANNELS))
        raise OptionsError(
            f"--channels {channels}: give mix, split, left, right, or a number from 0 on{similar}"
        )
    number = int(channels[:9])
    _check_range("channels", number, 0, MAX_CHANNEL)
    return number


def stream_choice(audio_stream: str) -> int | str | None:
    """Returns the number or language of the audio stream to transcribe; None for the default one, or all.

    Raises:
        OptionsError: `audio_stream` is neither a number nor a language.
    """
    words = (DEFAULT_STREAM, ALL_STREAMS)
    if audio_stream in words:
        return None
    if audio_stream.isascii() and audio_stream.isdigit():
        number = int(audio_stream[:9])
        _check_range("audio_stream", number, 0, MAX_STREAM)
        return number
    is_tag = _LANGUAGE_TAG.fullmatch(audio_stream) and audio_stream.lower() not in words
    if not is_tag and code_of(audio_stream) is None:
        similar = nearest(audio_stream.lower(), (*words, *LANGUAGES.values()))
        raise OptionsError(
            f"--audio_stream {audio_stream}: give default, all, a language such as en or deu, or a number "
            f"from 0 on{similar}"
        )
    return audio_stream


def check_streams(audio_stream: str, channels: str) -> None:
    """Checks that a file is taken apart in one way: by its audio streams, or by channels."""
    stream_choice(audio_stream)
    if audio_stream == ALL_STREAMS and channels == SPLIT:
        raise OptionsError(
            "--audio_stream all: cannot be combined with --channels split; give one of them, and name a "
            "stream or a channel with the other"
        )


def language_code(language: str | None, *, known: Collection[str] = ()) -> str | None:
    """Returns `fr` for `fr`, `FR` or `French`; None for `auto` and `auto-per-window`.

    Args:
        language: the language; None if none is given. One that is not known is returned in lower case.
        known: codes of the languages that the model knows, if it is known.
    """
    wanted = AUTO if language is None else language.strip().lower()
    if wanted in (AUTO, AUTO_PER_WINDOW):
        return None
    return code_among(wanted, known) or code_of(wanted) or wanted


def _check_language(language: str | None, flag: str, *, own_codes: bool) -> None:
    code = language_code(language)
    if code is not None and code not in LANGUAGES and not (own_codes and may_be_code(code)):
        names = ", ".join(f"{known} ({name})" for known, name in LANGUAGES.items())
        similar = nearest(code, list(LANGUAGES.values()))
        raise OptionsError(
            f"--{flag} {language}: no such language{similar}; give auto, auto-per-window, or a code or "
            f"English name of: {names}"
        )


def nearest(word: str, known: Sequence[str] | Mapping[str, str], prefix: str = "") -> str:
    """Returns a suggestion for an unknown word, to be appended to a message; empty if none is near."""
    similar = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {prefix}{similar[0]}?)" if similar else ""


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        similar = nearest(value, choices)
        raise OptionsError(f"--{name} {value}: not one of {', '.join(choices)}{similar}")


def _check_range(name: str, value: float, minimum: float, maximum: float | None) -> None:
    if not value >= minimum or (maximum is not None and value > maximum):  # `not >=` refuses NaN too
        bounds = f"at least {minimum:g}" if maximum is None else f"between {minimum:g} and {maximum:g}"
        raise OptionsError(f"--{name} {value:g}: must be {bounds}")
