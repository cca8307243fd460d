import jax.numpy as jnp
import numpy as np
import pytest

from model.arithmetic import Arithmetic
from model.linear import Embedding, Linear
from model.precision import Precision, quantize_weight

RANDOM = np.random.default_rng(0)
ERRORS = {Arithmetic.NONE: 1e-5, Arithmetic.BF16: 0.01, Arithmetic.A8: 0.02, Arithmetic.W8: 0.01}


def precision_of(arithmetic: Arithmetic) -> Precision:
    return Precision(np.dtype(np.float32), arithmetic)


def relative_error(ours: object, exact: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(ours) - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("arithmetic", ERRORS)
def test_a_linear_layer_in_each_arithmetic(arithmetic: Arithmetic) -> None:
    weight, bias = RANDOM.standard_normal((64, 48)), RANDOM.standard_normal(48)
    x = RANDOM.standard_normal((2, 5, 64)).astype(np.float32)
    layer = Linear(64, 48, precision=precision_of(arithmetic))
    if layer._precision.has_scales:
        values, scale = quantize_weight(weight, axis=0)
        layer.kernel[...], layer.kernel_scale[...] = jnp.asarray(values), jnp.asarray(scale)
    else:
        layer.kernel[...] = jnp.asarray(weight, layer._precision.matrix_dtype)
    layer.bias[...] = jnp.asarray(bias, jnp.float32)
    assert layer(x).dtype == np.float32
    assert relative_error(layer(x), x @ weight + bias) < ERRORS[arithmetic]


@pytest.mark.parametrize("arithmetic", ERRORS)
def test_an_embedding_in_each_arithmetic(arithmetic: Arithmetic) -> None:
    table = RANDOM.standard_normal((100, 64)) * np.geomspace(0.1, 10, 100)[:, None]
    layer = Embedding(100, 64, precision=precision_of(arithmetic))
    if layer._precision.has_scales:
        values, scale = quantize_weight(table, axis=1)
        layer.embedding[...], layer.embedding_scale[...] = jnp.asarray(values), jnp.asarray(scale)
    else:
        layer.embedding[...] = jnp.asarray(table, layer._precision.matrix_dtype)
    ids = jnp.asarray([[3, 99], [0, 50]])
    assert relative_error(layer(ids), table[np.asarray(ids)]) < ERRORS[arithmetic]
    x = RANDOM.standard_normal((3, 64)).astype(np.float32)
    assert layer.logits(x).dtype == np.float32
    assert relative_error(layer.logits(x), x @ table.T) < ERRORS[arithmetic]
