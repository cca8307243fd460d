"""The search, against the same algorithm in plain Python: one window at a time, and lists of hypotheses."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model import beam_search, sampling
from model.batch_decoder import Method
from model.checkpoint import Checkpoint
from model.decoder import Decoder
from model.interface import ModelOptions
from model.prefill import DecodeInput
from model.rules import DecodingRules, History, allowed_logits, make_rules
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import compiled, random_whisper

Logprobs = Callable[[list[int]], NDArray[np.float32]]
"""Log probabilities of what may follow the tokens written so far."""


@pytest.fixture(scope="module")
def decoder(tiny_checkpoint: Checkpoint) -> Decoder:
    return random_whisper(tiny_checkpoint.config, seed=3).decoder


@pytest.fixture(scope="module")
def rules(tiny_checkpoint: Checkpoint) -> DecodingRules:
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    options = ModelOptions(beam_size=3, max_new_tokens=9)
    return make_rules(special, tiny_checkpoint.decoding, options, multilingual=True)


def decoder_input(n: int, rules: DecodingRules, prompt: NDArray[np.int32] | None = None) -> DecodeInput:
    return DecodeInput(
        wanted=jnp.ones(n, bool),
        language=jnp.zeros(n, jnp.int32),
        task=jnp.full(n, rules.special.transcribe, jnp.int32),
        temperature=jnp.zeros(n),
        uniforms=jnp.zeros((n, rules.max_new_tokens)),
        prompt=jnp.zeros((n, 0), jnp.int32) if prompt is None else jnp.asarray(prompt),
        n_prompt=jnp.zeros(n, jnp.int32) if prompt is None else jnp.full(n, prompt.shape[1]),
    )


def audio(decoder: Decoder, n: int) -> NDArray[np.float32]:
    d_model = decoder.positions[...].shape[1]
    return np.random.default_rng(5).standard_normal((n, 1500, d_model)).astype(np.float32) * 3


def plain(decoder: Decoder, encoded: NDArray[np.float32], rules: DecodingRules) -> Logprobs:
    """One window's log probabilities; each hypothesis has its own caches, not written to again."""
    special = rules.special
    prompt = jnp.asarray([[special.start_of_transcript, rules.language_ids[0], special.transcribe]])
    cross_kv = decoder.cross_kv(jnp.asarray(encoded[None]))
    run = jax.jit(decoder)
    read = {(): run(prompt, 0, decoder.init_caches(1, 32), cross_kv)}

    def of(written: list[int]) -> NDArray[np.float32]:
        if tuple(written) not in read:
            place = prompt.shape[1] + len(written) - 1
            read[tuple(written)] = run(
                jnp.asarray([written[-1:]]), place, read[tuple(written[:-1])][1], cross_kv
            )
        logits, _ = read[tuple(written)]
        is_time = [token >= special.timestamp_begin for token in written]
        times = [token for token in written if token >= special.timestamp_begin]
        history = History(
            jnp.asarray([is_time[-1] if written else False]),
            jnp.asarray([is_time[-2] if len(written) > 1 else True]),
            jnp.asarray([times[-1] if times else 0]),
        )
        allowed = allowed_logits(logits, history, jnp.asarray(len(written)), rules)[0]
        return np.asarray(allowed - jnp.log(jnp.exp(allowed - allowed.max()).sum()) - allowed.max())

    return of


def plain_search(logprobs_of: Logprobs, rules: DecodingRules) -> tuple[list[int], float]:
    """`BeamSearchDecoder` and `MaximumLikelihoodRanker` of openai/whisper, for one window."""
    k, end = rules.beam_size, rules.special.end_of_text
    beams: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    for _ in range(rules.max_new_tokens):
        candidates = []
        for tokens, total in beams:
            logprobs = logprobs_of(tokens)
            best = np.argsort(-logprobs)[: k + 1]
            candidates += [([*tokens, int(token)], total + float(logprobs[token])) for token in best]
        beams = []
        for tokens, total in sorted(candidates, key=lambda one: -one[1]):
            if tokens[-1] == end:
                finished.append((tokens[:-1], total))
            else:
                beams.append((tokens, total))
            if len(beams) == k:
                break
        if len(finished) >= round(k * rules.patience):
            break
    finished = finished[: round(k * rules.patience)]
    finished += beams[: max(k - len(finished), 0)]

    def score(one: tuple[list[int], float]) -> float:
        if rules.length_penalty is None:
            return one[1] / max(len(one[0]), 1)
        return one[1] / ((5 + len(one[0])) / 6) ** rules.length_penalty

    return max(finished, key=score)


@pytest.mark.parametrize(
    ("patience", "length_penalty"), [(1.0, None), (2.0, None), (0.4, None), (1.0, 0.0), (1.0, 1.0)]
)
def test_the_search_finds_what_the_plain_one_finds(
    decoder: Decoder, rules: DecodingRules, patience: float, length_penalty: float | None
) -> None:
    rules = replace(rules, patience=patience, length_penalty=length_penalty)
    encoded = audio(decoder, 2)
    found = compiled(beam_search, decoder, rules)(jnp.asarray(encoded), decoder_input(2, rules))
    for row in range(2):
        tokens, total = plain_search(plain(decoder, encoded[row], rules), rules)
        assert found.tokens[row, : int(found.n_tokens[row])].tolist() == tokens
        assert float(found.sum_logprob[row]) == pytest.approx(total, abs=1e-3)


def test_a_beam_of_one_is_greedy(decoder: Decoder, rules: DecodingRules) -> None:
    encoded = jnp.asarray(audio(decoder, 3))
    greedy = replace(rules, beam_size=1)
    expected = compiled(sampling, decoder, greedy)(encoded, decoder_input(3, greedy))
    found = compiled(beam_search, decoder, greedy)(encoded, decoder_input(3, greedy))
    assert found.n_tokens.tolist() == expected.n_tokens.tolist()
    for row, n in enumerate(found.n_tokens.tolist()):
        assert found.tokens[row, :n].tolist() == expected.tokens[row, :n].tolist()
    np.testing.assert_allclose(found.sum_logprob, expected.sum_logprob, rtol=1e-4)
    np.testing.assert_allclose(found.no_speech_prob, expected.no_speech_prob, rtol=1e-4)


def test_a_window_that_is_done_is_not_changed_by_one_that_is_not(
    decoder: Decoder, rules: DecodingRules
) -> None:
    encoded = jnp.asarray(audio(decoder, 4))
    run = compiled(beam_search, decoder, rules)
    together = run(encoded, decoder_input(4, rules))
    for row in range(4):
        alone = run(encoded[row : row + 1], decoder_input(1, rules))
        n = int(alone.n_tokens[0])
        assert int(together.n_tokens[row]) == n
        assert together.tokens[row, :n].tolist() == alone.tokens[0, :n].tolist()


@pytest.mark.parametrize("method", [sampling, beam_search])
def test_padding_before_a_prompt_changes_nothing(
    decoder: Decoder, rules: DecodingRules, method: Method
) -> None:
    encoded = jnp.asarray(audio(decoder, 2))
    special = rules.special
    prompt = np.array([[special.start_of_previous, 4, 5, 6]] * 2, np.int32)
    padded = np.concatenate([np.full((2, 12), special.end_of_text, np.int32), prompt], axis=1)
    run = compiled(method, decoder, rules)
    short = run(encoded, decoder_input(2, rules, prompt))
    long = run(encoded, decoder_input(2, rules, padded)._replace(n_prompt=jnp.full(2, 4)))
    without = run(encoded, decoder_input(2, rules))
    assert short.n_tokens.tolist() == long.n_tokens.tolist()
    np.testing.assert_allclose(short.sum_logprob, long.sum_logprob, rtol=1e-4)
    np.testing.assert_allclose(short.no_speech_prob, long.no_speech_prob, rtol=1e-3)
    assert not np.allclose(short.sum_logprob, without.sum_logprob, rtol=1e-3)
