"""Times of the parts of the network, each compiled and measured separately, for `benchmarks.profile`.

Weights are random, as their values do not affect the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.support.timing import time_jax
from model import sampling
from model.align import TokenBatch, align, pack
from model.alignment_heads import Heads
from model.cache_sizes import n_slots
from model.compiled import small_buffers
from model.config import N_POSITIONS, WhisperConfig
from model.decoder import CrossKV
from model.interface import WINDOW_SAMPLES
from model.log_mel import log_mel
from model.method_programs import empty_input
from model.network import Whisper
from model.precision import Precision
from model.rules import DecodingRules, Step, best_token, initial_history
from model.text_cache import n_text_tokens

Block = Callable[[Whisper, Any], object]

SAMPLES_PER_POSITION = WINDOW_SAMPLES // N_POSITIONS

_STEPS = 16  # of the timed loop; inside a loop caches are written in place, as in decoding
_N_ALIGNED = 50  # tokens of a text


class AudioParts:
    """Measures the seconds from samples to the keys and values of the cross-attention.

    Args:
        config: sizes of the network.
        precision: arithmetic of the network.
    """

    def __init__(self, config: WhisperConfig, precision: Precision) -> None:
        self._config, self._precision = config, precision
        self._network = Whisper(config, precision=precision)

    def mel_s(self, batch: int, n_samples: int = WINDOW_SAMPLES) -> float:
        """Returns the seconds of the log-mel of a batch of windows of `n_samples`."""
        n_mels = self._config.n_mels
        samples = self._samples(batch, n_samples)
        return self._time(lambda network, x: log_mel(x, n_mels), samples, small_buffers())

    def encoder_s(self, batch: int, n_samples: int = WINDOW_SAMPLES) -> float:
        """Returns the seconds of encoding the log-mel of a batch of windows of `n_samples`."""
        mels = log_mel(self._samples(batch, n_samples), self._config.n_mels).astype(self._precision.dtype)
        return self._time(lambda network, x: network.encoder(x), mels, small_buffers())

    def cross_kv_s(self, batch: int, n_samples: int = WINDOW_SAMPLES) -> float:
        """Returns the seconds of the cross-attention's keys and values of a batch of windows."""
        encoded = self._encoded(batch, n_samples // SAMPLES_PER_POSITION)
        return self._time(lambda network, x: network.decoder.cross_kv(x), encoded, small_buffers())

    def audio_program(self, n_samples: int) -> Callable[[], object]:
        """Returns a call of the program from the samples of one window to the keys and values."""
        n_mels, dtype = self._config.n_mels, self._precision.dtype

        def cross_kv(network: Whisper, samples: jax.Array) -> CrossKV:
            return network.decoder.cross_kv(network.encoder(log_mel(samples, n_mels).astype(dtype)))

        return self._compiled(cross_kv, self._samples(1, n_samples), small_buffers())

    def _time(self, block: Block, argument: object, options: dict[str, str] | None = None) -> float:
        """Returns the median seconds of a compiled part of the network."""
        return time_jax(self._compiled(block, argument, options)).median

    def _compiled(
        self, block: Block, argument: object, options: dict[str, str] | None
    ) -> Callable[[], object]:
        graph, weights = nnx.split(self._network)
        compiled = jax.jit(
            lambda weights, argument: block(nnx.merge(graph, weights), argument), compiler_options=options
        )
        return partial(compiled, weights, argument)

    def _cross_kv(self, batch: int) -> CrossKV:
        cross_kv: CrossKV = jax.jit(self._network.decoder.cross_kv)(self._encoded(batch))
        return cross_kv

    def _samples(self, batch: int, n_samples: int = WINDOW_SAMPLES) -> jax.Array:
        return 0.1 * jax.random.normal(jax.random.key(0), (batch, n_samples))

    def _encoded(self, batch: int, n_positions: int = N_POSITIONS) -> jax.Array:
        shape = (batch, n_positions, self._config.d_model)
        return jax.random.normal(jax.random.key(0), shape).astype(self._precision.dtype)


class NetworkParts(AudioParts):
    """Measures the seconds of each part of the network.

    Args:
        config: sizes of the network.
        precision: arithmetic of the network.
        rules: decoding rules.
        timestamps: whether times are written.
    """

    def __init__(
        self, config: WhisperConfig, precision: Precision, rules: DecodingRules, *, timestamps: bool
    ) -> None:
        super().__init__(config, precision)
        self._rules, self._timestamps = rules, timestamps

    def step_s(self, rows: int) -> float:
        """Returns the seconds of one decoding step of a batch, including logits and rules."""
        n_prefix = self._rules.n_prefix(timestamps=self._timestamps)
        given = empty_input(0, self._rules)._replace(
            n_prefix=jnp.int32(n_prefix),
            timestamps=jnp.bool_(self._timestamps),
            n_positions=jnp.int32(N_POSITIONS),
        )
        n_run = n_prefix + self._rules.max_new_tokens // 4

        def steps(network: Whisper, cross_kv: CrossKV) -> jax.Array:
            caches = network.decoder.init_caches(1, n_slots(0, 1, n_text_tokens(self._rules)))
            state = sampling.new_state(given, caches, self._rules)
            state = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), state)
            state = state._replace(rows=state.rows._replace(n_run=jnp.full(rows, n_run, jnp.int32)))
            written: sampling.SamplingState = jax.lax.fori_loop(
                0,
                _STEPS,
                lambda _, state: sampling.write_next(network.decoder, cross_kv, state, self._rules),
                state,
            )
            return written.samples.tokens

        return self._time(steps, self._cross_kv(rows)) / _STEPS

    def logits_s(self, rows: int) -> float:
        """Returns the seconds of the logits of a batch, and of choosing a token by the rules."""
        return self._head_s(rows, lambda network, x, others: network.decoder.logits(x))

    def rules_s(self, rows: int) -> float:
        """Returns the seconds of choosing the tokens of a batch by the rules."""
        return self._head_s(rows, lambda network, x, others: others + x[:, :1])

    def align_s(self, heads: Heads) -> float:
        """Returns the seconds of aligning the text of a window."""
        cross_kv = self._cross_kv(1)
        end_of_text = self._rules.special.end_of_text
        packed = pack(
            [0] * self._rules.n_before_text,
            [0] * _N_ALIGNED,
            end_of_text,
            n_samples=WINDOW_SAMPLES,
            n_encoded=WINDOW_SAMPLES,
        )
        tokens = TokenBatch(*map(jnp.asarray, packed))

        def aligned(network: Whisper, tokens: TokenBatch) -> object:
            n_prompt = self._rules.n_before_text
            return align(
                network.decoder, cross_kv, tokens, heads=heads, n_prompt=n_prompt, end_of_text=end_of_text
            )

        return self._time(aligned, tokens)

    def _head_s(self, rows: int, logits_of: Callable[[Whisper, jax.Array, jax.Array], jax.Array]) -> float:
        def steps(network: Whisper, arguments: tuple[jax.Array, jax.Array]) -> jax.Array:
            def step(i: jax.Array, x: jax.Array) -> jax.Array:
                logits = logits_of(network, x, arguments[1])
                written, last = jnp.full(rows, i), jnp.full(rows, self._config.n_vocab)
                now = Step(written, jnp.full(rows, self._timestamps), last, last)
                token, logprob = best_token(logits, initial_history(rows), now, self._rules)
                return x + (token + logprob)[:, None].astype(x.dtype)  # makes the next step depend on it

            y: jax.Array = jax.lax.fori_loop(0, _STEPS, step, arguments[0])
            return y

        x = jnp.ones((rows, self._config.d_model), self._precision.dtype)
        others = jax.random.normal(jax.random.key(0), (rows, self._config.n_vocab))
        return self._time(steps, (x, others)) / _STEPS
