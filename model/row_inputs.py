"""Requests as the decoder takes them: ids of prefix and prompt, limits of times, random numbers."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.cache_sizes import MAX_PREFIX
from model.config import MAX_TEXT_POSITIONS
from model.interface import TASKS, TRANSLATE, WINDOW_SAMPLES, Request
from model.method_programs import BEAM_SEARCH, BEST_OF, SAMPLING, BatchKind
from model.rows import DETECT_LANGUAGE, UNKNOWN_TOKEN, RowInput
from model.rules import DecodingRules
from model.tokens import SAMPLES_PER_TIMESTAMP, WhisperTokenizer
from model.window_length import SHORT_LANGUAGE, decoded_length, encoded_length, last_times

_PROMPT_SLOTS = (0, 64, 256, MAX_TEXT_POSITIONS)


class RowInputs:
    """Makes the input of a row from a request.

    Args:
        tokenizer: tokenizer of the model.
        rules: the decoding rules.
        name: name of the model, for messages.
        full_windows: whether each window is given to the network with 30 s.

    Attributes:
        codes: codes of the languages of the model, in the order of `DecodingRules.language_ids`; empty for
            English-only models.
    """

    def __init__(
        self, tokenizer: WhisperTokenizer, rules: DecodingRules, name: str, *, full_windows: bool
    ) -> None:
        self._tokenizer, self._rules, self._name = tokenizer, rules, name
        self._full_windows = full_windows
        self.codes = list(tokenizer.special.languages) if rules.language_ids else []

    @property
    def prompt_slots(self) -> list[int]:
        """The values of `BatchKind.n_before` of all requests."""
        longest = self._rules.max_prompt(timestamps=True)
        shorter = (-1, *_PROMPT_SLOTS[:-1])
        return [n for n, below in zip(_PROMPT_SLOTS, shorter, strict=True) if below < longest]

    def kind(self, request: Request) -> BatchKind:
        """Returns the kind of the batches that can take a request."""
        n_prompt = len(self._previous_text(request))
        return BatchKind(
            length=decoded_length(self.encoded_length(request)),
            n_before=next(n for n in _PROMPT_SLOTS if n_prompt <= n),
            method=self._method(request.temperature),
        )

    def _method(self, temperature: float) -> str:
        if temperature > 0:
            return BEST_OF if self._rules.best_of > 1 else SAMPLING
        return BEAM_SEARCH if self._rules.beam_size > 1 else SAMPLING

    def encoded_length(self, request: Request) -> int:
        """Returns the samples that the encoder is given of a request's window and its padding.

        Without timestamps it is always 30 s: nothing else ends a text that the model repeats. So it is where
        the language is known not to be English, as other languages lost words (docs/performance.md).
        """
        is_foreign = request.language not in (None, SHORT_LANGUAGE)
        full = self._full_windows or request.full_window or is_foreign or not request.timestamps
        return encoded_length(len(request.samples), full=full)

    def row(self, request: Request, kind: BatchKind) -> RowInput:
        """Returns the input of a request, in a batch of its kind.

        Raises:
            ValueError: samples that are not finite or too many, or a language or task that the model does not
                know.
        """
        special, rules = self._tokenizer.special, self._rules
        check_samples(request.samples)
        language = self._language_index(request.language)
        prefix = [special.start_of_transcript]
        if self.codes:
            prefix += [UNKNOWN_TOKEN if language == DETECT_LANGUAGE else rules.language_ids[language]]
        task = self._task_id(request.task)
        prefix += [task] if self.codes else []
        prefix += [] if request.timestamps else [special.no_timestamps]
        prompt, length = self._previous_text(request), self.encoded_length(request)
        last_start, last_time = last_times(len(request.samples), length)
        uniforms = np.zeros((1, rules.max_new_tokens), np.float32)
        if request.temperature > 0:
            n_hypotheses = rules.best_of if kind.method == BEST_OF else 1
            uniforms = _uniforms(request.seed, n_hypotheses, rules.max_new_tokens)
        begin = special.timestamp_begin
        given = (
            _padded(prefix, MAX_PREFIX),
            np.int32(len(prefix)),
            np.int32(language),
            np.bool_(request.timestamps),
            np.int32(begin + last_start),
            np.int32(begin + last_time),
            np.float32(request.temperature),
            uniforms,
            _padded(prompt, kind.n_before),
            np.int32(len(prompt)),
            np.int32(length // SAMPLES_PER_TIMESTAMP),
        )
        return RowInput(*map(jnp.asarray, given))

    def text_prefix(self, language: str, task: str) -> list[int]:
        """Returns the tokens before a text without timestamps."""
        special = self._tokenizer.special
        tokens = [special.languages[language], self._task_id(task)] if self.codes else []
        return [special.start_of_transcript, *tokens, special.no_timestamps]

    def _previous_text(self, request: Request) -> list[int]:
        """Returns the ids before the prefix: hot words, the end of the prompt, that of previous segments."""
        hotwords, prompt = (
            self._tokenizer.encode_text(f" {text.strip()}") if text.strip() else []
            for text in (request.hotwords, request.prompt)
        )
        n_free = max(self._rules.max_prompt(timestamps=request.timestamps) - 1, 0)
        kept = hotwords[:n_free]
        for ids in (prompt, list(self._previous_ids(request))):
            kept += ids[max(len(ids) - (n_free - len(kept)), 0) :]
        return [self._tokenizer.special.start_of_previous, *kept] if kept else []

    def _previous_ids(self, request: Request) -> Iterator[int]:
        """Yields the ids of previous segments; with timestamps, between those of their times."""
        begin = self._tokenizer.special.timestamp_begin
        for segment in request.previous:
            first, last = (
                begin + round(time / SAMPLES_PER_TIMESTAMP) for time in (segment.start, segment.stop)
            )
            yield from (first, *segment.tokens, last) if request.timestamps else segment.tokens

    def _language_index(self, code: str | None) -> int:
        if code is None:
            return DETECT_LANGUAGE
        known = self.codes or ["en"]
        if code not in known:
            raise ValueError(f"language {code!r} is unknown to this model; it knows {', '.join(known)}")
        return known.index(code)

    def _task_id(self, task: str) -> int:
        if task not in TASKS:
            raise ValueError(f"task {task!r} is unknown; use {' or '.join(TASKS)}")
        if task == TRANSLATE and not self.codes:
            raise ValueError(f"model {self._name!r} knows English only: it cannot translate")
        special = self._tokenizer.special
        return special.translate if task == TRANSLATE else special.transcribe


def hypothesis_seed(seed: int, number: int) -> int:
    """Returns the seed of a hypothesis, by its number and its request's seed, which is that of hypothesis 0.

    Philox takes 128 bits, and a request's seed has 64: no other hypothesis, or request, has the same.
    """
    return seed + (number << 64)


def check_samples(samples: NDArray[np.float32]) -> None:
    """Raises `ValueError` if samples are no window: too many or none, or not finite."""
    if samples.ndim != 1 or not 1 <= len(samples) <= WINDOW_SAMPLES:
        raise ValueError(f"a window must have 1 to {WINDOW_SAMPLES} samples, not shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("a window holds samples that are NaN or infinite")


def _padded(ids: list[int], length: int) -> NDArray[np.int32]:
    padded = np.zeros(length, np.int32)
    padded[: len(ids)] = ids
    return padded


def _uniforms(seed: int, n_hypotheses: int, n: int) -> NDArray[np.float32]:
    """Returns numbers in [0, 1) by Philox (Salmon et al., 2011): `n` for each hypothesis, from its seed."""
    seeds = (hypothesis_seed(seed, number) for number in range(n_hypotheses))
    return np.stack([np.random.Generator(np.random.Philox(key=one)).random(n, np.float32) for one in seeds])
