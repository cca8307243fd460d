import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rivals.huggingface import (
    missing_packages,
    torch_weight,
    transformers_config,
    transformers_name,
)
from benchmarks.support.random_model import SHAPES, random_checkpoint
from model.formats.huggingface import network_name, read_config


def test_names_equal_those_of_transformers() -> None:
    for name, _ in random_checkpoint("tiny").weights():
        assert network_name(transformers_name(name)) == name
    assert transformers_name("encoder.layers.3.attention.query.kernel") == (
        "model.encoder.layers.3.self_attn.q_proj.weight"
    )


def test_config_is_read_back() -> None:
    assert read_config(transformers_config(SHAPES["large-v3"])) == SHAPES["large-v3"]


@pytest.mark.parametrize("shape", [(3, 4, 5), (12, 5)])
def test_convolution_has_its_outputs_first(shape: tuple[int, ...]) -> None:
    kernel = np.arange(60, dtype=np.float32).reshape(shape)
    turned = torch_weight("encoder.conv1.kernel", kernel)
    assert turned.shape == (5, 4, 3)
    assert turned[2, 1, 0] == kernel.reshape(3, 4, 5)[0, 1, 2]


def test_matrix_is_transposed_and_embedding_is_not() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(torch_weight("decoder.layers.0.mlp.up.kernel", matrix), matrix.T)
    np.testing.assert_array_equal(torch_weight("decoder.embedding.embedding", matrix), matrix)


def test_missing_packages() -> None:
    assert missing_packages(Path(sys.executable), ("json", "no_such_package")) == ["no_such_package"]
