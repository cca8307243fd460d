from pathlib import Path

import pytest

from model.formats.unsupported import format_in, format_of


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("onnx/encoder_model.onnx", "ONNX"),
        ("saved_model.pb", "TensorFlow"),
        ("model.tflite", "TensorFlow Lite"),
        ("encoder.mlmodelc", "Core ML"),
        ("whisper.engine", "TensorRT"),
        ("openvino_encoder_model.xml", "OpenVINO"),
        ("rust_model.ot", "rust-bert"),
    ],
)
def test_formats_by_the_names_of_files(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"content")
    assert format_in(tmp_path).startswith(f"it holds {name}, which is not read: ")
    assert format_of(tmp_path / file).startswith(f"it is {name}, which is not read: ")


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x93NUMPY", "a single array")]
)
def test_formats_by_the_first_bytes(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "weights").write_bytes(start + bytes(9))
    assert f"it is {name}" in format_of(tmp_path / "weights")


def test_others_are_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"")
    assert format_of(tmp_path / "weights") == format_in(tmp_path) == ""
