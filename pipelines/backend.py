"""The model behind the programs, imported on first use, so that a launcher needs no JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.interface import ModelOptions, SpeechDetector, Transcriber
from pipelines.process.memory import limit_malloc_arenas, without_garbage_collection


@dataclass(frozen=True)
class Backend:
    """Functions that make a family of models available to the programs: `WHISPER`, or that of a test.

    Attributes:
        load: loads the model in a worker; picklable.
        languages: returns the language codes of the model of that name; raises `ValueError` for an unknown
            model.
        detector: makes the voice activity detector of a recording; picklable.
        weights: returns a digest of the weights of the model of that name; raises `ValueError` for an unknown
            model. By default, models are known by their names alone.
    """

    load: Callable[[ModelOptions], Transcriber]
    languages: Callable[[str], Sequence[str]]
    detector: Callable[[], SpeechDetector]
    weights: Callable[[str], str] = str


def load_whisper(options: ModelOptions) -> Transcriber:
    """Loads a Whisper checkpoint on JAX."""
    limit_malloc_arenas()
    with without_garbage_collection():
        from model.transcriber import load_transcriber

        return load_transcriber(options)


def load_whisper_embedded(options: ModelOptions) -> Transcriber:
    """Loads a Whisper checkpoint on JAX in a process that others use too: its settings stay as they are."""
    from model.transcriber import load_transcriber

    return load_transcriber(options)


def whisper_languages(model: str) -> tuple[str, ...]:
    """Returns the language codes of a checkpoint; only `en` for an English-only one.

    Raises:
        CheckpointError: the checkpoint does not exist or cannot be read.
    """
    from model.checkpoint import find_checkpoint
    from model.tokens import WhisperTokenizer

    checkpoint = find_checkpoint(model)
    if not checkpoint.config.is_multilingual:
        return ("en",)
    return tuple(WhisperTokenizer(checkpoint.tokenizer).special.languages)


def whisper_weights(model: str) -> str:
    """Returns a digest of a checkpoint: of its weights, and of what else texts depend on.

    Raises:
        CheckpointError: the checkpoint does not exist or cannot be read.
    """
    from model.checkpoint import find_checkpoint

    return find_checkpoint(model).digest()


def silero_detector() -> SpeechDetector:
    """Returns a Silero voice activity detector."""
    from model.voice_activity import make_detector

    return make_detector()


WHISPER = Backend(load_whisper, whisper_languages, silero_detector, whisper_weights)
EMBEDDED_WHISPER = Backend(load_whisper_embedded, whisper_languages, silero_detector, whisper_weights)
