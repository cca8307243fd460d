import re
import tracemalloc
from pathlib import Path

import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax.serialization import msgpack_serialize

from model.formats.flax_msgpack import read_tensors
from model.formats.huggingface import read_weights
from model.formats.mapped_file import FormatError


def saved(folder: Path, content: bytes) -> Path:
    (folder / "flax_model.msgpack").write_bytes(content)
    return folder / "flax_model.msgpack"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("n", [1, 3, 300, 70_000])
def test_arrays_that_flax_wrote(tmp_path: Path, dtype: type, n: int) -> None:
    kernel = (np.arange(2 * n).reshape(n, 2) % 1000).astype(dtype)
    tree = {
        "params": {"model": {"decoder": {"layers": {"0": {"fc1": {"kernel": kernel, "bias": kernel[0]}}}}}}
    }
    found = dict(read_weights([saved(tmp_path, msgpack_serialize(tree))], read_tensors))
    assert found.keys() == {"decoder.layers.0.mlp.up.kernel", "decoder.layers.0.mlp.up.bias"}
    assert found["decoder.layers.0.mlp.up.kernel"].dtype == dtype
    np.testing.assert_array_equal(found["decoder.layers.0.mlp.up.kernel"], kernel)


@pytest.mark.parametrize("scanned", ["FlaxDecoderScanLayers", ""])
def test_layers_that_were_scanned_are_taken_apart(tmp_path: Path, scanned: str) -> None:
    layers = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    stacked = {"fc1": {"kernel": layers, "bias": layers[:, 0]}, "final_layer_norm": {"scale": layers[:, 1]}}
    norm = {"scale": layers[0, 0], "bias": layers[0, 1]}
    decoder = {"layers": {scanned: stacked} if scanned else stacked, "layer_norm": norm}
    path = saved(tmp_path, msgpack_serialize({"model": {"decoder": decoder}}))
    found = dict(read_weights([path], read_tensors))
    assert len(found) == 3 * 3 + 2
    for number, layer in enumerate(layers):
        name = f"decoder.layers.{number}"
        np.testing.assert_array_equal(found[f"{name}.mlp.up.kernel"], layer)
        np.testing.assert_array_equal(found[f"{name}.mlp.up.bias"], layer[0])
        np.testing.assert_array_equal(found[f"{name}.mlp_norm.scale"], layer[1])
    np.testing.assert_array_equal(found["decoder.norm.scale"], layers[0, 0])


@pytest.mark.parametrize("shape", [(3,), (2**31, 0)])
def test_scanned_weights_need_an_axis_of_so_many_layers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tree = {"model": {"decoder": {"layers": {"fc1": {"bias": np.zeros(shape, np.float32)}}}}}
    message = rf"layers of the shape {re.escape(str(shape))} in 'model/decoder/layers/fc1/bias'"
    with pytest.raises(FormatError, match=message):
        dict(read_tensors([saved(tmp_path, msgpack_serialize(tree))]))


def array(shape: object, dtype: object, content: object, code: int = 1) -> bytes:
    extension = msgpack.ExtType(code, msgpack.packb((shape, dtype, content)))
    return bytes(msgpack.packb({"a": extension}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (array((2**31, 2**31), "float32", b"abcd"), "cut short or damaged"),
        (array((2,), "float32", b"abcd"), "cut short or damaged"),
        (array((1,), "float32", bytes(8)), "has 8 bytes: it is damaged"),
        (array((1,), "object", b"abcd"), "unknown type 'object'"),
        (array((1.5,), "float32", b"abcd"), r"kind 0xcb|unknown type|damaged"),
        (array((1,) * 5, "float32", b"abcd"), "no array of flax"),
        (array((1,), "float32", b"abcd", code=2), "extension of type 2"),
        (array((1,), 3, b"abcd"), "name of kind int"),
        (msgpack.packb({"a": [1]}), "kind array in 'a'"),
        (msgpack.packb({3: {}}), "name of kind int"),
        (msgpack.packb({"a": {}}) + b"x", "goes on behind the weights"),
        (b"\xdf\xff\xff\xff\xff", "cut short or damaged"),
        (b"\xdb\xff\xff\xff\xff", "kind str"),
        (b"\x81\xdb\xff\xff\xff\xff", "cut short or damaged"),
        (b"\x81\xa1a" * 2000, "kind map in"),
        (b"\x81\xa1\xff\x80", "not UTF-8"),
        (msgpack.packb(msgpack.ExtType(1, b"abc")), "kind ext in ''"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = saved(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message):
            dict(read_weights([path], read_tensors))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
