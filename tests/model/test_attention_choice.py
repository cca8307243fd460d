from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import attention_choice
from model.attention_choice import choose_attention, cudnn_problem
from model.config import WhisperConfig
from model.precision import EncoderAttention
from model.sharding import DATA, MODEL

BASE = WhisperConfig(80, 512, 2048, 6, 8, 6, 8, 51_865)
FLOAT16, FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)


def mesh_of(platform: str, version: str = "", capability: object = "", n_model: int = 1) -> Any:  # noqa: ANN401  # stands in for a mesh of such devices
    client = SimpleNamespace(platform_version=version)
    device = SimpleNamespace(platform=platform, client=client, compute_capability=capability)
    return SimpleNamespace(devices=np.array([[device] * n_model], object), shape={DATA: 1, MODEL: n_model})


CUDA = "PJRT C API\ncuda 12090"


@pytest.mark.parametrize(
    ("mesh", "dtype", "expected"),
    [
        (mesh_of("cpu"), FLOAT32, "by-head"),
        (mesh_of("cpu"), FLOAT16, "by-head"),
        (mesh_of("tpu", "PJRT C API\nTFRT TPU v5 lite"), np.dtype(jnp.bfloat16), "blocked"),
        (mesh_of("gpu", CUDA, "8.0"), FLOAT16, "cudnn"),
        (mesh_of("gpu", CUDA, "9.0"), np.dtype(jnp.bfloat16), "cudnn"),
        (mesh_of("gpu", CUDA, "12.0"), FLOAT16, "cudnn"),
        (mesh_of("gpu", CUDA, "9.0"), FLOAT32, "blocked"),
        (mesh_of("gpu", CUDA, "7.5"), FLOAT16, "blocked"),  # a T4
        (mesh_of("gpu", "PJRT C API\nrocm 60300", "gfx942"), FLOAT16, "blocked"),
        (mesh_of("gpu", CUDA, "9.0", n_model=2), FLOAT16, "blocked"),
    ],
)
def test_it_depends_on_device_and_dtype(
    mesh: Any,  # noqa: ANN401
    dtype: np.dtype[Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_choice, "cudnn_problem", lambda *_: None)
    assert choose_attention(mesh, BASE, dtype) == expected


def test_where_cudnn_does_not_work_another_is_taken_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attention_choice, "cudnn_problem", lambda *_: "no library")
    with caplog.at_level(logging.WARNING):
        assert choose_attention(mesh_of("gpu", CUDA, "9.0"), BASE, FLOAT16) is EncoderAttention.BLOCKED
    assert caplog.messages == [
        "the encoder is slower than it could be, as cuDNN's attention does not work: no library"
    ]


def test_without_the_library_the_problem_is_reported() -> None:
    problem = cudnn_problem(jax.devices("cpu")[0], BASE, FLOAT16)
    assert problem is not None
    assert "cuDNN is not detected" in problem


def with_cudnn_as(monkeypatch: pytest.MonkeyPatch, function: Callable[..., jax.Array]) -> str | None:
    """The problem where JAX's attention with cuDNN is this function."""
    plain = jax.nn.dot_product_attention

    def attention(*operands: jax.Array, implementation: str) -> jax.Array:
        assert implementation == "cudnn"
        assert [x.shape for x in operands] == [(1, 1500, 2, 64)] * 3
        return function(plain(*(x.astype(jnp.float32) for x in operands)))  # as the CPU can

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    return cudnn_problem(jax.devices("cpu")[0], BASE, FLOAT16)


def test_its_results_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_cudnn_as(monkeypatch, lambda x: x) is None


@pytest.mark.parametrize("wrong", [lambda x: x[:, ::-1], lambda x: x * jnp.nan])
def test_wrong_results_are_a_problem(
    wrong: Callable[..., jax.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = with_cudnn_as(monkeypatch, wrong)
    assert problem is not None
    assert problem.startswith("its results differ by ")


def test_errors_of_xla_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: jax.Array) -> jax.Array:
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: no plan for this card")

    assert with_cudnn_as(monkeypatch, fail) == "JaxRuntimeError: UNIMPLEMENTED: no plan for this card"
