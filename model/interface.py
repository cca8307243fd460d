"""The public interface of the model: options, requests, results and protocols, without JAX.

The transforms import this module of `model` and no other, so that a pipeline can be built, pickled and tested
where JAX is not installed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.languages import code_among as code_among
from model.languages import code_of as code_of
from model.languages import is_undetermined as is_undetermined
from model.option_fields import option as option
from model.option_fields import parse_floats as parse_floats
from model.option_fields import parse_integers, parse_words

SAMPLE_RATE = 16_000  # Hz, of the audio that every Whisper was trained on
WINDOW_SAMPLES = 30 * SAMPLE_RATE  # 480,000 samples: the encoder's input is always 30 s
SPEECH_CHUNK = 512  # samples, 32 ms: a `SpeechDetector` yields one probability for each chunk
SPEECH_DELAY = 62 * SPEECH_CHUNK  # samples behind a chunk that a `SpeechDetector` may wait for, at most

AUTO = "auto"
AUTO_PER_WINDOW = "auto-per-window"
DTYPES = (AUTO, "float32", "bfloat16", "float16")
QUANTIZATIONS = (AUTO, "none", "a8", "bf16", "bf16-a8", "w8")
TASKS = TRANSCRIBE, TRANSLATE = "transcribe", "translate"

Samples = NDArray[np.float32]
"""Mono audio at `SAMPLE_RATE`, float32[n] in [-1, 1]."""


@dataclass(frozen=True)
class Word:
    """A word of a segment, with its punctuation and the space before it, so that texts concatenate.

    `start` and `stop` are samples of the window, `0 <= start <= stop <= n_samples`; `probability` is the mean
    of its tokens'.
    """

    start: int
    stop: int
    text: str
    probability: float


@dataclass(frozen=True)
class Segment:
    """A stretch of a window with its text.

    `start` and `stop` are samples of the window, `0 <= start <= stop <= n_samples`. `text` has the
    leading space that the model wrote, so that texts concatenate. `words` are present when word timestamps
    were requested; their texts joined are the segment's. `is_cut` is set where the model was stopped within
    the segment, at the token limit or for repetition: the end of its text is missing, and `stop` is that of
    the window.
    """

    start: int
    stop: int
    text: str
    tokens: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True)
class Request:
    """A window to be decoded, and how.

    Attributes:
        samples: 1 to `WINDOW_SAMPLES` samples.
        language: the code to decode in, or None to detect it.
        temperature: 0 takes the most probable text; above it is sampled.
        seed: seed of the sampling, 0 <= seed < 2**64. The same request has the same result in every batch.
        prompt: text that may have come before, as a hint of style and spelling.
        hotwords: names and terms to be expected, put before the prompt.
        previous: segments that came before the window, as the model wrote them; as many of their last tokens
            as fit are put behind the prompt.
        task: `transcribe` in the language spoken, or `translate` to English.
        timestamps: whether the model writes times; without, a window is one segment.
        word_timestamps: whether segments have their words, each with its time.
        full_window: whether the network is given 30 s, although the window is shorter.
    """

    samples: Samples = field(repr=False)
    language: str | None = None
    temperature: float = 0.0
    seed: int = 0
    prompt: str = ""
    hotwords: str = ""
    previous: tuple[Segment, ...] = ()
    task: str = TRANSCRIBE
    timestamps: bool = True
    word_timestamps: bool = False
    full_window: bool = False


@dataclass(frozen=True)
class WindowResult:
    """The decoding of one window, and its confidence.

    Attributes:
        segments: in order of time; empty when the model wrote no text.
        language: code of the language decoded in (`en`).
        language_probs: posterior of each language considered; empty when the request named a language.
        avg_logprob: mean natural-log probability of the tokens written, the end included.
        no_speech_prob: probability of `<|nospeech|>` at the start of the transcript.
        compression_ratio: bytes of the text over its bytes deflated; above 2.4 it repeats itself.
        temperature: temperature of the sampling; 0 is greedy, or a beam search.
        repeated: whether decoding was stopped because the text repeated itself.
        timestamped: whether the segments' times are the model's own. When False there is one segment a
            window, with the window's bounds.
        is_short: whether the network was given less than 30 s.
    """

    segments: tuple[Segment, ...]
    language: str
    language_probs: Mapping[str, float] = field(default_factory=dict)
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0
    temperature: float = 0.0
    repeated: bool = False
    timestamped: bool = True
    is_short: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options with which each worker loads and compiles the model."""

    model: str = option(
        "openai/whisper-base",
        "name, folder or file of a Whisper model, in any format of docs/models.md; OWNER/NAME:FILE is one "
        "file of a repository on the Hugging Face Hub",
        metavar="NAME",
    )
    dtype: str = option(
        AUTO,
        "precision; auto is float32 on a CPU, where 16 bits are slower, float16 on a GPU and bfloat16 on a "
        "TPU",
        choices=DTYPES,
    )
    quantization: str = option(
        AUTO,
        "arithmetic of matrix products: a8 is 8-bit weights and activations; bf16 is bfloat16 with float32 "
        "sums; bf16-a8 is bf16 in the encoder and a8 in the decoder; w8 is 8-bit weights only, which saves "
        "memory with large models; none follows --dtype; auto is, on a CPU with --dtype auto, the fastest "
        "for its instruction set (AMX: a8, else AVX512-BF16: bf16-a8, else VNNI: a8), and none otherwise and "
        "on ARM",
        choices=QUANTIZATIONS,
    )
    mesh: str = option(
        "",
        "devices that a worker spreads the model over: data divides the windows of a batch, model divides "
        "each layer; by default one device",
        metavar="data=N,model=N",
    )
    full_windows: bool = option(
        False,
        "give the network 30 s of each window, padded with silence as in training; by default a short window "
        "has 2 s of silence or a little more, and 30 s only if its text fails a threshold",
    )
    batch_size: int = option(
        0,
        "windows that are decoded together, in as many rows; 0 is 8 on a CPU, or 4 with beams, and on an "
        "accelerator as many as its memory holds, up to 64",
        metavar="N",
        minimum=0,
        shapes_output=False,
    )
    parallel_batches: int = option(
        0,
        "batches that a worker runs at the same time; 0 is one per CPU core, or two on an accelerator",
        metavar="N",
        minimum=0,
        shapes_output=False,
    )
    beam_size: int = option(
        5,
        "hypotheses of the beam search at temperature 0; 1 is greedy, which is faster and a little less "
        "accurate",
        metavar="N",
        minimum=1,
        maximum=100,
    )
    patience: float = option(
        1.0,  # of Kasai et al. (2022)
        "the search ends once this many times beam_size hypotheses have ended",
        metavar="X",
        minimum=0.01,
        maximum=100,
    )
    best_of: int = option(
        1,
        "texts that are sampled for a window at a temperature above 0, of which the likeliest is kept; it is "
        "5 in openai/whisper and faster-whisper",
        metavar="N",
        minimum=1,
        maximum=100,
    )
    length_penalty: float | None = option(
        None,  # alpha of Wu et al. (2016), equation 14
        "exponent of the length penalty, by which the search and best_of compare hypotheses; by default, log "
        "probabilities are divided by the length",
        metavar="X",
        parse=float,
        minimum=0,
        maximum=10,
    )
    suppress_tokens: tuple[int, ...] = option(
        (-1,),
        "token ids that are never written, separated by commas (--suppress_tokens=-1,50); -1 stands for "
        "those that the checkpoint names",
        metavar="ID,ID",
        parse=parse_integers,
        minimum=-1,
    )
    max_new_tokens: int = option(
        224,  # `sample_len` of openai/whisper: half of the decoder's 448; the other half is for prompts
        "maximum number of tokens per window",
        metavar="N",
        minimum=1,
        maximum=443,  # of the 448, four start the transcript and one ends it
    )


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """The options of decoding that each request may set for itself: one loaded model serves all of them."""

    language: str | None = option(
        None,
        "language code or English name; auto lets the windows of a recording vote, auto-per-window detects "
        "the language of each window, for recordings whose language changes; by default the one that the "
        "checkpoint is configured for, or auto",
        metavar="LANGUAGE",
    )
    languages: tuple[str, ...] = option(
        (),
        "with --language auto, the languages that a recording may have, separated by commas",
        metavar="LANGUAGE,LANGUAGE",
        parse=parse_words,
    )
    task: str | None = option(
        None,
        "transcribe in the language spoken, or translate to English; by default what the checkpoint is "
        "configured for, or transcribe",
        choices=TASKS,
    )
    return_timestamps: bool = option(True, "predict timestamps; without them a window is one segment")
    word_timestamps: bool = option(False, "add the words of each segment, with start, end and probability")
    initial_prompt: str | None = option(
        None,
        "text given to the model as if it came before, as a hint of style and spelling; a recording can "
        "have its own in the column initial_prompt of the manifest or dataset",
        metavar="TEXT",
    )
    hotwords: str | None = option(
        None,
        "names and terms that are likely to occur; a recording can have its own in the column hotwords",
        metavar="TEXT",
    )
    condition_on_previous_text: bool = option(
        False,
        "give the model the text of the windows before as context, as openai/whisper does by default; the "
        "windows of each half hour of a recording are then decoded one after the other",
    )


class WindowBatch(Protocol):
    """Windows that are decoded together, each in a row of its own. For use by one thread at a time.

    No result depends on what is in the other rows.
    """

    @property
    def n_free(self) -> int:
        """The number of rows that can take a window."""

    @property
    def n_refilled(self) -> int:
        """The number of rows that are worth refilling together."""

    @property
    def requests(self) -> list[Request]:
        """The requests that are being decoded, one in each row that is taken."""

    def add(self, requests: Sequence[Request]) -> None:
        """Gives each request a row.

        Args:
            requests: at most `n_free`, of the batch's group.

        Raises:
            ValueError: too many, an empty or too long window, samples that are not finite, or a language or
                task that the model does not know; then none is added.
        """

    def advance(
        self, *, n_free: int | None = None, max_steps: int | None = None
    ) -> list[tuple[Request, WindowResult | Exception]]:
        """Writes tokens of all rows, and returns the requests that have finished, whose rows are free then.

        Args:
            n_free: stop once so many rows are free; None for all.
            max_steps: stop after so many tokens of each row; None for no limit.

        Returns:
            Each request with its result, or with the exception that only it raises.
        """


class Transcriber(Protocol):
    """Speech to text for windows of any recordings. Safe to call from several threads."""

    @property
    def batch_size(self) -> int:
        """The number of rows of a batch."""

    @property
    def max_concurrent_calls(self) -> int:
        """The number of batches that are worth running at the same time."""

    @property
    def arithmetic(self) -> str:
        """The arithmetic of the products in words, with its reason, for users; empty where none is known."""

    @property
    def compile_s(self) -> float:
        """Seconds that calls have waited so far for programs to be compiled; part of their time."""

    def batch_group(self, request: Request) -> Hashable:
        """Returns the group of a request: a batch takes requests of one group."""

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> WindowBatch:
        """Returns a batch without windows.

        Args:
            group: that of its requests.
            n_rows: the number of rows, about; None for `batch_size`.
        """

    def token_ids(self, text: str) -> list[int]:
        """Returns the ids of the tokens of a text, as the model would write it."""

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """Compiles the programs that requests need, or loads those that were compiled before, and tries them.

        Args:
            prompts: also those of requests with prompts or hotwords.
            timestamps: those of requests with timestamps (True), without (False), or both.
        """


class SpeechDetector(Protocol):
    """A voice activity detector for one recording, which is fed block by block."""

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """Returns the probability of speech in each chunk of `SPEECH_CHUNK` samples now decided, float32[k].

        A chunk is decided once at most `SPEECH_DELAY` samples behind it were given. The samples of successive
        calls are one stream; the probabilities do not depend on how it is divided.

        Raises:
            ValueError: samples that are not finite or not one-dimensional.
        """

    def finish(self) -> NDArray[np.float32]:
        """Returns the probabilities of the chunks that are left: the last one may be padded with silence."""
