"""Lanes: each decodes windows in one thread, in running batches whose free rows take the next windows.

A batch whose call raises is divided: its windows are decoded one by one, so that the failing one is isolated.
If memory ran out, batches have half the rows from then on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.interface import SAMPLE_RATE, Request, Transcriber, WindowBatch, WindowResult

Answer = WindowResult | Exception

_MAX_STEPS = 16
"""Tokens that are written before new windows are looked for again: some 0.2 s on a CPU."""

_MEMORY_MARKS = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "bad_alloc")


class ModelError(RuntimeError):
    """The model does not work at all; the run ends."""


@dataclass
class Lane:
    """The batches of one thread, by group. Each turn advances one of them.

    Attributes:
        transcriber: the model.
        check: raises if the run is to stop; called before each call of the model.
        n_rows: rows of new batches; fewer than the model's once memory ran out.
    """

    transcriber: Transcriber
    check: Callable[[], None]
    n_rows: int = 0
    _batches: dict[Hashable, WindowBatch] = field(default_factory=dict)
    _alone: deque[tuple[Hashable, Request]] = field(default_factory=deque)
    _single: WindowBatch | None = None  # that of the first of them

    def __post_init__(self) -> None:
        self.n_rows = self.n_rows or self.transcriber.batch_size

    @property
    def groups(self) -> list[Hashable]:
        """The groups of its running batches, the one whose turn is next first."""
        return list(self._batches)

    @property
    def is_dividing(self) -> bool:
        """Whether windows are being decoded one by one."""
        return bool(self._alone)

    def n_free(self, group: Hashable) -> int:
        """The number of rows that are free in the batch of a group, which may be a new one."""
        batch = self._batches.get(group)
        return self.n_rows if batch is None else batch.n_free

    def n_refilled(self, group: Hashable) -> int:
        """The number of rows of a group that are worth refilling together."""
        batch = self._batches.get(group)
        return 1 if batch is None else batch.n_refilled

    def turn(
        self, group: Hashable, requests: Sequence[Request], *, has_more: bool
    ) -> list[tuple[Request, Answer]]:
        """Adds windows to the batch of a group, and writes tokens until a window or some steps are finished.

        Args:
            group: the group, new or running.
            requests: the windows, no more than rows are free.
            has_more: whether others wait for rows of this batch.

        Returns:
            The windows that have finished, each with its result or the exception that only it raises.

        Raises:
            ModelError: the model does not work at all.
            Exception: raised by `check`.
        """
        self.check()
        if self._alone:
            return self._turn_alone(*self._alone[0])
        batch = self._batches.pop(group, None)
        windows = [*(batch.requests if batch else ()), *requests]
        try:
            batch = batch or self.transcriber.new_batch(group, self.n_rows)
            if requests:
                batch.add(requests)
            n_free = batch.n_free + batch.n_refilled if has_more and batch.requests else None
            answers = _advance(batch, n_free)
        except Exception as error:  # an error of any type, for one window, must not affect the others
            self._halve_rows(error)
            self._alone.extend((group, request) for request in windows)
            return []
        if batch.requests:
            self._batches[group] = batch  # behind the others
        return self._checked(answers)

    def _turn_alone(self, group: Hashable, request: Request) -> list[tuple[Request, Answer]]:
        """Writes tokens of one of the windows that are decoded one by one, or begins it."""
        try:
            if self._single is None:
                self._single = self.transcriber.new_batch(group, self.n_rows)
                self._single.add([request])
            answers = _advance(self._single)
        except Exception as error:  # an error of any type is that of this window, unless silence fails, too
            self._single = None
            if self._halve_rows(error):
                return []  # again, in a smaller batch
            answers = [(request, error)]
        if answers:
            self._alone.popleft()
            self._single = None
        return self._checked(answers)

    def _halve_rows(self, error: Exception) -> bool:
        """Halves the rows of new batches if memory ran out; returns whether it did."""
        if self.n_rows == 1 or not _is_memory_error(error):
            return False
        self.n_rows //= 2
        return True

    def _checked(self, answers: list[tuple[Request, Answer]]) -> list[tuple[Request, Answer]]:
        """Returns the answers, after a check of the model if one is an exception."""
        if any(isinstance(answer, Exception) for _, answer in answers):
            check_transcriber(self.transcriber)
        return answers


def _advance(batch: WindowBatch, n_free: int | None = None) -> list[tuple[Request, Answer]]:
    """Advances a batch, and raises a ValueError if it loses a window."""
    n_windows = len(batch.requests)
    answers = batch.advance(n_free=n_free, max_steps=_MAX_STEPS)
    n_finished = n_windows - len(batch.requests)
    if len(answers) != n_finished:
        raise ValueError(f"the model gave {len(answers)} results for {n_finished} windows")
    return answers


def _is_memory_error(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in _MEMORY_MARKS)


def check_transcriber(transcriber: Transcriber) -> None:
    """Raises `ModelError` if even silence cannot be transcribed: then the model fails, and not the windows.

    Out of memory, or with damaged weights, every recording would otherwise be listed as a failure.
    """
    silence = Request(np.zeros(SAMPLE_RATE, np.float32))
    try:
        batch = transcriber.new_batch(transcriber.batch_group(silence), 1)
        batch.add([silence])
        answers = [answer for _, answer in batch.advance()]
    except Exception as error:  # an error of any type fails the run, and not a recording
        answers = [error]
    for answer in answers:
        if isinstance(answer, Exception):
            raise ModelError(
                f"the model cannot transcribe silence: {type(answer).__name__}: {answer}; if memory ran out, "
                "try a smaller --batch_size"
            ) from answer
