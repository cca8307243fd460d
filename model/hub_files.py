"""Files of a model on the Hugging Face Hub: those of one format of its weights, and no more."""

from __future__ import annotations

from pathlib import Path

_CONFIGS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "normalizer.json",
    "vocabulary.*",
    "adapter_config.json",
)
_WEIGHTS = (  # by format, the first that a repository has is fetched; as `model.formats.folder` prefers them
    ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    ("model.bin",),
    ("adapter_model.safetensors",),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
    ("flax_model.msgpack", "flax_model.msgpack.index.json", "flax_model-*.msgpack"),
    ("weights.safetensors",),
    ("weights.npz",),
    ("adapter_model.bin",),
)


def fetch(name: str) -> Path:
    """Downloads a model, unless it is in the cache, and returns its folder.

    Repositories often hold the same weights in several formats, of gigabytes each. A repository whose files
    are models of their own (`ggml-*.bin`, `*.pt`) is not downloaded.

    Args:
        name: name on the Hub.

    Raises:
        HFValidationError, HfHubHTTPError, LocalEntryNotFoundError: see `huggingface_hub.snapshot_download`.
        OSError: the Hub or the disk cannot be used.
    """
    from huggingface_hub import snapshot_download  # slow to import, and not needed for local weights

    folder = Path()
    for patterns in _WEIGHTS:
        folder = Path(snapshot_download(name, allow_patterns=[*_CONFIGS, *patterns]))
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            break
    return folder
