import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from model.formats.folder import open_folder
from model.formats.gguf import open_gguf
from model.formats.huggingface import network_layout, network_name
from model.formats.mapped_file import FormatError
from tests.support.ggml_files import gguf_bytes, q8_0
from tests.support.tiny_formats import openai_weights
from tests.support.tiny_model import Weights, tiny_tokenizer, tiny_weights

REFERENCES = Path(__file__).parent / "references"
D_MODEL = 64


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Weights of a model with a head of 64, as in each published Whisper, without the large ones."""
    found = {}
    for name, weight in tiny_weights(d_mlp=96).items():
        axes = [2 if size == 32 else 1 for size in weight.shape]
        found[name] = np.tile(weight, axes)[:300]
    return found


def saved(folder: Path, content: bytes) -> Path:
    (folder / "model.gguf").write_bytes(content)
    return folder / "model.gguf"


@pytest.mark.parametrize("is_openai", [False, True])
def test_sizes_follow_from_shapes(tmp_path: Path, weights: Weights, is_openai: bool) -> None:
    named = openai_weights(weights) if is_openai else weights
    metadata = {"general.name": "a", "a.numbers": [1, 2], "a.texts": ["b", "c"], "a.flag": True, "a.x": 1.5}
    model = open_gguf(saved(tmp_path, gguf_bytes(named, metadata)))
    config = model.config
    assert (config.n_mels, config.d_model, config.d_mlp, config.n_vocab) == (80, 64, 96, 300)
    assert (config.encoder_layers, config.encoder_heads, config.decoder_layers) == (1, 1, 1)
    found = dict(model.read_weights())
    for name, weight in weights.items():
        ours = network_name(name)
        np.testing.assert_array_equal(found.pop(ours), network_layout(ours, weight), err_msg=name)
    assert not found


def test_a_projection_of_its_own(tmp_path: Path, weights: Weights) -> None:
    embedding = weights["model.decoder.embed_tokens.weight"]
    for projection, is_own in ((embedding[::-1], True), (embedding, False)):
        stored = {**weights, "proj_out.weight": np.ascontiguousarray(projection)}
        model = open_gguf(saved(tmp_path, gguf_bytes(stored, {})))
        assert model.config.has_projection == is_own
        found = dict(model.read_weights())
        np.testing.assert_array_equal(found["decoder.embedding.embedding"], embedding)
        assert ("decoder.projection.embedding" in found) == is_own
        if is_own:
            np.testing.assert_array_equal(found["decoder.projection.embedding"], projection)


def test_quantised_weights(tmp_path: Path, weights: Weights) -> None:
    name = "model.decoder.layers.0.fc1.weight"
    blocks = {name: (weights[name].shape, 8, q8_0(weights[name]))}
    found = dict(open_gguf(saved(tmp_path, gguf_bytes(weights, {}, blocks))).read_weights())
    error = np.abs(found["decoder.layers.0.mlp.up.kernel"].T - weights[name]).max()
    assert 0 < error < np.abs(weights[name]).max() / 200


def test_a_file_that_the_package_of_ggml_wrote() -> None:
    model = open_gguf(REFERENCES / "model.gguf")
    with np.load(REFERENCES / "blocks.npz") as file:
        expected = file["Q8_0 values"]
    found = dict(model.read_weights())
    np.testing.assert_array_equal(found["decoder.embedding.embedding"], np.tile(expected[:, :64], (2, 1)))
    assert found["encoder.conv1.kernel"].shape == (3 * 4, 64)
    assert model.config.n_vocab == 8


def test_a_folder_with_a_tokenizer(tmp_path: Path, weights: Weights) -> None:
    tokenizer = tiny_tokenizer(n_text=300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    embedding = np.zeros((tokenizer.get_vocab_size(), D_MODEL), np.float32)
    saved(tmp_path, gguf_bytes({**weights, "model.decoder.embed_tokens.weight": embedding}, {}))
    assert open_folder(tmp_path).config.n_vocab == len(embedding)


def header(n_tensors: int = 0, n_metadata: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_metadata)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGML" + bytes(20), "no GGUF file"),
        (header(version=1), "version 1"),
        (header(n_tensors=2**60), "1152921504606846976 tensors"),
        (header(n_metadata=2**60), "1152921504606846976 metadata"),
        (header(n_metadata=1) + struct.pack("<Q", 2**63), "name of 9223372036854775808 bytes"),
        (header(n_metadata=1) + text(b"\xff"), "not UTF-8"),
        (header(n_metadata=1) + text(b"a") + struct.pack("<I", 99), "unknown type 99"),
        (header(n_metadata=1) + text(b"a") + struct.pack("<IQ", 8, 2**60), "cut short or damaged"),
        (
            header(n_metadata=1) + text(b"a") + struct.pack("<IIQ", 9, 4, 2**60),
            "an array of 1152921504606846976",
        ),
        (header(n_metadata=1) + text(b"a") + struct.pack("<IIQ", 9, 9, 1), "of the type 9"),
        (header(n_metadata=1) + text(b"a") + struct.pack("<IIQQ", 9, 8, 9, 2**60), "cut short or damaged"),
        (
            header(n_metadata=1) + text(b"general.alignment") + struct.pack("<II", 4, 3),
            "alignment of 3 bytes",
        ),
        (header(n_tensors=1) + text(b"a") + struct.pack("<I", 99), "99 dimensions"),
        (header(n_tensors=1) + text(b"a") + struct.pack("<IQIQ", 1, 2**60, 0, 0), "cut short or damaged"),
        (header(n_tensors=1) + text(b"a") + struct.pack("<IQIQ", 1, 1, 0, 2**62), "cut short or damaged"),
        (header(n_tensors=1) + text(b"a") + struct.pack("<IQIQ", 1, 1, 77, 0), "type 77 of ggml"),
        (header(n_tensors=2) + (text(b"a") + struct.pack("<IQIQ", 1, 0, 0, 0)) * 2 + bytes(64), "or twice"),
        (header() + bytes(64), r"it is no Whisper: its encoder\.conv1\.kernel has the shape None"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = saved(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message):
            open_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("metadata", "encoder", "decoder"),
    [
        ({"whisper.encoder.attention.head_count": 2, "whisper.decoder.attention.head_count": 4}, 2, 4),
        ({"whisper.attention.head_count": 2}, 2, 2),
        ({"whisper.attention.head_count": 2, "whisper.decoder.attention.head_count": 8}, 2, 8),
        ({"whisper.encoder.attention.head_count": 2, "other.decoder.attention.head_count": 9}, 2, 1),
        ({"whisper.encoder.attention.head_count": "2"}, 1, 1),
    ],
)
def test_the_number_of_heads_is_read(
    tmp_path: Path, weights: Weights, metadata: dict[str, object], encoder: int, decoder: int
) -> None:
    config = open_gguf(saved(tmp_path, gguf_bytes(weights, metadata))).config
    assert (config.encoder_heads, config.decoder_heads) == (encoder, decoder)


def test_heads_of_any_width_are_read(tmp_path: Path) -> None:
    heads = {"whisper.encoder.attention.head_count": 2, "whisper.decoder.attention.head_count": 2}
    config = open_gguf(saved(tmp_path, gguf_bytes(tiny_weights(), heads))).config
    assert (config.d_model, config.encoder_heads, config.decoder_heads) == (32, 2, 2)


@pytest.mark.parametrize(
    ("kind", "letter"), [(0, "B"), (1, "b"), (2, "H"), (3, "h"), (5, "i"), (10, "Q"), (11, "q")]
)
def test_integers_of_every_size(tmp_path: Path, weights: Weights, kind: int, letter: str) -> None:
    content = gguf_bytes(weights, {})
    value = text(b"whisper.attention.head_count") + struct.pack(f"<I{letter}", kind, 4)
    value += text(b"pad") + struct.pack("<IQ", 8, pad := -(len(value) + 3 + 20) % 32) + bytes(pad)
    (n_tensors,) = struct.unpack("<Q", content[8:16])
    config = open_gguf(saved(tmp_path, header(n_tensors, 2) + value + content[24:])).config
    assert (config.encoder_heads, config.decoder_heads) == (4, 4)


@pytest.mark.parametrize("number", [0, 3])
def test_heads_that_do_not_divide_the_width(tmp_path: Path, weights: Weights, number: int) -> None:
    with pytest.raises(FormatError, match="encoder_heads"):
        open_gguf(saved(tmp_path, gguf_bytes(weights, {"whisper.encoder.attention.head_count": number})))


def test_heads_of_another_width_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="width 32 does not divide into heads of 64"):
        open_gguf(saved(tmp_path, gguf_bytes(tiny_weights(), {})))
