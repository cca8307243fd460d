"""Export of a checkpoint to a folder that Hugging Face's transformers can read, in a Python with torch.

Such a Python is an environment with `pip install torch transformers soundfile`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from model.checkpoint import Checkpoint
from model.config import MAX_TEXT_POSITIONS, DecodingConfig, WhisperConfig
from model.tokens import SpecialTokens, WhisperTokenizer

NEEDED = ("torch", "transformers", "soundfile")
_NAMES = (  # replacements that turn names of `model.network` into those of transformers, applied in order
    (r"\.(kernel|scale)$", ".weight"),
    (r"encoder\.(.*)\.attention(_norm)?\.", r"encoder.\1.self_attention\2."),
    (r"\.embedding\.embedding$", ".embed_tokens.weight"),
    (r"\.positions$", ".embed_positions.weight"),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.out\.", ".out_proj."),
    (r"\.mlp\.up\.", ".fc1."),
    (r"\.mlp\.down\.", ".fc2."),
    (r"\.mlp_norm\.", ".final_layer_norm."),
    (r"\.norm\.", ".layer_norm."),
    (r"\.self_attention_norm\.", ".self_attn_layer_norm."),
    (r"\.cross_attention_norm\.", ".encoder_attn_layer_norm."),
    (r"\.self_attention\.", ".self_attn."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"^", "model."),
)


def missing_packages(python: Path, needed: Sequence[str] = NEEDED) -> list[str]:
    """Returns the packages that are missing in a Python.

    Raises:
        OSError: the Python does not exist.
    """
    program = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))"
    done = subprocess.run(
        [python, "-c", program, *needed], check=True, stdout=subprocess.PIPE, text=True, cwd="/"
    )
    return done.stdout.split()


def save_tokenizer(tokenizer: Path | Tokenizer, path: Path) -> None:
    """Writes the `tokenizer.json` of a checkpoint."""
    if isinstance(tokenizer, Tokenizer):
        tokenizer.save(str(path))
    else:
        shutil.copy(tokenizer, path)


def save_huggingface(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the files of a model that `transformers.pipeline` needs, in float32."""
    special = WhisperTokenizer(checkpoint.tokenizer, checkpoint.decoding, checkpoint.config.n_vocab).special
    weights = {
        transformers_name(name): torch_weight(name, weight.astype(np.float32))
        for name, weight in checkpoint.weights()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    save_tokenizer(checkpoint.tokenizer, folder / "tokenizer.json")
    files = {
        "config.json": transformers_config(checkpoint.config, special),
        "generation_config.json": generation_config(checkpoint.decoding, special),
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": checkpoint.config.n_mels,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>"),
        },
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))


def transformers_name(name: str) -> str:
    """What transformers calls a weight of `model.network`."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def transformers_config(config: WhisperConfig, special: SpecialTokens | None = None) -> dict[str, Any]:
    """The content of `config.json`; without special ids, those of transformers' defaults."""
    sizes: dict[str, Any] = {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "num_mel_bins": config.n_mels,
        "d_model": config.d_model,
        "encoder_ffn_dim": config.d_mlp,
        "decoder_ffn_dim": config.d_mlp,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.encoder_heads,
        "decoder_attention_heads": config.decoder_heads,
        "vocab_size": config.n_vocab,
        "max_target_positions": MAX_TEXT_POSITIONS,
    }
    return {**sizes, **_ids(special)} if special else sizes


def _ids(special: SpecialTokens) -> Mapping[str, int]:
    end = special.end_of_text
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": special.start_of_transcript,
    }


def generation_config(decoding: DecodingConfig, special: SpecialTokens) -> dict[str, Any]:
    """Returns the content of `generation_config.json`."""
    values: dict[str, Any] = {
        **_ids(special),
        "is_multilingual": special.is_multilingual,
        "max_length": MAX_TEXT_POSITIONS,
        "no_timestamps_token_id": special.no_timestamps,
        "prev_sot_token_id": special.start_of_previous,
        "suppress_tokens": list(decoding.suppress_ids),
        "begin_suppress_tokens": list(decoding.begin_suppress_ids),
    }
    if special.is_multilingual:
        values["lang_to_id"] = {f"<|{code}|>": i for code, i in special.languages.items()}
        values["task_to_id"] = {"transcribe": special.transcribe, "translate": special.translate}
    return values


def torch_weight(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts a weight of `model.network`, (inputs, outputs), to torch's layout, (outputs, inputs)."""
    if re.search(r"conv\d\.kernel$", name):  # (3, inputs, outputs), or the first two axes merged
        weight = weight.reshape(3, -1, weight.shape[-1])
    return np.ascontiguousarray(weight.T if name.endswith(".kernel") else weight)
