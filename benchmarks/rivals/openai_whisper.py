"""Runs openai/whisper on whisper-beam's weights, in another Python, as it needs torch.

Such a Python is an environment with `pip install openai-whisper soundfile safetensors`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from benchmarks.rivals.huggingface import torch_weight
from benchmarks.rivals.systems import Transcripts
from benchmarks.support.processes import isolated_command
from model.checkpoint import Checkpoint, find_checkpoint
from model.config import MAX_TEXT_POSITIONS, N_POSITIONS

_PROGRAM = Path(__file__).with_name("openai_whisper_program.py")
_DECODE_PROGRAM = Path(__file__).with_name("openai_decode_program.py")
_NAMES = (  # replacements that turn names of `model.network` into those of `whisper/model.py`, in order
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
    """Transcribes recordings with openai/whisper and its defaults, in float32.

    Args:
        python: Python of an environment with openai/whisper.
        model: name of a checkpoint.
        paths: paths of recordings, mono at 16 kHz.
    """
    with TemporaryDirectory() as folder:
        weights = Path(folder, "weights.safetensors")
        save_openai(find_checkpoint(model), weights)
        command = [*isolated_command(python, _PROGRAM), str(weights), *map(str, paths)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Transcripts(**json.loads(done.stdout))


def decode_with_openai_whisper(
    python: Path, model: str, clips: Sequence[NDArray[np.float32]], settings: Sequence[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Decodes windows with `whisper.decode` of openai/whisper, in float32.

    Args:
        python: Python of an environment with openai/whisper.
        model: name of one of OpenAI's checkpoints.
        clips: float32[n] at 16 kHz, at most 30 s each.
        settings: for each, fields of `whisper.DecodingOptions`, and `words`, whether words are timed.

    Returns:
        For each setting a result for each clip, with `ids`, `language`, `avg_logprob`, `no_speech_prob` and
        `words` (`word`, `probability`, `start` and `end` in seconds).
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        weights, audio, options = (folder / file for file in ("a.safetensors", "clips.npz", "settings.json"))
        save_openai(find_checkpoint(model), weights)
        np.savez(audio, *clips)
        options.write_text(json.dumps(settings))
        arguments = [weights, model.removeprefix("openai/whisper-"), audio, options]
        command = [*isolated_command(python, _DECODE_PROGRAM), *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def save_openai(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint's weights with openai/whisper's names, and its dimensions as metadata."""
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
