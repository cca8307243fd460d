"""The options of `pipelines.transcribe`, described once for command line, Python and docs.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import Any, TypeVar

from model.config import CheckpointDefaults
from model.interface import (
    AUTO,
    AUTO_PER_WINDOW,
    TRANSCRIBE,
    DecodingOptions,
    ModelOptions,
    SpeechDetector,
)
from model.languages import LANGUAGES
from model.model_names import canonical_name, is_known_by_name
from model.option_fields import option_fields
from pipelines.option_checks import OptionsError as OptionsError
from pipelines.option_checks import (
    channel_number,
    check_decoding,
    check_fields,
    check_input,
    check_model,
    check_output,
    check_run,
    check_safeguards,
    check_streams,
    check_windows,
    clips_of,
    language_code,
    nearest,
    row_formats,
    stream_choice,
)
from pipelines.option_groups import (
    ALL_STREAMS,
    FILTERS,
    RECORDING_FORMATS,
    SPAN_STEP_S,
    SPEECH,
    SPLIT,
    AudioOptions,
    InputOptions,
    OutputOptions,
    RunOptions,
    SafeguardOptions,
    WindowOptions,
)
from transforms.core.clips import ClipTimes
from transforms.core.sections import SPAN_S
from transforms.merging.settings import MergeSettings
from transforms.windows.plan import WindowPlan

HELP_GROUPS: Mapping[str, tuple[str, ...]] = {
    "What to read": (
        *("input", "dataset", "dataset_split", "audio_column", "text_column"),
        *("allow_private_hosts", "trust_manifests", "fetch_timeout_s"),
    ),
    "What to write": (
        *("output", "format", "num_shards", "push_to_hub", "max_span_s", "retry_failed", "overwrite"),
        *("remove_unlisted", "partial"),
    ),
    "How to transcribe": (
        *("model", "dtype", "quantization", "language", "languages", "task", "channels", "audio_stream"),
        "clip_timestamps",
        *("return_timestamps", "chunk_length_s", "stride_length_s", "windows", "word_timestamps"),
        *("initial_prompt", "hotwords", "condition_on_previous_text"),
        *("beam_size", "patience", "best_of", "length_penalty", "full_windows", "suppress_tokens"),
        *("max_new_tokens",),
    ),
    "Safeguards": (
        *("vad", "temperature", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"),
        *("hallucination_filters", "redecode_boundaries", "seed"),
    ),
    "How to run": (
        *("batch_size", "parallel_batches", "mesh", "runner", "accelerator", "min_ram", "dry_run"),
    ),
}
"""The order of the options in the help and in tables, by the group's title."""


Options = TypeVar("Options", bound="RecordingOptions")


@dataclass(frozen=True, kw_only=True)
class RecordingOptions(AudioOptions, WindowOptions, ModelOptions, DecodingOptions, SafeguardOptions):
    """The options that the transcript of a recording depends on, however it is transcribed.

    Invalid values raise `OptionsError` when the object is created.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            if isinstance(one.default, tuple):  # callers in Python also pass lists and single values
                value = getattr(self, one.name)
                is_single = isinstance(value, str | int | float)
                object.__setattr__(self, one.name, (value,) if is_single else tuple(value))
        object.__setattr__(self, "model", canonical_name(self.model))
        check_fields(self)
        channel_number(self.channels)
        check_streams(self.audio_stream, self.channels)
        clips_of(self.clip_timestamps)
        check_windows(self)
        check_model(self)
        check_decoding(self, self.max_new_tokens, own_codes=not is_known_by_name(self.model))
        check_safeguards(self)

    def language_code(self, languages: Collection[str]) -> str | None:
        """Returns the code of the language given, None to detect it.

        Args:
            languages: codes of the languages that the model knows.
        """
        return language_code(self.language, known=languages)

    def channel(self) -> int | None:
        """Returns the channel to be transcribed, from 0; None for a mix of all, or each apart."""
        return channel_number(self.channels)

    def splits_channels(self) -> bool:
        """Whether each channel is a recording of its own."""
        return self.channels == SPLIT

    def stream(self) -> int | str | None:
        """Returns the number or language of the audio stream to be transcribed; None for default or all."""
        return stream_choice(self.audio_stream)

    def takes_all_streams(self) -> bool:
        """Whether each audio stream is a recording of its own."""
        return self.audio_stream == ALL_STREAMS

    def clips(self) -> ClipTimes:
        """Returns the clips to be transcribed of each recording; empty for all of it."""
        return clips_of(self.clip_timestamps)

    def filters(self) -> tuple[str, ...]:
        """Returns the hallucination filters that are on."""
        return tuple(name for name in FILTERS if name in self.hallucination_filters)

    def window_plan(self, detector: Callable[[], SpeechDetector]) -> WindowPlan:
        """Returns how recordings are cut into windows.

        Args:
            detector: makes the voice activity detector of a recording.
        """
        return WindowPlan(
            self.chunk_length_s,
            self.stride_length_s,
            detector if self.vad else None,
            over_speech=self.windows == SPEECH,
        )

    def merge_settings(self, languages: Sequence[str]) -> MergeSettings:
        """Returns how windows are merged.

        Args:
            languages: codes of the languages that the model knows; only `en` for an English-only one.
        """
        return MergeSettings(
            languages[0] if len(languages) == 1 else self.language_code(languages),
            per_window=self.language == AUTO_PER_WINDOW,
            redecode_below=self.redecode_boundaries,
            window_s=self.chunk_length_s,
            task=self.task or TRANSCRIBE,
            model=self.model,
            languages=tuple(filter(None, (language_code(one, known=languages) for one in self.languages))),
        )


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions(RecordingOptions, InputOptions, OutputOptions, RunOptions):
    """The options of a run. Invalid values raise `OptionsError` when the object is created."""

    def __post_init__(self) -> None:
        for name in ("output", "input"):
            value = getattr(self, name)
            if "" in (value if isinstance(value, tuple) else (value,)):
                raise OptionsError(f"--{name} is empty: is a variable of your shell not set?")
        super().__post_init__()
        check_input(self)
        check_output(self)
        check_run(self)
        if self.condition_on_previous_text and self.span_s() % SPAN_S:
            raise OptionsError(
                f"--max_span_s {self.max_span_s:g}: with --condition_on_previous_text the windows of half an "
                f"hour depend on each other; give a multiple of {SPAN_S}"
            )

    def row_formats(self) -> tuple[str, ...]:
        """Returns the formats of the rows: those of `--format`, or Parquet, from which reports are made."""
        return row_formats(self.format)

    def recording_formats(self) -> tuple[str, ...]:
        """Returns the formats in which each recording has a file of its own."""
        return tuple(name for name in self.format if name in RECORDING_FORMATS)

    def span_s(self) -> int:
        """Returns the maximum number of seconds that are committed at a time, in whole half minutes."""
        return int(self.max_span_s // SPAN_STEP_S) * SPAN_STEP_S


def grouped_options() -> Iterator[tuple[str, Field[Any]]]:
    """Yields the options in the order of the help, each with the title of its group."""
    by_name = {option.name: option for option in option_fields(TranscribeOptions)}
    for title, names in HELP_GROUPS.items():
        yield from ((title, by_name[name]) for name in names)


def shaping_options(options: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the options that the rows depend on, by name, except those named in `without`."""
    names = [option.name for _, option in grouped_options() if option.metadata["shapes_output"]]
    return {name: options[name] for name in names if name in options and name not in without}


def with_checkpoint_defaults(options: Options, defaults: CheckpointDefaults) -> Options:
    """Returns options with a language and a task: where none is given, those that the checkpoint names.

    Args:
        options: options of the recordings. `languages` mean that the language is to be detected.
        defaults: what the configs of the checkpoint name.
    """
    configured = None if options.languages else defaults.language
    return replace(
        options,
        language=options.language or configured or AUTO,
        task=options.task or defaults.task or TRANSCRIBE,
    )


def fitted_to_model(options: Options, languages: Sequence[str]) -> Options:
    """Returns options with the codes that the model has for their languages.

    Args:
        options: options of the recordings.
        languages: codes of the languages that the model knows; only `en` for an English-only one.

    Raises:
        OptionsError: the model lacks the language or the task of the options.
    """

    def code_in_model(flag: str, language: str) -> str | None:
        code = language_code(language, known=languages)
        if code is None or code in languages:
            return code
        names = [*languages, *(LANGUAGES[known] for known in languages if known in LANGUAGES)]
        similar = nearest(language.strip().lower(), names)
        raise OptionsError(f"--{flag} {language}: {options.model} knows only {', '.join(languages)}{similar}")

    code = None if options.language is None else code_in_model("language", options.language)
    several = [code_in_model("languages", one) or one for one in options.languages]
    if options.task == "translate" and tuple(languages) == ("en",):
        raise OptionsError(
            f"--task translate: {options.model} knows only en; give --task transcribe, or a "
            "multilingual model such as openai/whisper-base"
        )
    return replace(options, language=code or options.language, languages=tuple(several))
