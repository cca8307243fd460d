import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from model.formats.folder import open_folder
from model.formats.huggingface import read_weights as read_safetensors
from model.formats.mapped_file import FormatError
from model.formats.mlx import group_size_of, open_mlx, sinusoids, tensors
from tests.support.tiny_formats import CONFIG, D_MLP, OF_HUGGING_FACE
from tests.support.tiny_model import N_VOCAB, tiny_weights

REFERENCES = Path(__file__).parent / "references"
QUANTISED = {"group_size": 64, "bits": 4}


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors"])
def test_a_model_that_mlx_whisper_would_load(name: str) -> None:
    model = open_mlx(REFERENCES / "mlx", [REFERENCES / "mlx" / name])
    expected = dict(read_safetensors([REFERENCES / "model.safetensors"]))
    expected["encoder.positions"] = sinusoids(1500, 8)
    found = dict(model.read_weights())
    assert (model.config.d_model, model.config.n_vocab, model.alignment_heads) == (8, 96, ((0, 1),))
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        np.testing.assert_array_equal(found[key], weight, err_msg=key)


def test_positions_are_those_of_mlx() -> None:
    np.testing.assert_allclose(sinusoids(1500, 8), np.load(REFERENCES / "mlx" / "positions.npy"), atol=1e-3)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_quantised_matrices_are_those_that_mlx_reads(bits: int) -> None:
    found = dict(tensors([REFERENCES / "mlx" / "quantised.safetensors"], 64))
    np.testing.assert_allclose(found[f"m{bits}.weight"], found[f"values{bits}"], atol=1e-6)
    assert f"m{bits}.scales" not in found


def quantised_parts(**changed: Any) -> dict[str, NDArray[np.generic]]:  # noqa: ANN401  # arrays of any dtype
    parts = load_file(REFERENCES / "mlx" / "quantised.safetensors")
    whole = {part: parts[f"m4.{part}"] for part in ("weight", "scales", "biases")}
    return {f"m.{part}": array for part, array in {**whole, **changed}.items() if array is not None}


@pytest.mark.parametrize(
    "changed",
    [
        {"biases": None},
        {"weight": np.zeros((4, 16), np.int32)},
        {"weight": np.zeros((4, 15), np.uint32)},
        {"weight": np.zeros((3, 16), np.uint32)},
        {"weight": np.zeros((4, 0), np.uint32)},
        {"weight": np.zeros(4, np.uint32)},
        {"scales": np.zeros((4, 3), np.float32), "biases": np.zeros((4, 3), np.float32)},
        {"scales": np.zeros((4, 0), np.float32), "biases": np.zeros((4, 0), np.float32)},
        {"scales": np.zeros((4, 1), np.float32)},
    ],
)
def test_quantised_matrices_whose_parts_do_not_match(tmp_path: Path, changed: dict[str, Any]) -> None:
    save_file(quantised_parts(**changed), tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="matrix 'm' does not match its scales"):
        dict(tensors([tmp_path / "a.safetensors"], 64))


def test_other_quantisations_are_refused() -> None:
    assert group_size_of({}) == 0
    assert group_size_of({"quantization": QUANTISED}) == 64
    for value in ({"group_size": 32, "mode": "mxfp4"}, [], {}, {"group_size": "64"}, {"group_size": 0}):
        with pytest.raises(FormatError, match="which is not read"):
            group_size_of({"quantization": value})


def test_names_of_transformers_with_the_arrays_of_mlx(tmp_path: Path) -> None:
    """As mlx-audio saves them: convolutions are (outputs, width, inputs)."""
    weights = tiny_weights(d_mlp=D_MLP)
    reference = open_folder(OF_HUGGING_FACE["pytorch"](tmp_path / "reference", weights))
    folder = OF_HUGGING_FACE["pytorch"](tmp_path / "mlx", weights)
    (folder / "pytorch_model.bin").unlink()
    name = "model.decoder.layers.0.fc1.weight"
    swapped = {n: np.ascontiguousarray(w.swapaxes(1, 2)) if w.ndim == 3 else w for n, w in weights.items()}
    del swapped[name]
    parts = {
        "weight": np.zeros((D_MLP, 4), np.uint32),
        "scales": np.ones((D_MLP, 1), np.float32),
        "biases": np.full((D_MLP, 1), 3, np.float32),
    }
    projection = {
        "weight": np.zeros((N_VOCAB, 8), np.uint32),
        "scales": np.ones((N_VOCAB, 1), np.float32),
        "biases": np.full((N_VOCAB, 1), 2, np.float32),
    }
    for module, arrays in ((name.removesuffix(".weight"), parts), ("proj_out", projection)):
        swapped |= {f"{module}.{n}": array for n, array in arrays.items()}
    save_file(swapped, folder / "model.safetensors")
    config = {**CONFIG, "quantization": {"group_size": 32, "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    model = open_folder(folder)
    assert model.config.has_projection
    found = dict(model.read_weights())
    assert (found.pop("decoder.layers.0.mlp.up.kernel") == 3).all()
    assert (found.pop("decoder.projection.embedding") == 2).all()
    for key, weight in reference.read_weights():
        if key in found:
            np.testing.assert_array_equal(found.pop(key), weight, err_msg=key)
    assert not found


def npz(folder: Path, header: str, data: bytes = bytes(16)) -> Path:
    """A weights.npz of one array with this header."""
    text = header.encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", content)
    (folder / "weights.npz").write_bytes(file.getvalue())
    return folder / "weights.npz"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "__import__('os').system('true')",
        "(" * 100,
    ],
)
def test_damaged_arrays_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(FormatError, match="array 'a' in it"):
        dict(tensors([npz(tmp_path, header)], 0))


def test_fortran_order_is_read(tmp_path: Path) -> None:
    data = np.arange(4, dtype=np.float32).tobytes()
    path = npz(tmp_path, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}", data)
    ((_, array),) = tensors([path], 0)
    assert array.tolist() == [[0, 2], [1, 3]]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    shutil.copy(REFERENCES / "mlx" / "weights.npz", tmp_path)
    with pytest.raises(FormatError, match=r"has no config\.json"):
        open_mlx(tmp_path, [tmp_path / "weights.npz"])
    (tmp_path / "config.json").write_text('{"n_audio_state": 8}')
    with pytest.raises(FormatError, match="invalid config: its dimensions lack 'n_mels'"):
        open_mlx(tmp_path, [tmp_path / "weights.npz"])
    with pytest.raises(FormatError, match=r"lacks the shards b\.safetensors"):
        open_mlx(tmp_path, [tmp_path / "b.safetensors"])


@pytest.mark.parametrize(
    "heads", [np.zeros((2, 3), np.int32), np.zeros((2, 2), np.float32), np.zeros(2, int)]
)
def test_damaged_alignment_heads_are_refused(tmp_path: Path, heads: NDArray[np.generic]) -> None:
    shutil.copy(REFERENCES / "mlx" / "config.json", tmp_path)
    save_file({"alignment_heads": heads}, tmp_path / "weights.safetensors")
    with pytest.raises(FormatError, match="alignment_heads have the shape"):
        open_mlx(tmp_path, [tmp_path / "weights.safetensors"])
