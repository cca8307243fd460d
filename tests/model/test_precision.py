import jax.numpy as jnp
import numpy as np
import pytest

from model.arithmetic import Arithmetic
from model.precision import (
    Precision,
    from_bits,
    quantize,
    quantize_weight,
    split_digits,
    sum_digits,
    to_bits,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_error_of_a_quantized_weight_is_at_most_half_a_step(axis: int) -> None:
    weight = (RANDOM.standard_normal((30, 40)) * np.geomspace(1e-3, 1e3, 40)).astype(np.float16)
    values, scale = quantize_weight(weight, axis=axis)
    steps = np.expand_dims(scale, axis)
    assert values.dtype == np.int8
    assert np.abs(values).max() == 127
    assert (np.abs(values * steps - weight) <= steps * 0.501).all()


def test_zeros_stay_zeros() -> None:
    values, scale = quantize_weight(np.zeros((3, 4), np.float32), axis=0)
    assert not values.any()
    assert np.isfinite(scale).all()
    rows = quantize(jnp.zeros((2, 5)))
    assert not rows.values.any()
    assert jnp.isfinite(rows.scale).all()


def test_quantize_has_one_scale_per_token() -> None:
    x = jnp.asarray(RANDOM.standard_normal((2, 3, 16)) * np.array([1e-3, 1, 1e3])[:, None], jnp.float32)
    rows = quantize(x)
    assert rows.scale.shape == (2, 3, 1)
    np.testing.assert_allclose(rows.values * rows.scale, x, rtol=0, atol=0.501 * float(rows.scale.max()))
    assert float(jnp.abs(rows.values[:, 0]).max()) == 127


def test_two_digits_have_about_fifteen_bits() -> None:
    x = jnp.asarray(RANDOM.standard_normal((2, 3, 64)), jnp.float32)
    matrix = jnp.asarray(RANDOM.integers(-127, 128, (64, 5)), jnp.int8)
    digits = split_digits(x)
    assert digits.values.shape == (2, 6, 64)
    products = jnp.einsum("btk,kn->btn", digits.values, matrix, preferred_element_type=jnp.int32)
    exact = np.einsum("btk,kn->btn", np.asarray(x, np.float64), np.asarray(matrix, np.float64))
    error = np.abs(np.asarray(sum_digits(products, digits.scale)) - exact).max()
    one = quantize(x)
    coarse = np.einsum("btk,kn->btn", np.asarray(one.values * one.scale), np.asarray(matrix, np.float64))
    assert error < np.abs(coarse - exact).max() / 100


def test_encoder_and_decoder_may_differ() -> None:
    mixed = Precision(np.dtype(np.float32), Arithmetic.BF16_A8)
    assert mixed.for_encoder == Precision(np.dtype(np.float32), Arithmetic.BF16)
    assert mixed.for_decoder == Precision(np.dtype(np.float32), Arithmetic.A8)
    same = Precision(np.dtype(np.float32), Arithmetic.W8)
    assert same.for_encoder is same.for_decoder is same


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_bits_are_floats_of_the_same_size(dtype: str) -> None:
    x = jnp.asarray(RANDOM.standard_normal((2, 3)), dtype)
    assert to_bits(x).dtype == ("float32" if dtype == "float32" else "uint16")
    back = from_bits(to_bits(x), np.dtype(dtype))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [("none", "float32"), ("bf16", "bfloat16"), ("a8", "float32"), ("w8", "float32")],
)
def test_only_bfloat16_products_take_rounded_inputs(arithmetic: str, expected: str) -> None:
    assert Precision(np.dtype(np.float32), Arithmetic(arithmetic)).operand_dtype == expected
