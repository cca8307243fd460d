"""The prompts that the decoder reads, and the languages and no-speech probabilities that it yields."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model.decoder import CrossKV, TextCaches
from model.prefill import DETECT_LANGUAGE, padding_of
from model.rules import DecodingRules
from tests.model.test_sampling import (
    END,
    FR,
    NO_SPEECH,
    NO_TIMES,
    PLAIN,
    PREVIOUS,
    RULES,
    START,
    TRANSCRIBE,
    TRANSLATE,
    Script,
    at,
    decode,
    decoder_input,
)


@pytest.mark.parametrize(
    ("rules", "prompt"),
    [
        (RULES, [START, FR, TRANSCRIBE]),
        (PLAIN, [START, FR, TRANSCRIBE, NO_TIMES]),
        (replace(RULES, language_ids=()), [START]),
        (replace(PLAIN, language_ids=()), [START, NO_TIMES]),
    ],
)
def test_the_prompt(rules: DecodingRules, prompt: list[int]) -> None:
    assert prompts_of(rules)[0] == prompt


def prompts_of(rules: DecodingRules, **changed: jax.Array) -> list[list[int]]:
    """The tokens that the decoder reads of two windows in French before it writes."""
    fed: list[NDArray[np.int32]] = []

    class Recording(Script):
        def __call__(
            self,
            tokens: jax.Array,
            position: jax.Array | int,
            caches: TextCaches,
            cross_kv: CrossKV,
            n_padding: jax.Array | None = None,
        ) -> tuple[jax.Array, TextCaches]:
            if not isinstance(tokens, jax.core.Tracer):
                fed.append(np.asarray(tokens))
            return super().__call__(tokens, position, caches, cross_kv, n_padding)

    decoder = Recording([{at(0): 9, 1: 9}], rules)
    decode(decoder, decoder_input([1, 1], rules, **changed), rules)
    return np.concatenate(fed, axis=1).tolist()


def test_each_window_has_its_own_task() -> None:
    tasks = jnp.asarray([TRANSLATE, TRANSCRIBE])
    assert prompts_of(RULES, task=tasks) == [[START, FR, TRANSLATE], [START, FR, TRANSCRIBE]]


def test_previous_text_comes_first_and_is_aligned_to_the_right() -> None:
    previous = jnp.asarray([[PREVIOUS, 1, 2], [END, PREVIOUS, 3]])
    n_prompt = jnp.asarray([3, 2])
    (first, _), (second, _) = (
        (tokens[:4], tokens[4:]) for tokens in prompts_of(RULES, prompt=previous, n_prompt=n_prompt)
    )
    assert (first, second) == ([PREVIOUS, 1, 2, START], [END, PREVIOUS, 3, START])
    padding = padding_of(decoder_input([1, 1], RULES, prompt=previous, n_prompt=n_prompt))
    assert padding is not None
    assert padding.tolist() == [0, 1]
    assert padding_of(decoder_input([1])) is None


def test_language_is_detected_only_when_it_is_not_given() -> None:
    decoder = Script([], RULES)
    decoder.logits[0, FR] = 3.0
    decode_input = decoder_input([DETECT_LANGUAGE, 0])
    generated = decode(decoder, decode_input, RULES)
    assert generated.language.tolist() == [1, 0]
    posterior = np.exp(np.asarray(generated.language_logprobs[0]))
    np.testing.assert_allclose(posterior, [1 / (1 + np.exp(13)), 1 / (1 + np.exp(-13))], rtol=1e-4)


def test_no_speech_is_read_at_the_start_of_the_transcript() -> None:
    decoder = Script([], RULES)
    decoder.logits[0] = -30.0
    decoder.logits[0, [NO_SPEECH, 5]] = [1.0, 2.0]
    generated = decode(decoder, decoder_input([0]), RULES)
    assert float(generated.no_speech_prob[0]) == pytest.approx(1 / (1 + np.e), rel=1e-4)
