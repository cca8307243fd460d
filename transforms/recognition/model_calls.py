"""Calls of the model: a batch that fails is halved until the bad window is alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.interface import SAMPLE_RATE, Request, Transcriber, WindowResult


class ModelError(RuntimeError):
    """The model does not work at all; the run ends."""


def call_model(
    transcriber: Transcriber, check: Callable[[], None], requests: Sequence[Request]
) -> list[WindowResult | Exception]:
    """The result of each window, or the exception that this window alone raises.

    Runs on a worker thread.

    Raises:
        ModelError: the model does not work at all.
        Exception: that of `check`, which is called first: a request to stop may come while a call is queued.
    """
    check()
    results = transcribe_each(transcriber, requests)
    if all(isinstance(result, Exception) for result in results):
        check_model(transcriber)
    return results


def transcribe_each(transcriber: Transcriber, requests: Sequence[Request]) -> list[WindowResult | Exception]:
    """The result of each window, or the exception that this window alone raises.

    A batch that fails is halved until the window that fails is alone, so that the others are transcribed.
    """
    try:
        results = transcriber.transcribe(requests)
        if len(results) != len(requests):
            raise ValueError(f"the model gave {len(results)} results for {len(requests)} windows")
    except Exception as error:  # whatever one window makes the model raise must not cost the other windows
        if len(requests) == 1:
            return [error]
        half = len(requests) // 2
        return transcribe_each(transcriber, requests[:half]) + transcribe_each(transcriber, requests[half:])
    return list(results)


def check_model(transcriber: Transcriber) -> None:
    """Raises `ModelError` when not even silence can be transcribed: then it is not the windows' fault.

    Out of memory, or with damaged weights, every recording would be listed as a failure of its own.
    """
    try:
        transcriber.transcribe([Request(np.zeros(SAMPLE_RATE, np.float32))])
    except Exception as error:  # whatever it is, it is the run that fails, and not a recording
        raise ModelError(
            f"the model cannot transcribe silence: {type(error).__name__}: {error}; if memory ran out, "
            "try a smaller --batch_size"
        ) from error
