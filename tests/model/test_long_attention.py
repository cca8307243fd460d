import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import KeyValue, attend
from model.long_attention import attend_long
from tests.model.test_attention import arrays, relative_error


@pytest.mark.parametrize("length", [1500, 1499, 1000, 751, 750, 40])
def test_attention_in_blocks_equals_plain_attention(length: int) -> None:
    query, kv = arrays(length)
    np.testing.assert_allclose(attend_long(query, kv, query.dtype), attend(query, kv, None), atol=2e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_its_dtype_and_is_close(dtype: str) -> None:
    query, kv = arrays(1500, dtype)
    wide = attend(query.astype("float32"), KeyValue(*(x.astype("float32") for x in kv)), None)
    blocks = attend_long(query, kv, query.dtype)
    assert blocks.dtype == dtype
    np.testing.assert_allclose(blocks.astype("float32"), wide, atol=0.1)


def test_products_in_bfloat16_keep_the_dtype_of_the_queries() -> None:
    query, kv = arrays(1500)
    rounded = attend_long(query, kv, jnp.bfloat16)
    assert rounded.dtype == "float32"
    assert relative_error(rounded, attend(query, kv, None)) < 0.02
