"""A batch that lets windows go, against one that keeps them all."""

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
from model.compiled import waited_s
from model.network import AudioMemory, Decoder, TextCaches
from model.prefill import Asked
from model.rules import DecodingRules, make_rules
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import compiled, random_whisper


@pytest.fixture(scope="module")
def decoder(tiny_checkpoint: Checkpoint) -> Decoder:
    return random_whisper(tiny_checkpoint.config, seed=3).decoder


@pytest.fixture(scope="module")
def rules(tiny_checkpoint: Checkpoint) -> DecodingRules:
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    return make_rules(
        special,
        tiny_checkpoint.decoding,
        multilingual=True,
        task="transcribe",
        timestamps=False,
        max_new_tokens=40,
    )


def ask(rules: DecodingRules, wanted: NDArray[np.bool_]) -> Asked:
    n = len(wanted)
    random = np.random.default_rng(1)
    return Asked(
        wanted=jnp.asarray(wanted),
        language=jnp.zeros(n, jnp.int32),
        temperature=jnp.asarray(([0.0, 3.0] * n)[:n], jnp.float32),
        uniforms=jnp.asarray(random.random((n, rules.max_new_tokens)), jnp.float32),
        prompt=jnp.zeros((n, 0), jnp.int32),
        n_prompt=jnp.zeros(n, jnp.int32),
    )


class Ending:
    """A decoder that ends each window's text at a place of its own, which its audio gives."""

    def __init__(self, decoder: Decoder, end: int) -> None:
        self._decoder, self._end = decoder, end

    def __getattr__(self, name: str) -> object:
        return getattr(self._decoder, name)

    def __call__(
        self,
        tokens: jax.Array,
        position: jax.Array,
        caches: TextCaches,
        memory: AudioMemory,
        padding: jax.Array | None,
    ) -> tuple[jax.Array, TextCaches]:
        logits, caches = self._decoder(tokens, position, caches, memory, padding)
        return self._ended(logits, position, memory), caches

    def branch(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        places: jax.Array,
        mask: jax.Array,
        caches: TextCaches,
        memory: AudioMemory,
    ) -> tuple[jax.Array, TextCaches]:
        logits, caches = self._decoder.branch(tokens, slot, places, mask, caches, memory)
        return self._ended(logits, places[:, :, None], memory), caches

    def _ended(self, logits: jax.Array, place: jax.Array, memory: AudioMemory) -> jax.Array:
        last = 5 + jnp.abs(memory[0].key[:, 0, 0, 0] * 1000).astype(jnp.int32) % 30
        last = last.reshape(-1, *[1] * (logits.ndim - 1))
        return logits.at[..., self._end : self._end + 1].add(jnp.where(place >= last, 1e3, -1e3))


@pytest.mark.parametrize(("method", "beam_size", "n"), [(sampling, 1, 8), (beam_search, 3, 8)])
def test_windows_that_go_change_nothing(
    decoder: Decoder, rules: DecodingRules, method: Method, beam_size: int, n: int
) -> None:
    rules = replace(rules, beam_size=beam_size)
    ending = Ending(decoder, rules.special.end_of_text)
    encoded = jnp.asarray(np.random.default_rng(5).standard_normal((n, 1500, 32)) * 3, jnp.float32)
    asked = ask(rules, np.array([True, True, False, True, True, True, True, False])[:n])
    sizes: list[int] = []
    shrinking = compiled(watched(method, sizes), ending, rules, shrinks=True)(encoded, asked)
    plain = compiled(method, ending, rules)(encoded, asked)
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
        written: Callable[..., object] = staticmethod(method.written)

        @staticmethod
        def advance(*args: object, n_left: int) -> object:
            sizes.append(len(args[2].n_padding if method is beam_search else args[2].tokens))  # type: ignore[attr-defined]
            return method.advance(*args, n_left=n_left)  # type: ignore[arg-type]

    return Watched()  # type: ignore[return-value]


def assert_same(ours: Generated, theirs: Generated) -> None:
    assert ours.n_tokens.tolist() == theirs.n_tokens.tolist()
    for row, n in enumerate(ours.n_tokens.tolist()):
        assert ours.tokens[row, :n].tolist() == theirs.tokens[row, :n].tolist()
    np.testing.assert_array_equal(ours.looped, theirs.looped)
    np.testing.assert_allclose(ours.sum_logprob, theirs.sum_logprob, rtol=1e-4)
    np.testing.assert_allclose(ours.no_speech_prob, theirs.no_speech_prob, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_a_batch_of_any_size_comes_to_its_end(decoder: Decoder, rules: DecodingRules, n: int) -> None:
    short = replace(rules, max_new_tokens=3)
    encoded = jnp.zeros((n, 1500, 32), jnp.float32)
    asked = ask(short, np.arange(n) == n - 1)
    written = compiled(sampling, decoder, short, shrinks=True)(encoded, asked)
    assert written.n_tokens.tolist() == [0] * (n - 1) + [3]


def test_what_was_compiled_is_not_compiled_again(decoder: Decoder, rules: DecodingRules) -> None:
    short = replace(rules, max_new_tokens=3)
    run = compiled(sampling, decoder, short, shrinks=True)
    asked = ask(short, np.arange(8) == 0)
    encoded = jnp.zeros((8, 1500, 32), jnp.float32)
    before = waited_s()
    first = run(encoded, asked)
    waited = waited_s()
    assert waited > before
    assert_same(run(encoded, asked), first)
    assert waited_s() == waited
