"""Files as whisper.cpp's converters write them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SIZES = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx", "n_text_state",
    "n_text_head", "n_text_layer", "n_mels",
)  # fmt: skip
TYPES = {"float32": 0, "float16": 1}


def ggml_bytes(
    weights: Mapping[str, NDArray[np.generic]], dims: Mapping[str, int], tokens: Sequence[bytes] = ()
) -> bytes:
    """Returns the bytes of a `ggml-*.bin` with openai/whisper's weights."""
    chunks = [struct.pack("<I", 0x67676D6C), struct.pack("<11i", *(dims[name] for name in SIZES), 0)]
    chunks += [struct.pack("<2i", dims["n_mels"], 201), bytes(4 * dims["n_mels"] * 201)]
    chunks += [struct.pack("<i", len(tokens)), *(struct.pack("<I", len(token)) + token for token in tokens)]
    for name, weight in weights.items():
        shape = (*weight.shape, 1) if "conv" in name and weight.ndim == 1 else weight.shape
        chunks.append(tensor_bytes(name, shape, TYPES[weight.dtype.name], weight.tobytes()))
    return b"".join(chunks)


def tensor_bytes(name: str, shape: Sequence[int], kind: int, data: bytes) -> bytes:
    """Returns the bytes of a tensor."""
    header = struct.pack("<3i", len(shape), len(name.encode()), kind)
    return header + struct.pack(f"<{len(shape)}i", *reversed(shape)) + name.encode() + data


def q8_0(weight: NDArray[np.float32]) -> bytes:
    """Quantises rows to 8 bits, in blocks of 32 numbers with a scale each."""
    blocks = weight.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    values = np.rint(blocks / scale.astype(np.float32)).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), values.view(np.uint8)], axis=1).tobytes()
