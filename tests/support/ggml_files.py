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


def gguf_bytes(
    weights: Mapping[str, NDArray[np.generic]],
    metadata: Mapping[str, object],
    blocks: Mapping[str, tuple[tuple[int, ...], int, bytes]] | None = None,
) -> bytes:
    """Returns the bytes of a GGUF file; `blocks` are shapes, types and data of tensors that are quantised."""
    tensors = {name: (w.shape, TYPES[w.dtype.name], w.tobytes()) for name, w in weights.items()} | dict(
        blocks or {}
    )
    chunks = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    chunks += [_gguf_text(key) + _gguf_value(value) for key, value in metadata.items()]
    data = b""
    for name, (shape, kind, content) in tensors.items():
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        chunks.append(_gguf_text(name) + dims + struct.pack("<IQ", kind, len(data)))
        data += content + bytes(-len(content) % 32)
    head = b"".join(chunks)
    return head + bytes(-len(head) % 32) + data


def _gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _gguf_value(value: object) -> bytes:
    if isinstance(value, list):
        items = [_gguf_value(item) for item in value]
        return (
            struct.pack("<I", 9)
            + items[0][:4]
            + struct.pack("<Q", len(items))
            + b"".join(i[4:] for i in items)
        )
    if isinstance(value, str):
        return struct.pack("<I", 8) + _gguf_text(value)
    code, form = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}[type(value)]
    return struct.pack(f"<I{form}", code, value)


def q8_0(weight: NDArray[np.float32]) -> bytes:
    """Quantises rows to 8 bits, in blocks of 32 numbers with a scale each."""
    blocks = weight.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    values = np.rint(blocks / scale.astype(np.float32)).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), values.view(np.uint8)], axis=1).tobytes()
