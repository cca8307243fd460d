"""Prints a model's segments, weights per device and collectives on several meshes, as JSON.

`test_sharding.py` runs it. It needs several devices (`--xla_force_host_platform_device_count`).

    python -m tests.support.on_meshes MODEL BATCH_SIZE AUDIO FOLDER MESH...

FOLDER is the folder to which XLA dumps compiled programs (XLA_FLAGS).
"""

from __future__ import annotations

import gc
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import soundfile as sf
import soxr

from model.interface import SAMPLE_RATE, ModelOptions, Request
from model.transcriber import load_transcriber

PROGRAMS = "*after_optimizations.txt"
COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast)"
    r"(?:-start)?\("
)
SHAPE = re.compile(r"\w+\[([\d,]*)\]")


def requests_of(audio: Path, batch_size: int) -> list[Request]:
    """The same speech after silences of different lengths, so that no two windows have the same times."""
    samples, rate = sf.read(audio, dtype="float32")
    speech = soxr.resample(samples, rate, SAMPLE_RATE)
    silences = (np.zeros(row * SAMPLE_RATE, np.float32) for row in range(batch_size))
    return [Request(np.concatenate([silence, speech]), "en", full_window=True) for silence in silences]


def bytes_per_device() -> Counter[int]:
    """Bytes of all live arrays per device id."""
    gc.collect()
    n_bytes: Counter[int] = Counter()
    for array in jax.live_arrays():
        for shard in array.addressable_shards:
            n_bytes[shard.device.id] += shard.data.nbytes
    return n_bytes


def collectives(program: str) -> list[tuple[str, list[list[int]]]]:
    """The collective operations of a compiled program: name, and shapes of the results."""
    return [
        (operation, [[int(n) for n in shape.split(",") if n] for shape in SHAPE.findall(result)])
        for result, operation in COLLECTIVE.findall(program)
    ]


def on_mesh(options: ModelOptions, requests: list[Request], folder: Path) -> dict[str, Any]:
    """Segments, weight bytes per device and collectives of a model on the mesh of the options."""
    n_bytes, before = bytes_per_device(), set(folder.glob(PROGRAMS))
    transcriber = load_transcriber(options)
    loaded = bytes_per_device() - n_bytes
    results = transcriber.transcribe(requests)
    compiled = set(folder.glob(PROGRAMS)) - before
    return {
        "segments": [[(s.start, s.stop, s.tokens) for s in result.segments] for result in results],
        "weight_bytes": sorted(loaded.values()),
        "collectives": {file.name.split(".")[1]: collectives(file.read_text()) for file in compiled},
    }


def main(model: str, batch_size: str, audio: str, folder: str, *meshes: str) -> None:
    """Prints {mesh: result of `on_mesh`}."""
    requests = requests_of(Path(audio), int(batch_size))
    found = {}
    for mesh in meshes:
        options = ModelOptions(
            model=model,
            batch_size=int(batch_size),
            beam_size=1,
            max_new_tokens=16,
            quantization="none",
            mesh=mesh,
        )
        found[mesh] = on_mesh(options, requests, Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
