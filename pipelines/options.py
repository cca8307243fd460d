"""The options of `pipelines.transcribe` and their checks, described once for command line, Python and docs.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from model.languages import LANGUAGES, code_of
from model.mesh_shape import MeshError, parse_mesh

ROW_FORMATS = ("parquet", "jsonl")
RECORDING_FORMATS = ("srt", "vtt", "tsv", "txt")
FORMATS = (*ROW_FORMATS, *RECORDING_FORMATS)
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("auto", "none", "a8", "bf16", "bf16-a8", "w8")
TASKS = ("transcribe", "translate")
SPEECH = "speech"
WINDOW_PLANS = (SPEECH, "grid")
AUTO = "auto"
AUTO_PER_WINDOW = "auto-per-window"
MIX, SPLIT = "mix", "split"
CHANNELS = {"left": 0, "right": 1}
MAX_CHANNEL = 63
FILTERS = ("length", "no_speech", "rate", "repeats")
NONE = "none"
MAX_CHUNK_S = 30.0  # what Whisper's encoder sees at a time
MIN_CHUNK_S = 1.0
MAX_FETCH_S = 7 * 86_400.0
SPAN_STEP_S = 30  # what spans are whole multiples of
MAX_SPAN_S = 360_000.0  # the longest recording that is read
MAX_NEW_TOKENS = 443  # of the decoder's 448, four start the transcript and one ends it
MAX_NEW_TOKENS_PROMPTED = 384  # so that a prompt has room
_RAM = re.compile(r"\d+(\.\d+)?[KMGT]i?B")
_HUB_NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)


class OptionsError(ValueError):
    """An option that cannot be used: which, its value, and what is allowed."""


def _option(
    default: Any,  # noqa: ANN401  # of whatever type the option is
    group: str,
    text: str,
    *,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
    shapes_output: bool = True,
) -> Any:  # noqa: ANN401  # a dataclass field, typed as what it holds
    metadata = {
        "group": group,
        "help": text,
        "metavar": metavar,
        "choices": choices,
        "parse": parse,
        "shapes_output": shapes_output,
    }
    return field(default=default, metadata=metadata)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    """What to transcribe, how, and where to. Impossible values raise `OptionsError`, at once."""

    input: tuple[str, ...] = _option(
        (),
        "What to read",
        "recordings: files, folders, globs, URLs (http, gs, s3, memory, ...), archives (zip, tar) or "
        "manifests (.jsonl, .csv, .tsv, .txt); several at a time, or repeat it",
        metavar="URI",
    )
    dataset: str | None = _option(
        None,
        "What to read",
        "a Hugging Face dataset (Parquet, audio folder or WebDataset): a folder or file, or a name on the "
        "Hub (NAME:CONFIG where it has several)",
        metavar="NAME",
    )
    dataset_split: str = _option("train", "What to read", "the dataset's split", metavar="SPLIT")
    audio_column: str | None = _option(
        None,
        "What to read",
        "the dataset's or manifest's column with the audio, where it has no usual name",
        metavar="COLUMN",
    )
    text_column: str | None = _option(
        None,
        "What to read",
        "the column with what was really said, kept in the row, where it has no usual name",
        metavar="COLUMN",
    )
    allow_private_hosts: bool = _option(
        False,
        "What to read",
        "fetch from loopback, private and link-local addresses, too; without, a URL, or a redirect, that "
        "leads there is refused",
        shapes_output=False,
    )
    trust_manifests: bool = _option(
        False,
        "What to read",
        "let manifests and datasets name anything: file:// and chained URLs, further file systems, and files "
        "of this machine in a list from elsewhere",
        shapes_output=False,
    )
    fetch_timeout_s: float = _option(
        3600.0,
        "What to read",
        "seconds for a download with all its attempts",
        metavar="SECONDS",
        shapes_output=False,
    )
    output: str = _option(
        MISSING, "What to write", "folder or URL for the transcripts", metavar="DIR", shapes_output=False
    )
    format: tuple[str, ...] = _option(
        ROW_FORMATS,
        "What to write",
        "kinds of files, separated by commas: rows of all recordings in parquet and jsonl, and a file a "
        "recording in srt, vtt, tsv and txt; rows are always written, as parquet where neither is named",
        choices=FORMATS,
        parse=_words,
    )
    num_shards: int = _option(1, "What to write", "files of rows of each kind", metavar="N")
    push_to_hub: str | None = _option(
        None,
        "What to write",
        "once the run is finished, upload its Parquet files as this dataset on the Hugging Face Hub, private "
        "if it is new; the token is that of `hf auth login` or HF_TOKEN",
        metavar="OWNER/NAME",
        shapes_output=False,
    )
    max_span_s: float = _option(
        1800.0,
        "What to write",
        "commit a long recording in spans of at most so many seconds, which workers share out; the text does "
        "not depend on it",
        metavar="SECONDS",
        shapes_output=False,
    )
    retry_failed: bool = _option(
        False,
        "What to write",
        "do again what failed, of this run or of the part of it that was done before",
        shapes_output=False,
    )
    overwrite: bool = _option(
        False,
        "What to write",
        "remove what another run wrote to the output folder, and that alone",
        shapes_output=False,
    )
    model: str = _option(
        "openai/whisper-base",
        "How to transcribe",
        "name or folder of a Whisper model (safetensors or CTranslate2)",
        metavar="NAME",
    )
    dtype: str = _option(
        AUTO,
        "How to transcribe",
        "precision; auto is float32 on a CPU and bfloat16 elsewhere",
        choices=DTYPES,
    )
    quantization: str = _option(
        AUTO,
        "How to transcribe",
        "arithmetic of matrix products: a8 is 8-bit weights and activations; bf16 is bfloat16 with float32 "
        "sums; bf16-a8 is bf16 in the encoder and a8 in the decoder; w8 is 8-bit weights alone, which saves "
        "memory; none is --dtype's own; auto is, with --dtype auto and on a CPU, what that is fast at (AMX: "
        "a8, else AVX512-BF16: bf16-a8, else VNNI: a8), and otherwise none",
        choices=QUANTIZATIONS,
    )
    language: str = _option(
        AUTO,
        "How to transcribe",
        "code or English name of the language spoken; auto has the windows of a recording vote on it, "
        "auto-per-window lets each have its own, where languages change",
        metavar="LANGUAGE",
    )
    task: str = _option(
        "transcribe", "How to transcribe", "in the language spoken, or translate to English", choices=TASKS
    )
    channels: str = _option(
        MIX,
        "How to transcribe",
        "what is heard of a file with several: mix is the mean of all; split transcribes each as a recording "
        "of its own, one speaker each; left, right, or a number counted from 0, is that one alone",
        metavar="mix|split|left|right|N",
    )
    return_timestamps: bool = _option(
        True, "How to transcribe", "let the model write times; without, a window is one segment"
    )
    chunk_length_s: float = _option(
        30.0, "How to transcribe", "seconds that the model hears at a time, at most 30", metavar="SECONDS"
    )
    stride_length_s: float = _option(
        5.0,
        "How to transcribe",
        "seconds that neighbouring windows share, on a grid and where nobody pauses",
        metavar="SECONDS",
    )
    windows: str = _option(
        SPEECH,
        "How to transcribe",
        "what the model hears at a time: speech, packed with silence cut out and ending in pauses; or the "
        "grid, with a window every chunk_length_s less stride_length_s, which --no-vad always gives",
        choices=WINDOW_PLANS,
    )
    word_timestamps: bool = _option(
        False, "How to transcribe", "give each segment its words, with start, end and probability"
    )
    initial_prompt: str | None = _option(
        None,
        "How to transcribe",
        "text that might have come before, as a hint of style and spelling; a recording's own is in the "
        "column initial_prompt of the manifest or dataset",
        metavar="TEXT",
    )
    hotwords: str | None = _option(
        None,
        "How to transcribe",
        "names and terms to be expected; a recording's own are in the column hotwords",
        metavar="TEXT",
    )
    beam_size: int = _option(
        5,
        "How to transcribe",
        "sequences followed at temperature 0; 1 is greedy, which is faster and a little less accurate",
        metavar="N",
    )
    patience: float = _option(
        1.0,
        "How to transcribe",
        "times beam_size sequences must have ended before a search ends",
        metavar="X",
    )
    length_penalty: float | None = _option(
        None,
        "How to transcribe",
        "exponent of the penalty on length in a search; without, log probabilities are divided by length",
        metavar="X",
        parse=float,
    )
    suppress_tokens: tuple[int, ...] = _option(
        (-1,),
        "How to transcribe",
        "ids never written, separated by commas (--suppress_tokens=-1,50); -1 stands for those that the "
        "model names",
        metavar="ID,ID",
        parse=_integers,
    )
    max_new_tokens: int = _option(
        224, "How to transcribe", "the most tokens that are written of a window", metavar="N"
    )
    vad: bool = _option(
        True,
        "Safeguards",
        "listen where somebody speaks (Silero), and leave out where nobody does",
    )
    temperature: tuple[float, ...] = _option(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "Safeguards",
        "to be tried one after the other while a window fails; one alone for no fallback",
        metavar="T,T",
        parse=_floats,
    )
    compression_ratio_threshold: float = _option(
        2.4, "Safeguards", "above, a window repeats itself and fails", metavar="X"
    )
    logprob_threshold: float = _option(
        -1.0, "Safeguards", "average log probability below which a window fails", metavar="X"
    )
    no_speech_threshold: float = _option(
        0.6,
        "Safeguards",
        "probability of no speech above which a window with a low log probability is silence",
        metavar="P",
    )
    hallucination_filters: tuple[str, ...] = _option(
        FILTERS,
        "Safeguards",
        "what takes out text nobody said: of no length or letter, where the gate heard no speech, at an "
        "impossible rate of words, in repeats that no temperature was rid of",
        choices=(*FILTERS, NONE),
        parse=_words,
    )
    redecode_boundaries: float = _option(
        0.0,
        "Safeguards",
        "agreement of two windows, 0 to 1, below which the seconds about their boundary are decoded again "
        "(0.2 is a good choice); 0 for never",
        metavar="RATIO",
    )
    seed: int = _option(0, "Safeguards", "of the sampling at temperatures above 0", metavar="N")
    batch_size: int = _option(
        8, "How to run", "windows that the model takes at a time", metavar="N", shapes_output=False
    )
    parallel_batches: int = _option(
        0,
        "How to run",
        "batches that a worker's model takes at the same time; 0 for one on each core of a CPU, and two on "
        "an accelerator",
        metavar="N",
        shapes_output=False,
    )
    mesh: str = _option(
        "",
        "How to run",
        "devices that a worker spreads the model over: data divides the windows of a batch, model each "
        "layer; one device without",
        metavar="data=N,model=N",
    )
    runner: str = _option(
        "DirectRunner",
        "How to run",
        "Beam runner; DirectRunner is Beam's in-process FnApiRunner; what PrismRunner and FlinkRunner need "
        "is fetched once; any other name goes to Beam",
        metavar="NAME",
        shapes_output=False,
    )
    accelerator: str | None = _option(
        None,
        "How to run",
        "on Dataflow, the GPU of workers that run the model, and of no others, such as "
        "type:nvidia-l4;count:1;install-nvidia-driver",
        metavar="type:NAME;count:N",
        shapes_output=False,
    )
    min_ram: str | None = _option(
        None,
        "How to run",
        "on Dataflow, the least memory of workers that run the model, such as 16GB",
        metavar="SIZE",
        shapes_output=False,
    )
    dry_run: bool = _option(
        False,
        "How to run",
        "list the input and build the graph, say how large it is and what it needs, and run nothing",
        shapes_output=False,
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            if isinstance(option.default, tuple):  # in Python, people write lists, and one alone
                value = getattr(self, option.name)
                alone = isinstance(value, str | int | float)
                object.__setattr__(self, option.name, (value,) if alone else tuple(value))
        for name in ("output", "input"):
            value = getattr(self, name)
            if "" in (value if isinstance(value, tuple) else (value,)):
                raise OptionsError(f"--{name} is empty: is a variable of your shell not set?")
        if not self.input and not self.dataset:
            raise OptionsError("nothing to transcribe: give --input or --dataset")
        _check_range("batch_size", self.batch_size, 1, None)
        _check_range("parallel_batches", self.parallel_batches, 0, None)
        _check_range("num_shards", self.num_shards, 1, None)
        _check_range("chunk_length_s", self.chunk_length_s, MIN_CHUNK_S, MAX_CHUNK_S)
        # With more than half, a moment would be in three windows, and the merge compares neighbours alone.
        _check_range("stride_length_s", self.stride_length_s, 0, self.chunk_length_s / 2)
        _check_range("fetch_timeout_s", self.fetch_timeout_s, 1, MAX_FETCH_S)
        _check_range("max_span_s", self.max_span_s, SPAN_STEP_S, MAX_SPAN_S)
        self._check_decoding()
        for option in fields(self):
            if option.metadata["choices"]:
                _check_choice(option, getattr(self, option.name))
        self._check_mesh()
        self._check_resources()
        self._check_hub()
        self.channel()
        language_code(self.language)

    def _check_hub(self) -> None:
        if self.push_to_hub is None:
            return
        if not _HUB_NAME.fullmatch(self.push_to_hub):
            raise OptionsError(
                f"--push_to_hub {self.push_to_hub}: no name of a dataset; give OWNER/NAME, in letters, "
                "digits, '-', '_' and '.'"
            )
        if "parquet" not in self.row_formats():
            raise OptionsError("--push_to_hub uploads Parquet files: add parquet to --format")

    def _check_mesh(self) -> None:
        try:
            mesh = parse_mesh(self.mesh)
            mesh.check_batch(self.batch_size)
        except MeshError as error:
            raise OptionsError(f"--mesh: {error}") from error
        if self.parallel_batches > 1 and mesh.data * mesh.model > 1:
            raise OptionsError(
                f"--parallel_batches {self.parallel_batches}: the devices of --mesh {self.mesh} work on one "
                "batch at a time, together; leave it out, or take a larger --batch_size"
            )

    def _check_resources(self) -> None:
        said = self.accelerator
        if said is not None and not (said.isascii() and said.startswith("type:")):
            raise OptionsError(
                f"--accelerator {said}: give it as type:NAME;count:N, such as "
                "type:nvidia-l4;count:1;install-nvidia-driver"
            )
        if said is not None and said.startswith("type:tpu"):
            raise OptionsError(
                f"--accelerator {said}: TPUs are for all workers of a Dataflow job or for none; give "
                "--dataflow_service_options=worker_accelerator=type:NAME;topology:NxM"
            )
        if self.min_ram is not None and not _RAM.fullmatch(self.min_ram):
            raise OptionsError(f"--min_ram {self.min_ram}: give a number and its unit, such as 16GB or 16GiB")

    def _check_decoding(self) -> None:
        if not self.temperature:
            raise OptionsError("--temperature: give at least one, such as 0")
        for temperature in self.temperature:
            _check_range("temperature", temperature, 0, 2)
        if NONE in self.hallucination_filters and len(self.hallucination_filters) > 1:
            raise OptionsError(f"--hallucination_filters: {NONE} goes with no other")
        _check_range("beam_size", self.beam_size, 1, 100)
        _check_range("patience", self.patience, 0.01, 100)
        if self.length_penalty is not None:
            _check_range("length_penalty", self.length_penalty, 0, 10)
        prompted = self.initial_prompt or self.hotwords
        most_tokens = MAX_NEW_TOKENS_PROMPTED if prompted else MAX_NEW_TOKENS
        _check_range("max_new_tokens", self.max_new_tokens, 1, most_tokens)
        for token in self.suppress_tokens:
            _check_range("suppress_tokens", token, -1, None)
        _check_range("compression_ratio_threshold", self.compression_ratio_threshold, 0, None)
        _check_range("logprob_threshold", self.logprob_threshold, -1000, 0)
        _check_range("no_speech_threshold", self.no_speech_threshold, 0, 1)
        _check_range("redecode_boundaries", self.redecode_boundaries, 0, 1)
        _check_range("seed", self.seed, 0, None)

    def row_formats(self) -> tuple[str, ...]:
        """The formats of the rows: those of `--format`, or Parquet, as report and evaluation read rows."""
        return tuple(name for name in self.format if name in ROW_FORMATS) or ("parquet",)

    def recording_formats(self) -> tuple[str, ...]:
        """The formats in which each recording has a file of its own."""
        return tuple(name for name in self.format if name in RECORDING_FORMATS)

    def language_code(self) -> str | None:
        """The code of the language given, None to detect it."""
        return language_code(self.language)

    def channel(self) -> int | None:
        """The channel to be transcribed, from 0; None for the mean of all, or each apart.

        Raises:
            OptionsError: no channel.
        """
        if self.channels in (MIX, SPLIT):
            return None
        if self.channels in CHANNELS:
            return CHANNELS[self.channels]
        if not (self.channels.isascii() and self.channels.isdigit()):
            similar = nearest(self.channels, (MIX, SPLIT, *CHANNELS))
            raise OptionsError(
                f"--channels {self.channels}: give mix, split, left, right, or a number from 0 on{similar}"
            )
        number = int(self.channels[:9])
        _check_range("channels", number, 0, MAX_CHANNEL)
        return number

    def splits_channels(self) -> bool:
        """Whether each channel is a recording of its own."""
        return self.channels == SPLIT

    def span_s(self) -> int:
        """The most seconds of a recording that are committed at a time, in whole half minutes."""
        return int(self.max_span_s // SPAN_STEP_S) * SPAN_STEP_S

    def filters(self) -> tuple[str, ...]:
        """The hallucination filters that are on."""
        return tuple(name for name in FILTERS if name in self.hallucination_filters)


def shaping_options(told: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Of options by name, those that the rows depend on."""
    names = [option.name for option in fields(TranscribeOptions) if option.metadata["shapes_output"]]
    return {name: told[name] for name in names if name in told and name not in without}


def language_code(language: str) -> str | None:
    """`fr` for `fr`, `FR` or `French`; None for `auto` and `auto-per-window`.

    Raises:
        OptionsError: no language of Whisper's.
    """
    wanted = language.strip().lower()
    if wanted in (AUTO, AUTO_PER_WINDOW):
        return None
    code = code_of(wanted)
    if code is None:
        names = ", ".join(f"{known} ({name})" for known, name in LANGUAGES.items())
        similar = nearest(wanted, list(LANGUAGES.values()))
        raise OptionsError(
            f"--language {language}: no such language{similar}; give auto, auto-per-window, or a code or "
            f"English name of: {names}"
        )
    return code


def check_model_fits(options: TranscribeOptions, languages: Sequence[str]) -> None:
    """Raises `OptionsError` where a model is asked for a language or a task it does not know.

    Args:
        options: of the run.
        languages: codes of the languages that the model knows; `en` alone for an English-only one.
    """
    code = options.language_code()
    if code is not None and code not in languages:
        allowed = ", ".join(languages)
        raise OptionsError(f"--language {options.language}: {options.model} knows {allowed} alone")
    if options.task == "translate" and len(languages) == 1:
        raise OptionsError(
            f"--task translate: {options.model} knows {languages[0]} alone; give --task transcribe, or a "
            "multilingual model such as openai/whisper-base"
        )


def _check_choice(option: Field[Any], value: str | tuple[str, ...]) -> None:
    choices = option.metadata["choices"]
    for one in value if isinstance(value, tuple) else (value,):
        if one not in choices:
            similar = nearest(one, choices)
            raise OptionsError(f"--{option.name} {one}: not one of {', '.join(choices)}{similar}")


def _check_range(name: str, value: float, least: float, most: float | None) -> None:
    if not value >= least or (most is not None and value > most):  # `not >=` refuses NaN too
        bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
        raise OptionsError(f"--{name} {value:g}: must be {bounds}")


def nearest(word: str, known: Sequence[str] | dict[str, str], prefix: str = "") -> str:
    """A suggestion for a word that is not known, to go behind the message; empty if none is near."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {prefix}{found[0]}?)" if found else ""
