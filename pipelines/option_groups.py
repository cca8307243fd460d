"""The options that only the pipeline has, in groups.

Each option is declared once, here or in `model.interface`, `transforms.fetch.policy` and
`transforms.recognition.fallback`; `pipelines.options` puts the groups together.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import MISSING, dataclass

from model.option_fields import option, parse_words
from transforms.core.clips import parse_clip_times
from transforms.core.sections import SPAN_S
from transforms.fetch.policy import FetchOptions
from transforms.recognition.fallback import FallbackPolicy

ROW_FORMATS = ("parquet", "jsonl")
RECORDING_FORMATS = ("srt", "vtt", "tsv", "txt")
FORMATS = (*ROW_FORMATS, *RECORDING_FORMATS)
SPEECH = "speech"
WINDOW_PLANS = (SPEECH, "grid")
MIX, SPLIT = "mix", "split"
DEFAULT_STREAM, ALL_STREAMS = "default", "all"
FILTERS = ("length", "no_speech", "rate", "repeats")
NONE = "none"
SPAN_STEP_S = 30
"""Seconds; the length of a span is a multiple of it."""


def parse_clips(text: str) -> tuple[float, ...]:
    """Returns the times of `--clip_timestamps`.

    Raises:
        ArgumentTypeError: they name no clips; argparse shows its message.
    """
    try:
        return parse_clip_times(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class AudioOptions(FetchOptions):
    """The options of how the audio of a recording is fetched, chosen and mixed."""

    channels: str = option(
        MIX,
        "how multi-channel files are handled: mix makes one of all channels, of surround by its layout; "
        "split transcribes each channel as a recording of its own (one speaker each); left, right, or a "
        "number counted from 0 selects one channel",
        metavar="mix|split|left|right|N",
    )
    audio_stream: str = option(
        DEFAULT_STREAM,
        "which audio stream of a file with several, such as a film, is transcribed: default is the one that "
        "the file marks as its default, or else the first with speech; all transcribes each as a recording "
        "of its own; a language (en, deu) or a number counted from 0 selects one",
        metavar="default|all|LANGUAGE|N",
    )
    clip_timestamps: tuple[float, ...] = option(
        (),
        "transcribe only these parts of each recording: START,END,START,END,... in seconds from its start; "
        "the last END may be left out, for the end of the recording; a recording can have its own in the "
        "column clip_timestamps",
        metavar="START,END,START,END,...",
        parse=parse_clips,
    )


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """The options of the recordings to transcribe."""

    input: tuple[str, ...] = option(
        (),
        "recordings: files, folders, globs, URLs (http, gs, s3, memory, ...), archives (zip, tar) or "
        "manifests (.jsonl, .json, .csv, .tsv, .txt, also with .gz); give several at a time, or repeat the "
        "option",
        metavar="URI",
        shapes_output=False,
    )
    dataset: str | None = option(
        None,
        "a Hugging Face dataset (Parquet, Arrow, audio folder or WebDataset): a folder or file, or a name on "
        "the Hub (NAME:CONFIG where it has several)",
        metavar="NAME",
        shapes_output=False,
    )
    dataset_split: str = option("train", "split of the dataset", metavar="SPLIT", shapes_output=False)
    audio_column: str | None = option(
        None,
        "column of the dataset or manifest with the audio, if it has no usual name",
        metavar="COLUMN",
        shapes_output=False,
    )
    text_column: str | None = option(
        None,
        "column with the reference transcript, which is kept in the row, if it has no usual name",
        metavar="COLUMN",
        shapes_output=False,
    )


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The options of the files that are written."""

    output: str = option(MISSING, "folder or URL for the transcripts", metavar="DIR", shapes_output=False)
    format: tuple[str, ...] = option(
        ROW_FORMATS,
        "output formats, separated by commas: parquet and jsonl hold the rows of all recordings; srt, vtt, "
        "tsv and txt are one file per recording; rows are always written, as parquet if neither is named",
        choices=FORMATS,
        parse=parse_words,
        shapes_output=False,
    )
    num_shards: int = option(
        1, "number of files of rows per format", metavar="N", minimum=1, shapes_output=False
    )
    push_to_hub: str | None = option(
        None,
        "once the run is finished, upload its Parquet files as this dataset on the Hugging Face Hub, private "
        "if it is new; the token is that of `hf auth login` or HF_TOKEN",
        metavar="OWNER/NAME",
        shapes_output=False,
    )
    max_span_s: float = option(
        float(SPAN_S),
        "commit a long recording in spans of at most this many seconds, which workers share; the text does "
        "not depend on it",
        metavar="SECONDS",
        minimum=SPAN_STEP_S,
        maximum=360_000,  # the longest recording that is read
        shapes_output=False,
    )
    retry_failed: bool = option(
        False,
        "try failed recordings again, of this run or of the part of it that was done before",
        shapes_output=False,
    )
    overwrite: bool = option(
        False,
        "do the whole input anew, and then remove the files that another run wrote to the output folder, and "
        "nothing else",
        shapes_output=False,
    )
    remove_unlisted: bool = option(
        False,
        "leave out rows of recordings that are no longer among the inputs; without it they are kept",
        shapes_output=False,
    )
    partial: bool = option(
        False,
        "transcribe nothing: write what is finished by now to DIR/partial; also while the run goes on",
        shapes_output=False,
    )


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """The options of the windows that recordings are cut into."""

    chunk_length_s: float = option(
        30.0,
        "length of a window in seconds, at most 30",
        metavar="SECONDS",
        minimum=1,
        maximum=30,  # the length of the encoder's input
    )
    stride_length_s: float = option(
        5.0,
        "seconds that neighbouring windows share, with fixed stride and in speech without pauses",
        metavar="SECONDS",
        minimum=0,
        maximum=15,  # or half of chunk_length_s
    )
    windows: str = option(
        SPEECH,
        "how windows are cut: speech packs detected speech into windows that end in pauses; grid has fixed "
        "stride, a window every chunk_length_s - stride_length_s seconds, as always with --no-vad",
        choices=WINDOW_PLANS,
    )
    vad: bool = option(True, "detect speech (Silero VAD) and skip non-speech")


@dataclass(frozen=True, kw_only=True)
class SafeguardOptions(FallbackPolicy):
    """The options that guard against invented text and against missing text."""

    hallucination_filters: tuple[str, ...] = option(
        FILTERS,
        "filters that remove invented text: length (no duration, or no letter), no_speech (no speech "
        "detected there), rate (an impossible rate of words), repeats (repetition at every temperature)",
        choices=(*FILTERS, NONE),
        parse=parse_words,
    )
    redecode_boundaries: float = option(
        0.0,
        "agreement of two windows, 0 to 1, below which the seconds around their boundary are decoded again "
        "(0.2 is a good value); 0 is never",
        metavar="RATIO",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of the Beam runner and its workers."""

    runner: str = option(
        "DirectRunner",
        "Beam runner; DirectRunner is Beam's in-process FnApiRunner; what PrismRunner and FlinkRunner need "
        "is downloaded once; any other name is passed to Beam",
        metavar="NAME",
        shapes_output=False,
    )
    accelerator: str | None = option(
        None,
        "on Dataflow, the GPU of the workers that run the model, such as "
        "type:nvidia-l4;count:1;install-nvidia-driver",
        metavar="type:NAME;count:N",
        shapes_output=False,
    )
    min_ram: str | None = option(
        None,
        "on Dataflow, the minimum memory of the workers that run the model, such as 16GB",
        metavar="SIZE",
        shapes_output=False,
    )
    dry_run: bool = option(
        False,
        "list the input and build the graph, print its size and its needs, and run nothing",
        shapes_output=False,
    )
