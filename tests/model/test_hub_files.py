import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from model.hub_files import fetch

SAFE = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
]
SHARDS = [
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json",
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are those of every repository on the Hub."""
    folder, cache = tmp_path / "repository", tmp_path / "cache"
    folder.mkdir()
    cache.mkdir()

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        for path in folder.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, cache)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return folder


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        ([*SAFE, "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "model.fp32.safetensors"], SAFE),
        (["model.safetensors", "model.bin", "weights.npz"], ["model.safetensors"]),
        (["model.bin", "pytorch_model.bin"], ["model.bin"]),
        ([*SHARDS, "flax_model.msgpack"], SHARDS),
        (["flax_model.msgpack", "weights.npz"], ["flax_model.msgpack"]),
        (["weights.safetensors", "weights.npz"], ["weights.safetensors"]),
        (["adapter_model.safetensors", "adapter_model.bin"], ["adapter_model.safetensors"]),
        (["adapter_model.bin", "training_args.bin", "optimizer.pt"], ["adapter_model.bin"]),
        (["ggml-base.bin", "ggml-large-v3.bin"], []),
    ],
)
def test_weights_of_one_format_are_fetched(repository: Path, files: list[str], fetched: list[str]) -> None:
    configs = ["config.json", "tokenizer.json", "adapter_config.json", "vocabulary.txt"]
    for name in [*files, *configs, "README.md"]:
        (repository / name).write_text(name)
    assert sorted(path.name for path in fetch("a/b").iterdir()) == sorted([*fetched, *configs])
