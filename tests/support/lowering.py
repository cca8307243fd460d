"""Programs lowered for platforms that this machine does not have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import jax
import pytest

_TENSOR = re.compile(r"tensor<((?:\d+x)+)(\w+)>")


def lowered(function: Callable[..., Any], *args: Any, platform: str) -> str:  # noqa: ANN401
    """The StableHLO of a function, jitted or not, for `cuda` or `tpu`, given arrays or their shapes."""
    jitted = function if hasattr(function, "trace") else jax.jit(function)
    text: str = jitted.trace(*args).lower(lowering_platforms=(platform,)).as_text()
    return text


def tensors(program: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """The shape and dtype of every array of a program."""
    for sizes, dtype in set(_TENSOR.findall(program)):
        yield tuple(int(size) for size in sizes.split("x")[:-1]), dtype


def largest_scores(program: str, length: int) -> int:
    """Numbers of the largest array of windows, heads, queries and `length` positions; 0 if there is none."""
    return max(
        (prod(shape) for shape, _ in tensors(program) if len(shape) > 3 and shape[-1] == length), default=0
    )


@contextmanager
def with_cudnn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets JAX lower calls of cuDNN on a machine without it."""
    from jax._src.cudnn import fused_attention_stablehlo

    with monkeypatch.context() as patched:
        patched.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
        yield
