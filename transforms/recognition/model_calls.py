"""Calls the model on batches; a batch that fails is halved until the failing window is isolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.interface import SAMPLE_RATE, Request, Transcriber, WindowResult


class ModelError(RuntimeError):
    """The model does not work at all; the run ends."""


def call_model(
    transcriber: Transcriber, check: Callable[[], None], requests: Sequence[Request]
) -> list[WindowResult | Exception]:
    """Returns the result of each window, or the exception that only this window raises.

    Runs on a worker thread.

    Raises:
        ModelError: the model does not work at all.
        Exception: raised by `check`, which is called first: a stop may be requested while a call is queued.
    """
    check()
    results = transcribe_each(transcriber, requests)
    if all(isinstance(result, Exception) for result in results):
        check_transcriber(transcriber)
    return results


def transcribe_each(transcriber: Transcriber, requests: Sequence[Request]) -> list[WindowResult | Exception]:
    """Returns the result of each window, or the exception that only this window raises.

    A batch that fails is halved until the failing window is isolated, so that the others are transcribed.
    """
    try:
        results = transcriber.transcribe(requests)
        if len(results) != len(requests):
            raise ValueError(f"the model gave {len(results)} results for {len(requests)} windows")
    except Exception as error:  # an error of any type, for one window, must not affect the others
        if len(requests) == 1:
            return [error]
        half = len(requests) // 2
        return transcribe_each(transcriber, requests[:half]) + transcribe_each(transcriber, requests[half:])
    return list(results)


def check_transcriber(transcriber: Transcriber) -> None:
    """Raises `ModelError` if even silence cannot be transcribed: then the model fails, and not the windows.

    Out of memory, or with damaged weights, every recording would otherwise be listed as a failure.
    """
    try:
        transcriber.transcribe([Request(np.zeros(SAMPLE_RATE, np.float32))])
    except Exception as error:  # an error of any type fails the run, and not a recording
        raise ModelError(
            f"the model cannot transcribe silence: {type(error).__name__}: {error}; if memory ran out, "
            "try a smaller --batch_size"
        ) from error
