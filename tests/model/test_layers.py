from math import erf

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.layers import Mlp, gelu, layer_norm
from model.precision import Precision

PRECISION = Precision(np.dtype(np.float32))


def test_the_mlp_has_an_exact_gelu() -> None:
    mlp = Mlp(4, 4, precision=PRECISION)
    mlp.up.kernel, mlp.down.kernel = nnx.Param(jnp.eye(4)), nnx.Param(jnp.eye(4))
    x = np.array([-3.0, -0.5, 0.5, 3.0], np.float32)
    expected = [v * (1 + erf(v / 2**0.5)) / 2 for v in x]
    np.testing.assert_allclose(mlp(x[None, None])[0, 0], expected, atol=1e-6)


def test_the_gelu_has_the_accuracy_of_float32() -> None:
    x = np.linspace(-8, 8, 1601, dtype=np.float32)
    expected = [v * (1 + erf(v / 2**0.5)) / 2 for v in x.astype(float)]
    np.testing.assert_allclose(gelu(jnp.asarray(x)), expected, atol=5e-7)


def test_a_layer_norm_has_no_mean_and_unit_variance() -> None:
    x = jnp.asarray([[1.0, 2.0, 3.0, 10.0]])
    y = np.asarray(layer_norm(4, PRECISION)(x))[0]
    np.testing.assert_allclose([y.mean(), y.var()], [0, 1], atol=1e-5)
