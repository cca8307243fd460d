"""What the outside needs of the model: plain records of numpy and text, and no JAX.

The transforms import this module of `model` and nothing else, so that a pipeline can be built, pickled
and tested where JAX is not even installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.languages import code_of as code_of

SAMPLE_RATE = 16_000  # Hz, what every Whisper was trained on
WINDOW_SAMPLES = 30 * SAMPLE_RATE  # 480,000 samples: the encoder sees 30 s, never more or less
SPEECH_CHUNK = 512  # samples: a `SpeechDetector` has an opinion of each 32 ms

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

    `start` and `stop` are samples of the window, `0 <= start <= stop <= n_samples`. `text` is as the model
    wrote it, its leading space included, so that texts concatenate. `words` are there when word times were
    asked for; their texts joined are the segment's.
    """

    start: int
    stop: int
    text: str
    tokens: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Request:
    """A window to be decoded, and how.

    Attributes:
        samples: 1 to `WINDOW_SAMPLES` samples.
        language: the code to decode in, or None to detect it.
        temperature: 0 takes the most probable text; above it is sampled.
        seed: of the sampling, 0 <= seed < 2**64. The same request has the same result wherever it is made.
        prompt: text that may have come before, as a hint of style and spelling; None for the settings'.
        hotwords: names and terms to be expected, put before the prompt; None for the settings'.
    """

    samples: Samples = field(repr=False)
    language: str | None = None
    temperature: float = 0.0
    seed: int = 0
    prompt: str | None = None
    hotwords: str | None = None


@dataclass(frozen=True)
class WindowResult:
    """What the model said of one window, and how sure it was.

    Attributes:
        segments: in order of time; empty when the model wrote nothing.
        language: code of the language decoded in (`en`).
        language_probs: posterior of each language the model weighed; empty when the language was given.
        avg_logprob: mean natural-log probability of the tokens written, the end included.
        no_speech_prob: probability of `<|nospeech|>` at the start of the transcript.
        compression_ratio: bytes of the text over its bytes deflated; above 2.4 it repeats itself.
        temperature: what it was sampled at; 0 is greedy.
        looped: whether it was stopped because it wrote the same over and over.
        timestamped: whether the segments' times are the model's own. When False there is one segment a
            window, with the window's bounds.
    """

    segments: tuple[Segment, ...]
    language: str
    language_probs: Mapping[str, float] = field(default_factory=dict)
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0
    temperature: float = 0.0
    looped: bool = False
    timestamped: bool = True


@dataclass(frozen=True)
class TranscriberSettings:
    """What a worker must know to load its own `Transcriber`: small and picklable.

    Attributes:
        model: a local folder, or a name such as `openai/whisper-base`.
        dtype: `auto` (float32 on a CPU, bfloat16 elsewhere), `float32`, `bfloat16` or `float16`.
        task: `transcribe` in the language spoken, or `translate` to English.
        timestamps: let the model write times; without, a window is one segment.
        batch_size: the most windows of a call.
        parallel_batches: calls to make at the same time; 0 leaves it to the machine.
        word_timestamps: give segments their words, each with its time.
        beam_size: sequences that are followed at temperature 0; 1 is greedy.
        patience: times `beam_size` sequences must have ended before a search ends.
        length_penalty: exponent of the penalty that a sequence's log probability is divided by; None
            divides by its length.
        suppress_tokens: ids never written; -1 stands for those that the checkpoint names.
        max_new_tokens: the most that is written of a window.
        prompt: of requests that have none of their own.
        hotwords: of requests that have none of their own.
        quantization: arithmetic of the matrix products on a CPU: `a8` (8-bit integer weights and
            activations), `bf16` (bfloat16 operands, float32 sums), `none` (that of `dtype`), or `auto`, what
            the machine has instructions for. On accelerators `auto` is `none`.
        mesh: devices of this process to spread over, as `data=4,model=2`; see `model.mesh_shape.parse_mesh`.
    """

    model: str
    dtype: str = "auto"
    task: str = "transcribe"
    timestamps: bool = True
    batch_size: int = 8
    parallel_batches: int = 0
    word_timestamps: bool = False
    beam_size: int = 1
    patience: float = 1.0
    length_penalty: float | None = None
    suppress_tokens: tuple[int, ...] = (-1,)
    max_new_tokens: int = 224
    prompt: str = ""
    hotwords: str = ""
    quantization: str = "auto"
    mesh: str = ""


class Transcriber(Protocol):
    """Speech to text for batches of windows of any recordings. Safe to call from several threads."""

    @property
    def batch_size(self) -> int:
        """The most windows of a call; a longer batch is an error."""

    @property
    def n_lanes(self) -> int:
        """Calls that are worth making at the same time."""

    @property
    def compile_s(self) -> float:
        """Seconds that calls have waited so far for the model to be made ready; part of their time."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Transcribes each window on its own; the result does not depend on its neighbours in the batch.

        Args:
            requests: 1 to `batch_size`.

        Raises:
            ValueError: an empty or too long batch or window, samples that are not finite, or a language
                the model does not know.
        """


class SpeechDetector(Protocol):
    """Tells where somebody speaks, in the one recording that it is given block by block."""

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """Probability of speech in each chunk of `SPEECH_CHUNK` samples that these complete, float32[k].

        The samples of successive calls are one stream, cut anywhere: the probabilities do not depend on it.

        Raises:
            ValueError: samples that are not finite or not one-dimensional.
        """

    def finish(self) -> NDArray[np.float32]:
        """Of the last, incomplete chunk, padded with silence: float32[1], or float32[0] if there is none."""
