"""The model behind the programs, imported on first use, so that a launcher needs no JAX."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from model.config import CheckpointDefaults
from model.interface import ModelOptions, SpeechDetector, Transcriber
from pipelines.process.memory import limit_malloc_arenas, without_garbage_collection


def _no_defaults(_model: str) -> CheckpointDefaults:
    return CheckpointDefaults()


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
        start_loading: starts to load the model in a thread, for a call of `load` with the same options in
            this process, which then waits for it; None where models are loaded on demand only.
        memory: returns lines on a model's arithmetic and memory, for `--dry_run`; it loads no weights.
        defaults: returns the language and the task that the model of that name is configured for; raises
            `ValueError` for an unknown model. By default, models are configured for none.
    """

    load: Callable[[ModelOptions], Transcriber]
    languages: Callable[[str], Sequence[str]]
    detector: Callable[[], SpeechDetector]
    weights: Callable[[str], str] = str
    start_loading: Callable[[ModelOptions], None] | None = None
    memory: Callable[[ModelOptions], Sequence[str]] = lambda _: ()
    defaults: Callable[[str], CheckpointDefaults] = _no_defaults


_LOADING: dict[ModelOptions, Future[Transcriber]] = {}
"""Models that this process has started to load ahead, each until it is taken."""


def start_loading_whisper(options: ModelOptions) -> None:
    """Starts to load a Whisper checkpoint in a thread, for the next `load_whisper` with the same options.

    JAX is imported first, by the caller, as imports of two threads take as long as one after the other.
    Beside it, the files are read that need no JAX. An error is raised where the model is needed. A model that
    must be downloaded is not loaded ahead.
    """
    from model.checkpoint import is_local

    if not is_local(options.model):
        return
    threading.Thread(target=_read_ahead, args=(options.model,), name="read-model").start()
    with without_garbage_collection():
        from model import transcriber  # noqa: F401  # JAX

    loading: Future[Transcriber] = Future()
    _LOADING[options] = loading

    def complete() -> None:
        try:
            loading.set_result(_load_now(options))
        except BaseException as error:  # whatever it is, `load_whisper` raises it
            loading.set_exception(error)

    threading.Thread(target=complete, name="load-model").start()


def _read_ahead(model: str) -> None:
    """Reads tokenizer and weights for their digest, which are then known to the process."""
    with suppress(ValueError):  # an error that the launcher gets again, and reports
        whisper_languages(model)
        whisper_weights(model)


def load_whisper(options: ModelOptions) -> Transcriber:
    """Loads a Whisper checkpoint on JAX, or waits for it where `start_loading_whisper` was called."""
    loading = _LOADING.pop(options, None)
    return _load_now(options) if loading is None else loading.result()


def _load_now(options: ModelOptions) -> Transcriber:
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
        TokenizerError: its tokenizer cannot be read, or does not fit its weights.
    """
    from model.checkpoint import find_checkpoint
    from model.tokens import tokenizer_of

    return tuple(tokenizer_of(find_checkpoint(model)).special.languages) or ("en",)


def whisper_defaults(model: str) -> CheckpointDefaults:
    """Returns the language and the task that a checkpoint is configured for.

    Raises:
        CheckpointError, TokenizerError: see `whisper_languages`.
    """
    from model.checkpoint import find_checkpoint
    from model.checkpoint_defaults import defaults_of
    from model.tokens import tokenizer_of

    checkpoint = find_checkpoint(model)
    return defaults_of(tokenizer_of(checkpoint).special, checkpoint.decoding)


def whisper_weights(model: str) -> str:
    """Returns a digest of a checkpoint: of its weights, and of what else texts depend on.

    Raises:
        CheckpointError: the checkpoint does not exist or cannot be read.
    """
    from model.checkpoint import find_checkpoint

    return find_checkpoint(model).digest()


def whisper_memory(options: ModelOptions) -> Sequence[str]:
    """Returns lines on what a checkpoint computes with on this CPU, and on the memory of GPUs that it takes.

    Raises:
        CheckpointError: the checkpoint does not exist or cannot be read.
    """
    from model.cards import describe_cpu, describe_memory
    from model.checkpoint import find_checkpoint

    return [describe_cpu(options), *describe_memory(find_checkpoint(options.model).config, options)]


def silero_detector() -> SpeechDetector:
    """Returns a Silero voice activity detector."""
    from model.voice_activity import make_detector

    return make_detector()


WHISPER = Backend(
    load_whisper,
    whisper_languages,
    silero_detector,
    whisper_weights,
    start_loading_whisper,
    whisper_memory,
    whisper_defaults,
)
EMBEDDED_WHISPER = Backend(
    load_whisper_embedded,
    whisper_languages,
    silero_detector,
    whisper_weights,
    defaults=whisper_defaults,
)
