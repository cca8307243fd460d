"""Writes the files beside it, with the programs whose formats are read; tests compare what is read of them.

    python make_references.py

It needs torch, transformers, openai-whisper, peft and gguf, none of which is among the requirements of this
package: run it in an environment of its own. The model is a Whisper of one layer with random weights; every
file holds the same ones, of which `model.safetensors` is the copy that the others are compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration
from whisper.model import ModelDimensions, Whisper

FOLDER = Path(__file__).parent
D_MODEL, N_VOCAB, N_MELS = 8, 96, 4
OPENAI_NAMES = (
    ("model.", ""), (".layers.", ".blocks."), (".self_attn_layer_norm", ".attn_ln"),
    (".encoder_attn_layer_norm", ".cross_attn_ln"), (".final_layer_norm", ".mlp_ln"),
    (".self_attn", ".attn"), (".encoder_attn", ".cross_attn"), (".q_proj", ".query"), (".k_proj", ".key"),
    (".v_proj", ".value"), (".out_proj", ".out"), (".fc1", ".mlp.0"), (".fc2", ".mlp.2"),
    ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
    ("embed_positions.weight", "positional_embedding"), ("embed_tokens", "token_embedding"),
)  # fmt: skip


def make_model() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=N_VOCAB, num_mel_bins=N_MELS, d_model=D_MODEL, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=4 * D_MODEL,
        decoder_ffn_dim=4 * D_MODEL, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
        max_source_positions=1500, max_target_positions=448,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def save_torch(model: WhisperForConditionalGeneration) -> None:
    model.config.save_pretrained(FOLDER)
    weights = model.state_dict()
    save_file(
        {k: v.contiguous() for k, v in weights.items() if k != "proj_out.weight"},
        FOLDER / "model.safetensors",
    )
    torch.save(weights, FOLDER / "pytorch_model.bin")
    torch.save(weights, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    dims = ModelDimensions(N_MELS, 1500, D_MODEL, 2, 1, N_VOCAB, 448, D_MODEL, 2, 1)
    theirs = Whisper(dims)
    renamed = {}
    for name, weight in weights.items():
        if name != "proj_out.weight":
            for old, new in OPENAI_NAMES:
                name = name.replace(old, new)
            renamed[name] = weight
    theirs.load_state_dict(renamed)
    torch.save({"dims": dims.__dict__, "model_state_dict": theirs.state_dict()}, FOLDER / "openai.pt")


def save_views() -> None:
    """Saves tensors of each dtype, and views that share a storage."""
    whole = torch.arange(60, dtype=torch.float32).reshape(5, 12) / 7
    tensors = {
        "whole": whole, "transposed": whole.T, "part": whole[1:4, 2:11:3],
        "parameter": torch.nn.Parameter(whole[:2].clone()), "half": whole.half(),
        "bfloat16": whole.bfloat16(), "double": whole.double(), "int64": torch.arange(5),
        "int32": torch.arange(5, dtype=torch.int32),
        "int8": torch.arange(5, dtype=torch.int8), "uint8": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False]), "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3),
    }  # fmt: skip
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, FOLDER / "views.safetensors")
    torch.save(tensors, FOLDER / "views.pt")
    torch.save(tensors, FOLDER / "views_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"weights": tensors, "arguments": argparse.Namespace(rate=1)}, FOLDER / "training.pt")
    torch.save(torch.nn.Linear(2, 2), FOLDER / "module.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(FOLDER / "scripted.pt"))


def save_adapters(model: WhisperForConditionalGeneration) -> None:
    """Saves LoRA adapters, and the weights that each changes, as PEFT merges them."""
    common = {
        "r": 2,
        "lora_alpha": 6,
        "init_lora_weights": False,
        "target_modules": ["q_proj", "v_proj", "fc2"],
    }
    kinds = {
        "plain": LoraConfig(**common),
        "bias": LoraConfig(**common, bias="lora_only"),
        "lora_bias": LoraConfig(**common, lora_bias=True),
        "rslora": LoraConfig(**common, use_rslora=True),
        "patterns": LoraConfig(
            **common,
            rank_pattern={"fc2": 3, "encoder_attn.q_proj": 1},
            alpha_pattern={"decoder.layers.0.self_attn.v_proj": 11, "fc2": 5},
        ),
        "all": LoraConfig(**{**common, "target_modules": "all-linear"}, modules_to_save=["layer_norm"]),
        "convolutions": LoraConfig(**{**common, "target_modules": ["conv1", "conv2", "embed_tokens"]}),
        "dora": LoraConfig(**common, use_dora=True),
    }
    original = {name: weight.clone() for name, weight in model.state_dict().items()}
    for kind, config in kinds.items():
        torch.manual_seed(1)
        base = make_model()
        adapted = get_peft_model(base, config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        folder = FOLDER / "adapters" / kind
        adapted.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        merged = adapted.merge_and_unload().state_dict()
        changed = {n: w.contiguous() for n, w in merged.items() if not torch.equal(w, original[n])}
        changed.pop("proj_out.weight", None)
        save_file(changed, folder / "merged.safetensors")


def save_blocks() -> None:
    """Saves numbers in ggml's quantised types, and the numbers that its own package reads of them."""
    values = np.random.default_rng(0).standard_normal((4, 512)).astype(np.float32)
    types = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
    k_types = {"Q2_K": 84, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}
    content = {}
    for name in types:
        kind = gguf.GGMLQuantizationType[name]
        content[name] = gguf.quants.quantize(values, kind)
    for name, n_bytes in k_types.items():  # of these it has no quantisation: any bytes, with small scales
        blocks = np.random.default_rng(1).integers(0, 256, (4, 2, n_bytes), np.uint8)
        blocks[..., -2:] = blocks[..., :2] = np.float16(0.01).reshape(1).view(np.uint8)
        blocks[..., 2:4] = np.float16(0.02).reshape(1).view(np.uint8)
        blocks[..., -4:-2] = np.float16(0.02).reshape(1).view(np.uint8)
        content[name] = blocks.reshape(4, -1)
    for name in list(content):
        content[f"{name} values"] = gguf.quants.dequantize(content[name], gguf.GGMLQuantizationType[name])
    np.savez_compressed(FOLDER / "blocks.npz", values=values, **content)


def save_gguf() -> None:
    """Saves a GGUF with only the weights from which sizes follow, and an embedding in 8 bits."""
    writer = gguf.GGUFWriter(FOLDER / "model.gguf", "whisper")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    rng = np.random.default_rng(0)
    for name, shape in (
        ("model.encoder.conv1.weight", (64, 4, 3)),
        ("model.encoder.layers.0.fc1.weight", (32, 64)),
        ("model.decoder.layers.0.fc1.bias", (32,)),
    ):
        writer.add_tensor(name, rng.standard_normal(shape).astype(np.float16))
    blocks = np.load(FOLDER / "blocks.npz")["Q8_0"].reshape(4, -1, 34)[:, :2].reshape(4, -1)
    writer.add_tensor(
        "model.decoder.embed_tokens.weight",
        np.tile(blocks, (2, 1)),
        raw_dtype=gguf.GGMLQuantizationType.Q8_0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    model = make_model()
    save_torch(model)
    save_views()
    save_adapters(model)
    save_blocks()
    save_gguf()
