"""A batch that removes windows that have finished, against one that keeps them all."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model import beam_search, sampling
from model.batch_decoder import Generated, Method
from model.checkpoint import Checkpoint
from model.compiled import compile_wait_s
from model.decoder import CrossKV, Decoder, TextCaches
from model.interface import ModelOptions
from model.prefill import DecodeInput
from model.rules import DecodingRules, make_rules
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import compiled, random_whisper


@pytest.fixture(scope="module")
def decoder(tiny_checkpoint: Checkpoint) -> Decoder:
    return random_whisper(tiny_checkpoint.config, seed=3).decoder


@pytest.fixture(scope="module")
def rules(tiny_checkpoint: Checkpoint) -> DecodingRules:
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    options = ModelOptions(beam_size=1, max_new_tokens=40)
    return make_rules(special, tiny_checkpoint.decoding, options, multilingual=True).with_timestamps(False)


def decoder_input(rules: DecodingRules, wanted: NDArray[np.bool_]) -> DecodeInput:
    n = len(wanted)
    random = np.random.default_rng(1)
    return DecodeInput(
        wanted=jnp.asarray(wanted),
        language=jnp.zeros(n, jnp.int32),
        task=jnp.full(n, rules.special.transcribe, jnp.int32),
        temperature=jnp.asarray(([0.0, 3.0] * n)[:n], jnp.float32),
        uniforms=jnp.asarray(random.random((n, rules.max_new_tokens)), jnp.float32),
        prompt=jnp.zeros((n, 0), jnp.int32),
        n_prompt=jnp.zeros(n, jnp.int32),
    )


class Ending:
    """A decoder that ends each window's text at a position of its own, given by its audio."""

    def __init__(self, decoder: Decoder, end: int) -> None:
        self._decoder, self._end = decoder, end

    def __getattr__(self, name: str) -> object:
        return getattr(self._decoder, name)

    def __call__(
        self,
        tokens: jax.Array,
        position: jax.Array,
        caches: TextCaches,
        cross_kv: CrossKV,
        padding: jax.Array | None,
    ) -> tuple[jax.Array, TextCaches]:
        logits, caches = self._decoder(tokens, position, caches, cross_kv, padding)
        return self._ended(logits, position, cross_kv), caches

    def decode_beams(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        places: jax.Array,
        mask: jax.Array,
        caches: TextCaches,
        cross_kv: CrossKV,
    ) -> tuple[jax.Array, TextCaches]:
        logits, caches = self._decoder.decode_beams(tokens, slot, places, mask, caches, cross_kv)
        return self._ended(logits, places[:, :, None], cross_kv), caches

    def _ended(self, logits: jax.Array, place: jax.Array, cross_kv: CrossKV) -> jax.Array:
        last = 5 + jnp.abs(cross_kv[0].key[:, 0, 0, 0] * 1000).astype(jnp.int32) % 30
        last = last.reshape(-1, *[1] * (logits.ndim - 1))
        return logits.at[..., self._end : self._end + 1].add(jnp.where(place >= last, 1e3, -1e3))


@pytest.mark.parametrize(("method", "beam_size", "n"), [(sampling, 1, 8), (beam_search, 3, 8)])
def test_removing_windows_changes_nothing(
    decoder: Decoder, rules: DecodingRules, method: Method, beam_size: int, n: int
) -> None:
    rules = replace(rules, beam_size=beam_size)
    ending = Ending(decoder, rules.special.end_of_text)
    encoded = jnp.asarray(np.random.default_rng(5).standard_normal((n, 1500, 32)) * 3, jnp.float32)
    decode_input = decoder_input(rules, np.array([True, True, False, True, True, True, True, False])[:n])
    sizes: list[int] = []
    shrinking = compiled(watched(method, sizes), ending, rules, shrinks=True)(encoded, decode_input)
    plain = compiled(method, ending, rules)(encoded, decode_input)
    assert len(set(plain.n_tokens.tolist())) > 3, "they end at the same time: nothing is tested"
    assert sizes[0] == n
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) < n
    assert_same(shrinking, plain)


def watched(method: Method, sizes: list[int]) -> Method:
    """The same method, which notes the size of each batch that it is compiled for."""

    class Watched:
        __name__ = method.__name__
        start: Callable[..., object] = staticmethod(method.start)
        is_finished: Callable[..., object] = staticmethod(method.is_finished)
        finalize: Callable[..., object] = staticmethod(method.finalize)

        @staticmethod
        def advance(*args: object, max_unfinished: int) -> object:
            sizes.append(len(args[2].n_padding if method is beam_search else args[2].tokens))  # type: ignore[attr-defined]
            return method.advance(*args, max_unfinished=max_unfinished)  # type: ignore[arg-type]

    return Watched()  # type: ignore[return-value]


def assert_same(ours: Generated, theirs: Generated) -> None:
    assert ours.n_tokens.tolist() == theirs.n_tokens.tolist()
    for row, n in enumerate(ours.n_tokens.tolist()):
        assert ours.tokens[row, :n].tolist() == theirs.tokens[row, :n].tolist()
    np.testing.assert_array_equal(ours.repeated, theirs.repeated)
    np.testing.assert_allclose(ours.sum_logprob, theirs.sum_logprob, rtol=1e-4)
    np.testing.assert_allclose(ours.no_speech_prob, theirs.no_speech_prob, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_a_batch_of_any_size_comes_to_its_end(decoder: Decoder, rules: DecodingRules, n: int) -> None:
    short = replace(rules, max_new_tokens=3)
    encoded = jnp.zeros((n, 1500, 32), jnp.float32)
    decode_input = decoder_input(short, np.arange(n) == n - 1)
    decoded = compiled(sampling, decoder, short, shrinks=True)(encoded, decode_input)
    assert decoded.n_tokens.tolist() == [0] * (n - 1) + [3]


def test_what_was_compiled_is_not_compiled_again(decoder: Decoder, rules: DecodingRules) -> None:
    short = replace(rules, max_new_tokens=3)
    run = compiled(sampling, decoder, short, shrinks=True)
    decode_input = decoder_input(short, np.arange(8) == 0)
    encoded = jnp.zeros((8, 1500, 32), jnp.float32)
    before = compile_wait_s()
    first = run(encoded, decode_input)
    waited = compile_wait_s()
    assert waited > before
    assert_same(run(encoded, decode_input), first)
    assert compile_wait_s() == waited
