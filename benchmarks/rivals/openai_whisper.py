"""openai/whisper on the weights that we have, run by a Python that has it: it needs torch, and we do not.

`pip install openai-whisper soundfile safetensors` into an environment of its own makes such a Python.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from benchmarks.rivals.huggingface import torch_weight
from benchmarks.rivals.systems import Transcripts
from benchmarks.support.processes import companion
from model.checkpoint import Checkpoint, find_checkpoint
from model.config import MAX_TEXT_POSITIONS, N_POSITIONS

_PROGRAM = Path(__file__).with_name("openai_whisper_program.py")
_NAMES = (  # what our weights are called in `whisper/model.py`; from the first that fits to the last
    (r"\.(kernel|scale)$", ".weight"),
    (r"\.layers\.", ".blocks."),
    (r"\.(?:self_)?attention(_norm)?\.", r".attn\1."),
    (r"\.cross_attention(_norm)?\.", r".cross_attn\1."),
    (r"\.mlp\.up\.", ".mlp.0."),
    (r"\.mlp\.down\.", ".mlp.2."),
    (r"_norm\.", "_ln."),
    (r"encoder\.norm\.", "encoder.ln_post."),
    (r"decoder\.norm\.", "decoder.ln."),
    (r"\.positions$", ".positional_embedding"),
    (r"\.embedding\.embedding$", ".token_embedding.weight"),
)


def run_openai_whisper(python: Path, model: str, paths: Iterable[Path]) -> Transcripts:
    """What openai/whisper writes with its defaults, in float32.

    Args:
        python: of an environment that has it.
        model: name of a checkpoint.
        paths: of recordings, mono at 16 kHz.
    """
    with TemporaryDirectory() as folder:
        weights = Path(folder, "weights.safetensors")
        save_openai(find_checkpoint(model), weights)
        command = [*companion(python, _PROGRAM), str(weights), *map(str, paths)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Transcripts(**json.loads(done.stdout))


def save_openai(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint's weights under the names of openai/whisper, and beside them its dimensions."""
    config = checkpoint.config
    dimensions = {
        "n_mels": config.n_mels,
        "n_audio_ctx": N_POSITIONS,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.n_vocab,
        "n_text_ctx": MAX_TEXT_POSITIONS,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_heads,
        "n_text_layer": config.decoder_layers,
    }
    weights = {}
    for name, weight in checkpoint.weights():
        weights[_openai_name(name)] = torch_weight(name, weight.astype(np.float32))
    save_file(weights, path, {"dimensions": json.dumps(dimensions)})


def _openai_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
