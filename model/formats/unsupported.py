"""Formats that are recognised by their files, and are not read: their names, and what to do instead."""

from __future__ import annotations

from pathlib import Path

_CONVERT = "use the weights that it was converted from, in safetensors"
_FORMATS = (  # pattern of a file in the folder, name of the format, advice
    ("*.onnx", "ONNX", _CONVERT),
    ("onnx/*.onnx", "ONNX", _CONVERT),
    ("tf_model*.h5", "TensorFlow", "load it with `from_tf=True` in transformers 4, and save it again"),
    ("saved_model.pb", "TensorFlow", _CONVERT),
    ("*.tflite", "TensorFlow Lite", _CONVERT),
    ("*.nemo", "NeMo", "its networks are no Whisper"),
    ("*.mlmodelc", "Core ML", _CONVERT),
    ("*.mlpackage", "Core ML", _CONVERT),
    ("*.engine", "TensorRT", _CONVERT),
    ("*.plan", "TensorRT", _CONVERT),
    ("openvino_*.xml", "OpenVINO", _CONVERT),
    ("rust_model.ot", "rust-bert", _CONVERT),
    ("optimizer.pt", "the state of a training", "save its model with `save_pretrained`"),
)
_MAGIC = (
    (
        b"\x89HDF\r\n\x1a\n",
        "HDF5, as TensorFlow and Keras write it",
        "save it with transformers in safetensors",
    ),
    (b"\x93NUMPY", "a single array of numpy", _CONVERT),
    (b"ftrt", "TensorRT", _CONVERT),
)


def format_in(folder: Path) -> str:
    """Returns a sentence on the format of a folder's files that is not read; empty if none is recognised."""
    for pattern, name, advice in _FORMATS:
        if next(folder.glob(pattern), None) is not None:
            return f"it holds {name}, which is not read: {advice}"
    return ""


def format_of(path: Path) -> str:
    """The same for a single file, by its name and its first bytes."""
    with path.open("rb") as stream:
        start = stream.read(8)
    for magic, name, advice in _MAGIC:
        if start.startswith(magic):
            return f"it is {name}, which is not read: {advice}"
    for pattern, name, advice in _FORMATS:
        if path.match(pattern):
            return f"it is {name}, which is not read: {advice}"
    return ""
