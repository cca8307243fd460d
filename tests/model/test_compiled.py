from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import jax
import jax.numpy as jnp
import pytest

from model.compiled import Compiled, compile_wait_s, small_buffers
from model.program_store import ProgramStore


class Traced:
    """A function that counts how often it is traced."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, x: jax.Array, n: int) -> jax.Array:
        self.n += 1
        return x * n + 1


def test_a_function_is_compiled_once_per_shape_and_static_number() -> None:
    traced = Traced()
    run = Compiled(traced, "name", None, static=1)
    assert run(jnp.arange(3.0), 2).tolist() == [1, 3, 5]
    assert run(jnp.ones(3), 2).tolist() == [3, 3, 3]
    assert traced.n == 1
    assert run(jnp.ones(3), 5).tolist() == [6, 6, 6]
    assert run(jnp.ones(4), 5).tolist() == [6, 6, 6, 6]
    assert traced.n == 3


def test_threads_that_call_at_the_same_time_compile_once() -> None:
    traced, n_threads = Traced(), 4
    run, barrier = Compiled(traced, "name", None, static=1), Barrier(4)

    def call(number: int) -> list[float]:
        barrier.wait()
        result: list[float] = run(jnp.full(3, float(number)), 2).tolist()
        return result

    with ThreadPoolExecutor(n_threads) as pool:
        results = list(pool.map(call, range(n_threads)))
    assert results == [[2 * number + 1] * 3 for number in range(n_threads)]
    assert traced.n == 1


def test_arguments_may_be_pytrees() -> None:
    run = Compiled(lambda tree: tree["a"] + tree["b"][0], "name", None)
    assert run({"a": jnp.ones(2), "b": (jnp.arange(2.0),)}).tolist() == [1, 2]


def test_the_static_argument_of_a_program_from_the_store_is_compiled_in(tmp_path: Path) -> None:
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        pytest.skip("JAX_COMPILATION_CACHE_DIR is set: JAX keeps the programs")
    traced = Traced()
    for _ in range(2):
        run = Compiled(traced, "name", ProgramStore(tmp_path, "network"), static=1)
        assert run(jnp.arange(3.0), 2).tolist() == [1, 3, 5]
    assert traced.n == 1


def test_each_thread_counts_its_own_wait() -> None:
    run = Compiled(Traced(), "name", None, static=1)
    before = compile_wait_s()
    run(jnp.ones(3), 2)
    after = compile_wait_s()
    assert after > before
    run(jnp.ones(3), 2)
    assert compile_wait_s() == after
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(compile_wait_s).result() == 0


def test_small_buffers_keep_one_layer_at_a_time() -> None:
    def layers(x: jax.Array, kernels: jax.Array) -> jax.Array:
        return jnp.stack([jnp.max(jnp.abs(x @ kernel), axis=0) for kernel in kernels])

    args = jnp.ones((500, 64)), jnp.ones((8, 64, 256))
    buffer_sizes = [
        jax.jit(layers, compiler_options=options).lower(*args).compile().memory_analysis().temp_size_in_bytes
        for options in (None, small_buffers())
    ]
    assert buffer_sizes[1] < buffer_sizes[0] / 4
