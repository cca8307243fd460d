import struct
import tracemalloc
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from numpy.typing import NDArray

from model.config import DecodingConfig
from model.formats.ctranslate2 import CTranslate2File, FormatError, read_config, read_decoding, read_weights
from model.formats.huggingface import read_weights as read_safetensors
from tests.support.tiny_model import ctranslate2_bytes, ctranslate2_variables, tiny_weights


@pytest.fixture(scope="module")
def variables() -> dict[str, NDArray[np.generic]]:
    return ctranslate2_variables(tiny_weights())


def save(folder: Path, content: bytes, name: str = "model.bin") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_read_config_takes_sizes_from_shapes(
    tmp_path: Path, variables: dict[str, NDArray[np.generic]]
) -> None:
    config = read_config(CTranslate2File([save(tmp_path, ctranslate2_bytes(variables))]))
    assert (config.n_mels, config.d_model, config.d_mlp, config.n_vocab) == (80, 32, 64, 51_865)
    assert (config.encoder_layers, config.encoder_heads, config.decoder_layers) == (1, 2, 1)


def test_weights_equal_those_of_safetensors(
    tmp_path: Path, tiny_folder: Path, variables: dict[str, NDArray[np.generic]]
) -> None:
    file = CTranslate2File([save(tmp_path, ctranslate2_bytes(variables))])
    ours = dict(read_weights(file, read_config(file)))
    theirs = dict(read_safetensors([tiny_folder / "model.safetensors"]))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        np.testing.assert_array_equal(ours[name], weight, err_msg=name)


@pytest.mark.parametrize("cut", [1, 5_000_003])
def test_parts_read_as_one(tmp_path: Path, variables: dict[str, NDArray[np.generic]], cut: int) -> None:
    whole = ctranslate2_bytes(variables)
    parts = [save(tmp_path, whole[:cut], "part1"), save(tmp_path, whole[cut:], "part2")]
    embedding = CTranslate2File(parts).read("decoder/embeddings/weight")
    np.testing.assert_array_equal(embedding, variables["decoder/embeddings/weight"])


def test_an_alias_refers_to_its_variable(tmp_path: Path, variables: dict[str, NDArray[np.generic]]) -> None:
    file = CTranslate2File([save(tmp_path, ctranslate2_bytes(variables))])
    assert file.shape("decoder/projection/weight") == (51_865, 32)


def test_a_projection_that_is_no_alias_is_read_if_it_differs(
    tmp_path: Path, variables: dict[str, NDArray[np.generic]]
) -> None:
    embedding = variables["decoder/embeddings/weight"]
    for projection, differs in ((embedding.copy(), False), (embedding[::-1].copy(), True)):
        content = ctranslate2_bytes({**variables, "decoder/projection/weight": projection})
        file = CTranslate2File([save(tmp_path, content)])
        config = read_config(file)
        assert config.has_projection is differs
        weights = dict(read_weights(file, config))
        assert ("decoder.projection.embedding" in weights) is differs
        if differs:
            np.testing.assert_array_equal(weights["decoder.projection.embedding"], projection)


def test_a_missing_projection_is_named(tmp_path: Path, variables: dict[str, NDArray[np.generic]]) -> None:
    content = ctranslate2_bytes(variables).replace(b"decoder/projection/weight", b"decoder/protection/weight")
    with pytest.raises(FormatError, match="no variable 'decoder/projection/weight'"):
        read_config(CTranslate2File([save(tmp_path, content)]))


def test_a_surplus_variable_is_named(tmp_path: Path, variables: dict[str, NDArray[np.generic]]) -> None:
    setting, adapter = np.array(1, np.int8), np.zeros((2, 2), np.float32)
    for name, value in (("decoder/pre_norm", setting), ("decoder/layer_0/adapter/weight", adapter)):
        file = CTranslate2File([save(tmp_path, ctranslate2_bytes({**variables, name: value}))])
        if value is setting:
            assert dict(read_weights(file, read_config(file)))
        else:
            with pytest.raises(FormatError, match="has the variables decoder/layer_0/adapter/weight, which"):
                list(read_weights(file, read_config(file)))


def test_null_lists_are_empty_and_languages_are_ids() -> None:
    null = dict.fromkeys(("suppress_ids", "suppress_ids_begin", "alignment_heads"))
    assert read_decoding(null, {}) == DecodingConfig()
    assert read_decoding({"lang_ids": [5, 6]}, {}).languages == (("", 5), ("", 6))


def test_generation_config_overrides_config() -> None:
    values = {
        **{"suppress_ids": [1], "suppress_ids_begin": [2], "alignment_heads": [[0, 0]], "lang_ids": [5, 6]},
        **{"task": "translate", "forced_decoder_ids": [[1, 5]]},  # names that CTranslate2 does not have
    }
    assert read_decoding(values, {}) == DecodingConfig((1,), (2,), ((0, 0),), languages=(("", 5), ("", 6)))
    generation = {
        **{"suppress_tokens": [7, 8], "begin_suppress_tokens": None, "is_multilingual": True},
        **{
            "lang_to_id": {"<|en|>": 5},
            "task_to_id": {"translate": 9},
            "language": "en",
            "task": "translate",
        },
        **{"no_timestamps_token_id": 12, "max_initial_timestamp_index": 3, "decoder_start_token_id": 4},
    }
    assert read_decoding(values, generation) == DecodingConfig(
        (7, 8),
        (),
        ((0, 0),),
        is_multilingual=True,
        languages=(("en", 5),),
        task_ids=(("translate", 9),),
        no_timestamps_id=12,
        language="en",
        task="translate",
        start_id=4,
        max_initial_timestamp=3,
    )


def test_int8_weights_are_dequantized(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    scale = 127 / np.abs(kernel).max(axis=1)
    quantized = np.round(kernel * scale[:, None]).astype(np.int8)
    content = ctranslate2_bytes({"w": quantized, "w_scale": scale, "decoder/embeddings/weight": kernel})
    read = CTranslate2File([save(tmp_path, content)]).read("w")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, kernel, atol=0.5 / scale.min())


def test_an_empty_part_raises(tmp_path: Path, variables: dict[str, NDArray[np.generic]]) -> None:
    parts = [save(tmp_path, ctranslate2_bytes(variables), "part1"), save(tmp_path, b"", "part2")]
    with pytest.raises(FormatError, match="part2 is empty"):
        CTranslate2File(parts)


@pytest.mark.parametrize("cut", [0, 3, 10, 200, 100_000])
def test_a_truncated_file_raises(tmp_path: Path, variables: dict[str, NDArray[np.generic]], cut: int) -> None:
    path = save(tmp_path, ctranslate2_bytes(variables)[:cut])
    with pytest.raises(FormatError, match=r"cut short|empty"):
        CTranslate2File([path])


def header(shape: tuple[int, ...], n_bytes: int, code: int = 0, rank: int | None = None) -> bytes:
    entry = struct.pack("<H", 2) + b"w\0" + struct.pack("<B", len(shape) if rank is None else rank)
    entry += struct.pack(f"<{len(shape)}I", *shape) + struct.pack("<BI", code, n_bytes)
    return struct.pack("<I", 6) + struct.pack("<H", 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 1) + entry


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((2**31, 2**31), 16), "claims 16 bytes"),
        (header((2**30,), 2**32 - 1), "claims 4294967295 bytes"),
        (header((2**20,), 2**22), "cut short or damaged"),
        (header((), 4, code=9), "unknown type 9"),
        (header((), 4, rank=200), "claims 200 dimensions"),
        (struct.pack("<I", 7), "version 7"),
        (struct.pack("<I", 6) + struct.pack("<H", 4) + b"Foo\0", "'Foo'"),
        (struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 2**31), "claims 2147483648"),
        (header((2**32 - 1,) * 4, 2**32 - 1), "claims 4294967295 bytes"),
        (struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 10**9), "claims 1000000000"),
        (struct.pack("<IH", 6, 2**16 - 1) + b"W", "middle of 65535 bytes"),
        (
            header((1,), 4)[:-5] + struct.pack("<BI", 0, 4) + bytes(4) + struct.pack("<I", 2**32 - 1),
            "aliases",
        ),
        (struct.pack("<IH", 6, 3) + b"\xff\xfe\0", "not UTF-8"),
    ],
)
def test_absurd_sizes_raise_quickly_and_in_little_memory(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = save(tmp_path, content)
    tracemalloc.start()
    started = process_time()
    try:
        with pytest.raises(FormatError, match=message):
            CTranslate2File([path])
        assert process_time() - started < 5
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "scale", [np.ones((1_000_000,)), np.ones((4, 1)), np.zeros(4), np.full(4, np.nan), np.ones((2, 2, 2, 2))]
)
def test_a_scale_of_another_shape_raises(tmp_path: Path, scale: NDArray[np.float64]) -> None:
    content = ctranslate2_bytes({"w": np.ones((4, 1_000_000), np.int8), "w_scale": scale.astype(np.float32)})
    file = CTranslate2File([save(tmp_path, content)])
    with pytest.raises(FormatError, match=r"'w_scale' .* does not match"):
        file.read("w")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder/conv1/weight", np.zeros((32, 80)), "conv1/weight' has the shape"),
        ("encoder/num_heads", np.zeros((2, 2)), "a number was expected"),
        ("encoder/num_heads", np.float32(2), "a whole number was expected"),
        ("decoder/embeddings/weight", np.zeros((0, 32)), "embeddings/weight' has the shape"),
        ("encoder/layer_999999999/gamma", np.zeros(1), "encoder_layers is 1000000000"),
        (
            "encoder/layer_0/self_attention/linear_0/weight",
            np.zeros((7, 32)),
            "expected query, key and value",
        ),
        (
            "encoder/layer_0/self_attention/linear_0/weight",
            np.zeros((10**6, 1)),
            "expected query, key and value",
        ),
        ("encoder/layer_0/self_attention/linear_0/weight", np.zeros(3), "where 2 dimensions were expected"),
        ("encoder/layer_0/self_attention/linear_0/bias", np.zeros(3), "expected query, key and value"),
    ],
)
def test_variables_of_other_shapes_raise(
    tmp_path: Path,
    variables: dict[str, NDArray[np.generic]],
    name: str,
    value: NDArray[np.generic],
    message: str,
) -> None:
    changed = {**variables, name: np.asarray(value, np.float32)}
    file = CTranslate2File([save(tmp_path, ctranslate2_bytes(changed))])
    with pytest.raises(ValueError, match=message):
        list(read_weights(file, read_config(file)))


def test_a_missing_variable_raises(tmp_path: Path) -> None:
    content = ctranslate2_bytes({"decoder/embeddings/weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(FormatError, match="no variable 'encoder/conv1/weight'"):
        read_config(CTranslate2File([save(tmp_path, content)]))
