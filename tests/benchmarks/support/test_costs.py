import jax
import jax.numpy as jnp
import pytest

from benchmarks.support import costs
from benchmarks.support.costs import Cost
from benchmarks.support.random_model import SHAPES
from model.config import N_POSITIONS

TURBO = SHAPES["large-v3-turbo"]


def test_time_is_the_longer_of_computing_and_reading() -> None:
    assert Cost(flops=100, n_bytes=10).min_s(flops_a_second=50, bytes_a_second=10) == 2
    assert Cost(flops=100, n_bytes=30).min_s(flops_a_second=50, bytes_a_second=10) == 3
    assert costs.min_s([Cost(100, 10), Cost(100, 30)], 50, 10) == 5


def test_flops_of_an_encoder_layer_equal_those_of_xla() -> None:
    """Of its matrices and attention: the same products written down for the compiler to count."""
    d, s = TURBO.d_model, N_POSITIONS

    def layer(x: jax.Array, square: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
        x = x @ square @ square @ square @ square
        x = (x @ x.T) @ x
        return x @ up @ down

    shapes = [(s, d), (d, d), (d, TURBO.d_mlp), (TURBO.d_mlp, d)]
    lowered = jax.jit(layer).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    one_more = costs.encoder_flops(TURBO) / TURBO.encoder_layers
    assert lowered.cost_analysis()["flops"] == pytest.approx(one_more, rel=0.02)


def test_weights_add_up_to_the_known_size() -> None:
    """Large-v3-turbo has 809 M: of the encoder, of a step, and of the cross-attention's keys and values."""
    of_memory = 2 * TURBO.decoder_layers * TURBO.d_model**2
    total = costs.encoder_weights(TURBO) + costs.step_weights(TURBO) + of_memory
    assert total == pytest.approx(809e6, rel=0.01)


def test_step_reads_weights_once_and_the_kv_cache_of_each_window() -> None:
    one, two = (costs.step_cost(TURBO, batch, 10).n_bytes for batch in (1, 2))
    memory = 2 * 2 * TURBO.decoder_layers * TURBO.d_model * (10 + N_POSITIONS)
    assert two - one == memory
    assert one - memory == 2 * costs.step_weights(TURBO)


def test_step_attends_to_all_earlier_tokens() -> None:
    first, *_, last = costs.decode_costs(TURBO, batch=3, n_prompt=4, n_tokens=5)
    assert first == costs.step_cost(TURBO, 3, 4)
    assert last == costs.step_cost(TURBO, 3, 8)
