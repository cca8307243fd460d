"""Random networks for tests, windows for their decoders, and batches whose rows the test fills."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from model.cache_sizes import MAX_PREFIX
from model.config import WhisperConfig
from model.decoder import CrossKV, Decoder, Slots, TextCaches
from model.method_programs import EncodedWindow, Method, MethodPrograms
from model.network import Whisper
from model.precision import Precision
from model.rows import DETECT_LANGUAGE, UNKNOWN_TOKEN, RowInput, Written
from model.rules import DecodingRules, History, Step, allowed_logits
from model.sharding import make_mesh
from model.window_length import N_TIMESTAMPS

Logprobs = Callable[[Sequence[int]], NDArray[np.float32]]
"""Log probabilities of what may follow the tokens written so far."""

FLOAT32 = Precision(np.dtype(np.float32))
NO_WEIGHTS = nnx.State({})  # those of a decoder that a program holds as constants
NO_LIMIT = 10_000  # steps
NO_LIMITS = (N_TIMESTAMPS - 1, N_TIMESTAMPS - 1)  # of times
PLAIN_LENGTH = 64  # tokens of prompt, prefix and text


def random_whisper(config: WhisperConfig, precision: Precision = FLOAT32, seed: int = 0) -> Whisper:
    """A network with random weights of the scale of an initialised network."""
    random = np.random.default_rng(seed)
    network = Whisper(config, precision=precision)

    def fill(path: tuple[object, ...], weight: jax.Array) -> jax.Array:
        if weight.ndim != 2 or "positions" in str(path):
            return weight
        return jnp.asarray(random.standard_normal(weight.shape) * weight.shape[0] ** -0.5, weight.dtype)

    nnx.update(network, jax.tree_util.tree_map_with_path(fill, nnx.state(network)))
    return network


def random_decoder(config: WhisperConfig, seed: int = 0) -> Decoder:
    """A decoder with random weights, whose states also depend on the positions of the tokens."""
    decoder = random_whisper(config, seed=seed).decoder
    shape = decoder.positions[...].shape
    decoder.positions[...] = jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)
    return decoder


def decoder_that_ends(config: WhisperConfig, rules: DecodingRules) -> tuple[Decoder, DecodingRules]:
    """A random decoder that often ends a text before its limit, and the rules with few other ids for that."""
    decoder, special = random_decoder(config, seed=3), rules.special
    table = decoder.embedding.embedding
    table[...] = table[...].at[special.end_of_text].multiply(4)
    others = {*range(12, special.end_of_text), *special.languages.values()}
    return decoder, replace(rules, suppress_ids=tuple(sorted({*rules.suppress_ids, *others})))


def whole_text_logits(decoder: Decoder, tokens: jax.Array, cross_kv: CrossKV) -> jax.Array:
    """Logits float32[B, T, V] of what follows each token of whole texts [B, T]: no slots and no steps."""
    x = decoder.embedding(tokens) + decoder.positions[...][: tokens.shape[1]]
    everything = jnp.ones((1, 1, 1, jax.tree.leaves(cross_kv)[0].shape[2]), bool)
    for layer, layer_cross_kv in zip(decoder.layers, cross_kv, strict=True):
        x, _ = layer.forward(x, layer_cross_kv, everything)
    return decoder.logits(decoder.norm(x))


@functools.cache
def _whole_text_program(decoder: Decoder) -> Callable[[jax.Array, CrossKV], jax.Array]:
    program: Callable[[jax.Array, CrossKV], jax.Array] = jax.jit(
        functools.partial(whole_text_logits, decoder)
    )
    return program


def plain_logprobs(
    decoder: Decoder,
    cross_kv: CrossKV,
    rules: DecodingRules,
    prefix: Sequence[int],
    *,
    timestamps: bool = True,
    last_times: tuple[int, int] = NO_LIMITS,
) -> Logprobs:
    """Log probabilities for one window, from its whole text each time; `last_times` in steps of 20 ms."""
    begin = rules.special.timestamp_begin
    last_start, last_time = (jnp.asarray([begin + time]) for time in last_times)
    run = _whole_text_program(decoder)
    known: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def of(written: Sequence[int]) -> NDArray[np.float32]:
        if tuple(written) not in known:
            tokens = [*prefix, *written]
            padded = jnp.asarray([tokens + [0] * (PLAIN_LENGTH - len(tokens))])
            logits = run(padded, cross_kv)[:, len(tokens) - 1]
            is_time = [True, *(token >= begin for token in written)]
            history = History(
                jnp.asarray([is_time[-1] and bool(written)]),
                jnp.asarray([is_time[-2] if written else True]),
                jnp.asarray([max((token for token in written if token >= begin), default=0)]),
            )
            step = Step(jnp.asarray([len(written)]), jnp.asarray([timestamps]), last_start, last_time)
            allowed = allowed_logits(logits, history, step, rules)
            known[tuple(written)] = np.asarray(jax.nn.log_softmax(allowed)[0])
        return known[tuple(written)]

    return of


def random_audio(decoder: Decoder, n: int, n_positions: int = 100) -> jax.Array:
    """Encoded audio of `n` windows, [n, n_positions, D]."""
    shape = (n, n_positions, decoder.positions[...].shape[1])
    return jnp.asarray(np.random.default_rng(5).standard_normal(shape) * 3, jnp.float32)


def prefix_of(
    rules: DecodingRules, language: int = 0, task: int | None = None, *, timestamps: bool = True
) -> list[int]:
    """The tokens from the start of the transcript to the text."""
    special = rules.special
    prefix = [special.start_of_transcript]
    if rules.language_ids:
        is_given = language != DETECT_LANGUAGE
        prefix += [rules.language_ids[language] if is_given else UNKNOWN_TOKEN, task or special.transcribe]
    return [*prefix, *([] if timestamps else [special.no_timestamps])]


def row_input(
    rules: DecodingRules,
    *,
    language: int = 0,
    task: int | None = None,
    timestamps: bool = True,
    last_times: tuple[int, int] = NO_LIMITS,
    temperature: float = 0.0,
    uniforms: NDArray[np.floating[Any]] | None = None,
    prompt: Sequence[int] = (),
    n_before: int = 0,
    n_positions: int = 100,
) -> RowInput:
    """What a window asks of the decoder; `last_times` in steps of 20 ms, `n_before` the room for a prompt.

    `uniforms` are those of one hypothesis, or of several, one row each.
    """
    special = rules.special
    prefix = prefix_of(rules, language, task, timestamps=timestamps)
    n_missing = max(n_before - len(prompt), 0)
    given = (
        np.pad(np.asarray(prefix, np.int32), (0, MAX_PREFIX - len(prefix))),
        np.int32(len(prefix)),
        np.int32(language),
        np.bool_(timestamps),
        *(np.int32(special.timestamp_begin + time) for time in last_times),
        np.float32(temperature),
        np.atleast_2d(np.zeros(rules.max_new_tokens) if uniforms is None else uniforms).astype(np.float32),
        np.pad(np.asarray(prompt, np.int32), (0, n_missing)),
        np.int32(len(prompt)),
        np.int32(n_positions),
    )
    return RowInput(*map(jnp.asarray, given))


def programs_of(
    method: Method,
    decoder: Any,  # noqa: ANN401  # a `Decoder`, or a test double
    rules: DecodingRules,
) -> MethodPrograms:
    """The programs of a method with this decoder, for one device, which are not kept."""
    return MethodPrograms(method, lambda _: decoder, rules, make_mesh(), None)


class RowBatch:
    """A batch of which the test says when each row begins and how far all of them are decoded."""

    def __init__(
        self, programs: MethodPrograms, cross_kv: CrossKV, *, n_rows: int = 4, n_before: int = 0
    ) -> None:
        self._programs, self._cross_kv = programs, cross_kv
        self.batch = programs.empty(NO_WEIGHTS, cross_kv, n_rows, n_before)

    def insert(self, row: int, window: int, given: RowInput) -> None:
        """Puts a window of the cross-attention cache in a row."""
        encoded = EncodedWindow(self._cross_kv, window)
        self.batch = self._programs.insert(NO_WEIGHTS, self.batch, encoded, row, given)

    def advance(self, *, max_active: int = 0, max_steps: int = NO_LIMIT) -> Written:
        """Writes tokens; all there are, by default."""
        self.batch, written = self._programs.advance(NO_WEIGHTS, self.batch, max_active, max_steps)
        return written


class RowResult(NamedTuple):
    """What is written in one row: numbers and lists that `==` compares to the bit; NaN equals nothing."""

    tokens: list[int]
    sum_logprob: float
    repeated: bool
    no_speech_prob: float
    language: int
    language_logprobs: list[float]


def result_of(written: Written, row: int = 0) -> RowResult:
    """The tokens before the end of the text, and all else that is known of a row."""
    start, n_tokens = written.start, int(written.n_tokens[row])
    return RowResult(
        np.asarray(written.tokens)[row, :n_tokens].tolist(),
        float(written.sum_logprob[row]),
        bool(written.repeated[row]),
        float(start.no_speech_prob[row]),
        int(start.language[row]),
        np.asarray(start.language_logprobs)[row].tolist(),
    )


def decode_alone(
    programs: MethodPrograms, cross_kv: CrossKV, window: int, given: RowInput, *, n_before: int = 0
) -> RowResult:
    """The result of a window in a batch whose other rows are empty."""
    batch = RowBatch(programs, cross_kv, n_before=n_before)
    batch.insert(0, window, given)
    return result_of(batch.advance())


class Ending:
    """A decoder that ends the text of a window at a step of its own, which its audio determines."""

    def __init__(self, decoder: Decoder, end_of_text: int) -> None:
        self._decoder, self._end = decoder, end_of_text

    def __getattr__(self, name: str) -> object:
        return getattr(self._decoder, name)

    def __call__(
        self, tokens: jax.Array, positions: jax.Array, slots: Slots, caches: TextCaches, cross_kv: CrossKV
    ) -> tuple[jax.Array, TextCaches]:
        states, caches = self._decoder(tokens, positions, slots, caches, cross_kv)
        key = cross_kv[0].key
        assert isinstance(key, jax.Array)
        last = 20 + jnp.nan_to_num(jnp.abs(key[:, 0, 0, 0] * 1000)).astype(jnp.int32) % 30
        is_over = jnp.broadcast_to(positions == last[:, None], tokens.shape)
        return jnp.concatenate([states, is_over[..., None].astype(states.dtype)], axis=-1), caches

    def logits(self, states: jax.Array) -> jax.Array:
        """Logits of states that say whether the text is over."""
        logits: jax.Array = self._decoder.logits(states[..., :-1])
        return logits.at[..., self._end].add(jnp.where(states[..., -1] > 0, 1e3, -1e3))
