"""Writes `mlx/` from `openai.pt` beside it, with the model, the quantisation and the writers of MLX.

    python make_mlx_references.py

It needs mlx (`mlx[cpu]` off macOS), mlx-whisper without its dependencies, and safetensors, none of which is
among the requirements of this package, and reads `model.safetensors` and `blocks.npz`.
"""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_whisper.whisper import ModelDimensions, Whisper
from safetensors.numpy import load_file

FOLDER = Path(__file__).parent
NAMES = (
    ("model.", ""), (".layers.", ".blocks."), (".self_attn_layer_norm", ".attn_ln"),
    (".encoder_attn_layer_norm", ".cross_attn_ln"), (".final_layer_norm", ".mlp_ln"),
    (".self_attn", ".attn"), (".encoder_attn", ".cross_attn"), (".q_proj", ".query"), (".k_proj", ".key"),
    (".v_proj", ".value"), (".out_proj", ".out"), (".fc1", ".mlp1"), (".fc2", ".mlp2"),
    ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
    ("embed_positions.weight", "positional_embedding"), ("embed_tokens", "token_embedding"),
)  # fmt: skip


def save_model() -> None:
    dims = ModelDimensions(4, 1500, 8, 2, 1, 96, 448, 8, 2, 1)
    weights = {}
    for name, weight in load_file(FOLDER / "model.safetensors").items():
        for old, new in NAMES:
            name = name.replace(old, new)
        if name != "encoder.positional_embedding":
            weights[name] = mx.array(weight.transpose(0, 2, 1) if weight.ndim == 3 else weight)
    model = Whisper(dims, mx.float32)
    model.update(tree_unflatten(list(weights.items())))
    model.set_alignment_heads(np.array([[0, 1]]))
    saved = dict(tree_flatten(model.parameters()))
    np.savez(str(FOLDER / "mlx" / "weights.npz"), **saved)
    mx.save_safetensors(str(FOLDER / "mlx" / "weights.safetensors"), saved)
    config = {**dims.__dict__, "model_type": "whisper"}
    (FOLDER / "mlx" / "config.json").write_text(json.dumps(config, indent=1))
    np.save(
        FOLDER / "mlx" / "positions.npy", np.array(model.encoder._positional_embedding).astype(np.float16)
    )


def save_quantised() -> None:
    """Saves a matrix in each number of bits, and the numbers that MLX reads of it."""
    values = mx.array(np.load(FOLDER / "blocks.npz")["values"][:, :128])
    content = {}
    for bits in (2, 3, 4, 5, 6, 8):
        packed = mx.quantize(values, 64, bits)
        content |= {
            f"m{bits}.{part}": a for part, a in zip(("weight", "scales", "biases"), packed, strict=True)
        }
        content[f"values{bits}"] = mx.dequantize(*packed, 64, bits)
    mx.save_safetensors(str(FOLDER / "mlx" / "quantised.safetensors"), content)


if __name__ == "__main__":
    (FOLDER / "mlx").mkdir(exist_ok=True)
    save_model()
    save_quantised()
