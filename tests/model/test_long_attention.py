import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from model.config import WhisperConfig
from model.encoder import Encoder
from model.long_attention import attend_long, query_block
from model.memory import MAX_SCORE_BYTES
from model.precision import EncoderAttention, Precision
from tests.model.test_attention import relative_error
from tests.support.lowering import largest_scores, lowered, with_cudnn

N_HEADS, WIDTH = 2, 16
BY_HEAD, BLOCKED, CUDNN = EncoderAttention
ON_CPU = pytest.mark.parametrize("method", [BY_HEAD, BLOCKED])
LARGE = WhisperConfig(128, 1280, 5120, 2, 20, 1, 20, 51_866)  # large-v3 with fewer layers


def arrays(length: int, n_attended: int) -> list[jax.Array]:
    """Queries, keys and values of two windows."""
    random = np.random.default_rng(0)
    lengths = (length, n_attended, n_attended)
    return [jnp.asarray(random.standard_normal((2, n, N_HEADS * WIDTH)), jnp.float32) for n in lengths]


def exact(query: jax.Array, key: jax.Array, value: jax.Array) -> NDArray[np.float64]:
    """Attention in float64, head by head."""
    q, k, v = (
        np.asarray(x, np.float64).reshape(*x.shape[:2], N_HEADS, WIDTH).swapaxes(1, 2)
        for x in (query, key, value)
    )
    weights = np.exp(q @ k.swapaxes(2, 3) / WIDTH**0.5)
    heads: NDArray[np.float64] = weights / weights.sum(-1, keepdims=True) @ v
    return heads.swapaxes(1, 2).reshape(query.shape)


def attended(
    operands: list[jax.Array], dtype: str, result_dtype: str = "float32", method: EncoderAttention = BY_HEAD
) -> jax.Array:
    dtypes = {"dtype": np.dtype(dtype), "result_dtype": np.dtype(result_dtype)}
    return jax.jit(lambda *x: attend_long(*x, n_heads=N_HEADS, method=method, **dtypes))(*operands)


def encoder_program(
    platform: str, method: EncoderAttention, dtype: str, batch: int, n_frames: int = 3000
) -> str:
    """The encoder of large-v3, of two layers, lowered for a platform."""
    precision = Precision(np.dtype(dtype), attention=method)
    graph, weights = nnx.split(nnx.eval_shape(lambda: Encoder(LARGE, precision=precision)))
    mels = jax.ShapeDtypeStruct((batch, LARGE.n_mels, n_frames), dtype)
    return lowered(lambda w, x: nnx.merge(graph, w)(x), weights, mels, platform=platform)


@pytest.mark.parametrize(
    ("length", "n_attended"), [(1500, 1500), (1499, 1499), (1000, 1000), (751, 751), (40, 40), (37, 1500)]
)
@ON_CPU
def test_attention_in_blocks_equals_plain_attention(
    method: EncoderAttention, length: int, n_attended: int
) -> None:
    operands = arrays(length, n_attended)
    found = attended(operands, "float32", method=method)
    np.testing.assert_allclose(found, exact(*operands), atol=2e-6)


@ON_CPU
@pytest.mark.parametrize("result_dtype", ["float32", "same"])
@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.01), ("float16", 0.002)])
def test_half_precision_is_close(
    dtype: str, error: float, result_dtype: str, method: EncoderAttention
) -> None:
    operands = arrays(1500, 1500)
    wanted = dtype if result_dtype == "same" else result_dtype
    rounded = attended(operands, dtype, wanted, method)
    assert rounded.dtype == wanted
    assert relative_error(rounded.astype("float32"), jnp.asarray(exact(*operands))) < error


@ON_CPU
def test_large_scores_and_many_positions_do_not_overflow(method: EncoderAttention) -> None:
    query, key, value = arrays(1500, 1500)
    for scale in (0, 100):  # equal weights, whose sum of values overflows float16; and scores of 100,000
        rounded = np.asarray(attended([scale * query, 100 * key, 60 + 0 * value], "float16", method=method))
        np.testing.assert_allclose(rounded, 60, rtol=2e-3)


@pytest.mark.parametrize(
    ("n_heads", "block"), [(8, 256), (20, 256), (20 * 8, 256), (20 * 12, 128), (20 * 24, 64), (20 * 400, 16)]
)
def test_blocks_are_as_large_as_memory_allows(n_heads: int, block: int) -> None:
    assert query_block(n_heads, 1500) == block
    assert 4 * n_heads * block * 1500 <= MAX_SCORE_BYTES or block == 16


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("batch", [1, 8, 96])
def test_blocked_attention_never_holds_the_scores_of_all_queries(platform: str, batch: int) -> None:
    program = encoder_program(platform, BLOCKED, "float32", batch)
    n_scores = largest_scores(program, 1500)
    assert n_scores == batch * 20 * query_block(batch * 20, 1500) * 1500
    assert 4 * n_scores <= MAX_SCORE_BYTES
    assert "cudnn" not in program
    assert program.count("stablehlo.while") == 1  # layers are lowered once


@pytest.mark.parametrize("n_positions", [250, 400, 550, 700, 1000, 1500])  # those that windows are encoded in
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attention_on_cuda_is_one_call_of_cudnn(
    n_positions: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_cudnn(monkeypatch):
        program = encoder_program("cuda", CUDNN, dtype, 8, 2 * n_positions)
    calls = [line for line in program.splitlines() if "__cudnn$fmhaSoftmax" in line]
    assert len(calls) == 1  # in the one function that all layers call
    kind = {"float16": "f16", "bfloat16": "bf16"}[dtype]
    assert f"tensor<8x{n_positions}x20x64x{kind}>" in calls[0]
    assert r"\22fmha_scale\22: 0.125" in calls[0]
    assert largest_scores(program, n_positions) == 0


def test_cudnn_does_not_take_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """So `choose_attention` must not give it float32."""
    with with_cudnn(monkeypatch), pytest.raises(NotImplementedError, match="must be fp16/bf16"):
        encoder_program("cuda", CUDNN, "float32", 1)


ON_A_MESH = """
import jax, numpy as np, re
from model.long_attention import attend_long
from model.precision import EncoderAttention
from model.sharding import make_mesh, split_by_windows
from jax.sharding import NamedSharding, PartitionSpec
random, dtype = np.random.default_rng(0), np.dtype(np.float32)
arrays = [random.standard_normal((2, 600, 64), np.float32) for _ in range(3)]
def attend(_, qkv):
    options = {"n_heads": 4, "dtype": dtype, "result_dtype": dtype, "method": EncoderAttention.BLOCKED}
    return attend_long(*qkv, **options)
expected = attend(None, arrays)
for data, model in ((2, 1), (1, 2), (2, 2)):
    mesh = make_mesh(data, model)
    placed = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("data", None, "model")))
    program = jax.jit(split_by_windows(attend, mesh)).lower(None, placed).compile()
    np.testing.assert_allclose(program(None, placed), expected, atol=1e-6)
    assert not re.findall("all-gather|all-reduce|all-to-all|collective-permute", program.as_text())
"""


def test_devices_that_divide_windows_and_heads_exchange_nothing() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", ON_A_MESH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
