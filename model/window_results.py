"""Results of windows, from the tokens that are written in their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.align import Alignment, TokenBatch, pack
from model.interface import TRANSLATE, WINDOW_SAMPLES, Request, WindowResult
from model.row_inputs import RowInputs
from model.rows import Written
from model.rules import DecodingRules
from model.tokens import WhisperTokenizer, compression_ratio, segments_of
from model.word_times import add_words

_MIN_LANGUAGE_PROB = 1e-3  # less does not affect a vote, and there are a hundred languages


class WindowResults:
    """Makes results of what is written in rows.

    Args:
        tokenizer: tokenizer of the model.
        rules: the decoding rules.
        inputs: made the inputs of the rows.
    """

    def __init__(self, tokenizer: WhisperTokenizer, rules: DecodingRules, inputs: RowInputs) -> None:
        self._tokenizer, self._rules, self._inputs = tokenizer, rules, inputs

    def result(self, written: Written, row: int, request: Request) -> WindowResult:
        """Returns the result of a row, without words.

        Raises:
            ValueError: its probabilities are not finite.
        """
        if not np.isfinite(written.sum_logprob[row]):
            raise ValueError(
                "the model's probabilities are not finite: its weights are damaged, or the dtype is too "
                "narrow for them; try --dtype float32"
            )
        n_tokens, repeated = int(written.n_tokens[row]), bool(written.repeated[row])
        ids = [int(token) for token in written.tokens[row, :n_tokens]]
        complete = n_tokens < self._rules.max_new_tokens and not repeated
        codes = self._inputs.codes
        language = codes[int(written.start.language[row])] if codes else "en"
        logprobs = np.asarray(written.start.language_logprobs[row])
        return WindowResult(
            segments=segments_of(ids, self._tokenizer, len(request.samples), complete=complete),
            language=language,
            language_probs=self._language_probs(logprobs) if request.language is None else {},
            avg_logprob=float(written.sum_logprob[row]) / (n_tokens + 1),
            no_speech_prob=float(written.start.no_speech_prob[row]),
            compression_ratio=compression_ratio(self._tokenizer.decode(ids).strip()),
            temperature=request.temperature,
            repeated=repeated,
            timestamped=request.timestamps,
            is_short=self._inputs.encoded_length(request) < WINDOW_SAMPLES,
        )

    def to_align(self, result: WindowResult, request: Request) -> TokenBatch | None:
        """Returns the text of a result, to be aligned; None if it has none, or no words are requested."""
        tokens = [token for segment in result.segments for token in segment.tokens]
        if not request.word_timestamps or not tokens:
            return None
        prefix = self._inputs.text_prefix(result.language, request.task)
        return pack(
            prefix,
            tokens,
            self._tokenizer.special.end_of_text,
            n_samples=len(request.samples),
            n_encoded=self._inputs.encoded_length(request),
        )

    def with_words(
        self, result: WindowResult, request: Request, tokens: TokenBatch, alignment: Alignment
    ) -> WindowResult:
        """Returns a result with words in its segments."""
        language = "en" if request.task == TRANSLATE else result.language
        (segments,) = add_words(
            [result.segments], tokens, alignment, self._tokenizer, [len(request.samples)], [language]
        )
        return replace(result, segments=segments)

    def _language_probs(self, logprobs: NDArray[np.float32]) -> Mapping[str, float]:
        codes: Sequence[str] = self._inputs.codes
        if not codes:
            return {"en": 1.0}
        probs = zip(codes, np.exp(logprobs), strict=True)
        return {code: float(prob) for code, prob in probs if prob >= _MIN_LANGUAGE_PROB}
