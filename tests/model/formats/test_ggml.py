import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from model.formats.folder import open_file
from model.formats.ggml import open_ggml
from model.formats.huggingface import read_weights as read_safetensors
from model.formats.mapped_file import FormatError
from model.tokens import tokenizer_of
from tests.support.ggml_files import ggml_bytes, q8_0, tensor_bytes
from tests.support.tiny_formats import D_MLP, DIMS, openai_weights, save_reference
from tests.support.tiny_model import Weights, tiny_weights

SMALL = {"n_audio_state": 32, "n_text_state": 32, "n_vocab": 51_864, "n_mels": 80}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return tiny_weights(d_mlp=D_MLP)


def saved(folder: Path, content: bytes) -> Path:
    (folder / "ggml-tiny.bin").write_bytes(content)
    return folder / "ggml-tiny.bin"


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_keep_their_precision(tmp_path: Path, weights: Weights, dtype: type) -> None:
    changed = {name: weight.astype(dtype) for name, weight in openai_weights(weights).items()}
    model = open_ggml(saved(tmp_path, ggml_bytes(changed, DIMS)))
    found = dict(model.read_weights())
    assert (model.config.d_model, model.config.n_vocab, model.config.encoder_heads) == (32, 51_865, 2)
    folder = save_reference(tmp_path / "reference", weights)
    for name, weight in read_safetensors([folder / "model.safetensors"]):
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], weight.astype(dtype), err_msg=name)


def test_quantised_weights_are_read_within_their_error(tmp_path: Path, weights: Weights) -> None:
    named = openai_weights(weights)
    kernel = named.pop("decoder.blocks.0.mlp.0.weight")
    quantised = tensor_bytes("decoder.blocks.0.mlp.0.weight", kernel.shape, 8, q8_0(kernel))
    model = open_ggml(saved(tmp_path, ggml_bytes(named, DIMS) + quantised))
    found = dict(model.read_weights())["decoder.layers.0.mlp.up.kernel"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found.T - kernel).max() < np.abs(kernel).max() / 200


def test_the_tokenizer_is_built_of_its_vocabulary(tmp_path: Path) -> None:
    tokens = [bytes([b]) for b in range(256)] + [bytes([i // 256, i % 256]) for i in range(50_000)]
    found = open_file(saved(tmp_path, ggml_bytes({}, {**DIMS, **SMALL}, tokens)))
    tokenizer = tokenizer_of(found)
    assert tokenizer.decode([256 + 72 * 256 + 105]) == "Hi"
    assert (tokenizer.special.timestamp_stop, tokenizer.special.is_multilingual) == (51_864, False)
    assert (tokenizer.special.languages, tokenizer.special.added_text) == ({}, ())
    assert tokenizer.bytes_of(128) == b"\x80"  # a part of a character
    assert tokenizer.special.end_of_text in found.decoding.begin_suppress_ids


def tensor(rank: int = 1, n_name: int = 1, kind: int = 0, size: int = 1) -> bytes:
    return struct.pack("<4i", rank, n_name, kind, size) + b"a" + bytes(4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tensor(rank=5), "a tensor of 5 dimensions"),
        (tensor(rank=-1), "number -1"),
        (tensor(n_name=2**30), "name of 1073741824 bytes"),
        (tensor(kind=99), "type 99 of ggml"),
        (tensor(kind=2), "does not divide into blocks"),
        (tensor(size=2**31 - 1), "cut short or damaged"),
        (tensor(size=-2), "number -2"),
        (struct.pack("<7i", 4, 1, 0, 2**30, 2**30, 2**30, 2**30) + b"a", "cut short or damaged"),
        (tensor()[:-1], "cut short or damaged"),
        (tensor() * 2, "'a' twice"),
        (struct.pack("<4i", 1, 1, 0, 1) + b"\xff" + bytes(4), "not UTF-8"),
    ],
)
def test_damaged_tensors_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = saved(tmp_path, ggml_bytes({}, DIMS) + content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message):
            open_ggml(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (4, 0, "n_vocab is 0"),
        (8, 1499, "n_audio_ctx is 1499"),
        (48, 2**31 - 1, "cut short or damaged"),
        (52, -1, "number -1"),
        (-4, 2**31 - 1, "claims 2147483647 tokens"),
        (-4, 1000, "cut short or damaged"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, place: int, number: int, message: str) -> None:
    content = bytearray(ggml_bytes({}, DIMS))
    place %= len(content)
    content[place : place + 4] = struct.pack("<i", number)
    with pytest.raises(FormatError, match=message):
        open_ggml(saved(tmp_path, bytes(content)))


def test_long_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="token of 5000 bytes"):
        open_ggml(saved(tmp_path, ggml_bytes({}, DIMS, [b"x" * 5000])))


def test_another_magic_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"ggml-tiny\.bin is no model of whisper\.cpp"):
        open_ggml(saved(tmp_path, b"ggjt" + bytes(100)))
