from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.support.random_model import special_tokens
from model import beam_search, best_of, sampling
from model.arithmetic import Arithmetic
from model.config import DecodingConfig, WhisperConfig
from model.decoder import Decoder
from model.interface import ModelOptions
from model.layers import Weights
from model.log_mel import log_mel
from model.memory import (
    MAX_ROWS,
    MIN_ROWS,
    MemoryModel,
    encoded_together,
    lanes_of_accelerator,
    number_sizes,
)
from model.mesh_shape import MeshShape
from model.method_programs import Method, MethodPrograms, empty_input
from model.network import Whisper
from model.precision import EncoderAttention, Precision
from model.rules import DecodingRules, make_rules
from model.sharding import make_mesh

GB = 10**9
TINY = WhisperConfig(80, 384, 1536, 4, 6, 4, 6, 51_865)
BASE = WhisperConfig(80, 512, 2048, 6, 8, 6, 8, 51_865)
LARGE = WhisperConfig(128, 1280, 5120, 32, 20, 32, 20, 51_866)
TURBO = replace(LARGE, decoder_layers=4)


def precision_of(dtype: str, arithmetic: str = "none") -> Precision:
    return Precision(np.dtype(dtype), Arithmetic(arithmetic), EncoderAttention.BLOCKED)


def memory_of(config: WhisperConfig, dtype: str, arithmetic: str = "none", **more: Any) -> MemoryModel:  # noqa: ANN401
    return MemoryModel(config, number_sizes(dtype, arithmetic), **more)


def n_bytes(arrays: object) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))


def network_of(config: WhisperConfig, precision: Precision) -> tuple[nnx.GraphDef[Whisper], Weights]:
    """The network without its numbers."""
    return nnx.split(nnx.eval_shape(lambda: Whisper(config, precision=precision)))


def rules_of(k: int, max_new_tokens: int = 224) -> DecodingRules:
    options = ModelOptions(beam_size=k, best_of=k, max_new_tokens=max_new_tokens)
    return make_rules(special_tokens(), DecodingConfig(), options, multilingual=True)


PRECISIONS = [
    *(("float32", "none"), ("float16", "none"), ("bfloat16", "w8")),
    *(("float32", "bf16"), ("float16", "a8"), ("float32", "bf16-a8")),
]


@pytest.mark.parametrize(("dtype", "arithmetic"), PRECISIONS)
@pytest.mark.parametrize("config", [TINY, LARGE, TURBO], ids=["tiny", "large-v3", "turbo"])
def test_weights_and_caches_are_those_of_the_network(
    config: WhisperConfig, dtype: str, arithmetic: str
) -> None:
    memory, precision = memory_of(config, dtype, arithmetic), precision_of(dtype, arithmetic)
    graph, weights = network_of(config, precision)
    assert memory.weights() == n_bytes(weights)

    def cross_kv(weights: Weights, encoded: jax.Array) -> object:
        return nnx.merge(graph, weights).decoder.cross_kv(encoded)

    encoded = jax.ShapeDtypeStruct((1, 700, config.d_model), precision.dtype)
    assert memory.cross_kv_row(700) == n_bytes(jax.eval_shape(cross_kv, weights, encoded))


Rows = Callable[[int], Any]


def programs_of(
    config: WhisperConfig, dtype: str, method: Method, k: int, max_new_tokens: int = 224
) -> tuple[MethodPrograms, Weights, Rows]:
    """The programs of a method, the weights, and the arrays of a batch of so many rows, without numbers."""
    precision, rules = precision_of(dtype), rules_of(k, max_new_tokens)
    graph, weights = network_of(config, precision)

    def decoder_of(weights: Weights) -> Decoder:
        return nnx.merge(graph, weights).decoder

    programs = MethodPrograms(method, decoder_of, rules, make_mesh(), None)
    encoded = jax.ShapeDtypeStruct((1, 1500, config.d_model), precision.dtype)
    cross_kv = jax.eval_shape(lambda w, x: decoder_of(w).cross_kv(x), weights, encoded)
    new_row = partial(programs._new_row, n_tokens=programs.room_sizes(0)[-1])  # the most
    row = jax.eval_shape(new_row, weights, cross_kv, jnp.int32(0), empty_input(0, rules, k))

    def batch(n_rows: int) -> Any:  # noqa: ANN401
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((n_rows, *x.shape[1:]), x.dtype), row)

    return programs, weights, batch


@pytest.mark.parametrize(
    ("method", "k", "max_new_tokens"),
    [
        *((sampling, 1, 224), (sampling, 1, 443)),
        *((beam_search, 5, 224), (beam_search, 3, 100)),
        *((best_of, 5, 224), (best_of, 3, 443)),
    ],
)
def test_the_caches_of_a_row_are_those_of_a_batch(method: Method, k: int, max_new_tokens: int) -> None:
    _, _, batch = programs_of(BASE, "float16", method, k, max_new_tokens)
    memory = memory_of(BASE, "float16", max_new_tokens=max_new_tokens)
    caches = memory.cross_kv_row(1500) + memory.self_attention_row(k)
    assert caches <= n_bytes(batch(1)) < 1.001 * caches  # the tokens and the rest of the state


@pytest.mark.parametrize(
    ("config", "dtype", "n_windows"),
    [
        *((config, dtype, n) for config in (TINY, BASE) for dtype in ("float32", "float16") for n in (1, 4)),
        (LARGE, "float16", 16),
    ],
)
def test_xla_needs_about_as_much_for_the_encoder(config: WhisperConfig, dtype: str, n_windows: int) -> None:
    precision, memory = precision_of(dtype), memory_of(config, dtype)
    graph, weights = network_of(config, precision)

    def cross_kv(weights: Weights, samples: jax.Array) -> object:
        network = nnx.merge(graph, weights)
        mels = log_mel(samples, config.n_mels).astype(precision.dtype)
        return network.decoder.cross_kv(network.encoder(mels))

    samples = jax.ShapeDtypeStruct((n_windows, 480_000), jnp.float32)
    # As XLA orders programs of accelerators; by default, it keeps the results of many steps on CPUs.
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    compiled = jax.jit(cross_kv).lower(weights, samples).compile(compiler_options=options)
    found = compiled.memory_analysis()
    results = n_windows * memory.cross_kv_row(1500)
    assert results <= found.output_size_in_bytes < results + 1000
    counted = memory.encoding(n_windows) - samples.size * 4
    assert 0.85 < found.temp_size_in_bytes / counted < 1.15


@pytest.mark.parametrize(("method", "k", "n_rows"), [(sampling, 1, 4), (beam_search, 5, 8), (best_of, 5, 8)])
def test_xla_needs_no_more_for_a_step(method: Method, k: int, n_rows: int) -> None:
    programs, weights, batch = programs_of(TINY, "float32", method, k)
    arguments = (weights, batch(n_rows), jax.ShapeDtypeStruct((2,), jnp.int32))
    found = programs._advance._jitted.lower(*arguments).compile().memory_analysis()
    memory = memory_of(TINY, "float32", beam_size=k)
    assert 0.4 < found.temp_size_in_bytes / memory.logits(n_rows * k) < 1.1
    decoder = memory.weights() - n_bytes(weights["encoder"])
    counted = decoder + n_rows * (memory.cross_kv_row(1500) + memory.self_attention_row(k))
    assert 0.99 < found.argument_size_in_bytes / counted < 1.01
    assert found.alias_size_in_bytes > 0.99 * found.output_size_in_bytes  # caches are updated in place


def test_what_is_held_at_once() -> None:
    memory = memory_of(BASE, "float16", beam_size=5)
    use = memory.use(16)
    lanes, rows, new = 2, 16, 4
    long, short = memory.cross_kv_row(1500), memory.cross_kv_row(700)
    assert use.cross_kv == lanes * (rows * (2 * long + short) + new * long)  # the search, and sampling
    slots = 2 * memory.self_attention_row(5) + memory.self_attention_row(1)
    assert use.self_attention == lanes * rows * slots
    assert use.encoding == lanes * memory.encoding(4)
    assert use.logits == lanes * memory.logits(5 * 16)
    assert use.total == use.weights + use.cross_kv + use.self_attention + use.encoding + use.logits
    sampled = memory_of(BASE, "float16", beam_size=3, best_of=4).use(16)
    assert sampled.cross_kv == use.cross_kv
    slots = 2 * memory.self_attention_row(3) + memory.self_attention_row(4)
    assert sampled.self_attention == lanes * rows * slots
    assert sampled.logits == lanes * memory.logits(4 * 16)
    greedy = memory_of(BASE, "float16").use(16)
    assert greedy.cross_kv == lanes * (rows * (long + short) + new * long)
    assert greedy.self_attention == lanes * rows * 2 * memory.self_attention_row(1)


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("config", [BASE, TURBO, LARGE], ids=["base", "turbo", "large-v3"])
def test_rows_are_as_many_as_fit(config: WhisperConfig, beam_size: int) -> None:
    memory = memory_of(config, "float16", beam_size=beam_size)
    found = [memory.rows(size * GB) for size in (4, 8, 12, 18, 30, 60, 105)]
    assert found == sorted(found)
    for rows, size in zip(found, (4, 8, 12, 18, 30, 60, 105), strict=True):
        assert rows % 8 == 0 or MIN_ROWS <= rows < 8
        assert memory.fits(rows, size * GB) or rows == MIN_ROWS
        larger = rows + (1 if rows < 8 else 8)
        assert rows == MAX_ROWS or not memory.fits(larger, size * GB)
    assert memory.rows(1000 * GB) == MAX_ROWS


def test_rows_of_large_models() -> None:
    """The most important cases: 12 and 60 GB of a T4 and an H100."""
    assert memory_of(LARGE, "float16").rows(12 * GB) == 7
    assert memory_of(LARGE, "float16").rows(60 * GB) == 48
    assert memory_of(TURBO, "float16", beam_size=5).rows(12 * GB) == 24
    assert memory_of(TURBO, "float16", beam_size=5).rows(60 * GB) == MAX_ROWS


def test_a_mesh_divides_batches_and_layers() -> None:
    one = memory_of(LARGE, "float16", n_lanes=1)
    data = replace(one, mesh=MeshShape(data=4))
    assert data.use(64) == one.use(16)
    assert data.rows(12 * GB) == 4 * one.rows(12 * GB)
    model = replace(one, mesh=MeshShape(model=4))
    assert model.use(16).weights == one.weights() // 4
    assert math.isclose(4 * model.use(16).cross_kv, one.use(16).cross_kv)
    assert model.rows(12 * GB) > one.rows(12 * GB)


def test_lanes_and_windows_encoded_together() -> None:
    assert lanes_of_accelerator(0, MeshShape()) == 2
    assert lanes_of_accelerator(3, MeshShape()) == 3
    assert lanes_of_accelerator(3, MeshShape(data=2)) == 1
    assert [encoded_together(rows) for rows in (1, 4, 8, 64)] == [1, 1, 2, 16]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("arithmetic", sorted(Arithmetic))
def test_sizes_of_numbers_are_those_of_the_precision(dtype: str, arithmetic: str) -> None:
    precision, sizes = Precision(np.dtype(dtype), Arithmetic(arithmetic)), number_sizes(dtype, arithmetic)
    assert sizes.activation == precision.dtype.itemsize
    assert sizes.encoder == precision.for_encoder.matrix_dtype.itemsize
    assert sizes.decoder == precision.for_decoder.matrix_dtype.itemsize
    kv = 1 if precision.for_decoder.has_quantized_kv else precision.dtype.itemsize
    assert sizes.cross_kv == kv


def test_it_needs_no_jax() -> None:
    import subprocess
    import sys

    program = "import sys, model.cards; assert not {'jax', 'apache_beam'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True)
