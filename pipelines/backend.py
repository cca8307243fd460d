"""The model as the programs need it: imported where it is used, so that a launcher needs no JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.interface import SpeechDetector, Transcriber, TranscriberSettings
from pipelines.process.memory import uncollected, use_few_arenas


@dataclass(frozen=True)
class Backend:
    """What a program must know of a family of models. `WHISPER` is the one; tests bring their own.

    Attributes:
        load: makes the model in a worker; picklable.
        languages: codes that a model of that name knows; raises `ValueError` when there is no such model.
        detector: makes what tells where somebody speaks, one a recording; picklable.
    """

    load: Callable[[TranscriberSettings], Transcriber]
    languages: Callable[[str], Sequence[str]]
    detector: Callable[[], SpeechDetector]


def load_whisper(settings: TranscriberSettings) -> Transcriber:
    """Loads a Whisper on JAX."""
    use_few_arenas()
    with uncollected():
        from model.transcriber import load_transcriber

        return load_transcriber(settings)


def whisper_languages(model: str) -> tuple[str, ...]:
    """The codes of the languages that a checkpoint knows; `en` alone for an English-only one.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    from model.checkpoint import find_checkpoint
    from model.tokens import WhisperTokenizer

    checkpoint = find_checkpoint(model)
    if not checkpoint.config.is_multilingual:
        return ("en",)
    return tuple(WhisperTokenizer(checkpoint.tokenizer).special.languages)


def silero_detector() -> SpeechDetector:
    """Listens with Silero."""
    from model.voice_activity import make_detector

    return make_detector()


WHISPER = Backend(load_whisper, whisper_languages, silero_detector)
