from pathlib import Path

import pytest

from model.formats.mapped_file import FormatError
from model.hub_files import fetch
from tests.support.hub import serve_hub

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
    """The folder of the repository a/b on the Hub."""
    (tmp_path / "repository").mkdir()
    serve_hub(monkeypatch, {"a/b": tmp_path / "repository"}, tmp_path / "cache")
    return tmp_path / "repository"


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


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
        (["onnx/model.onnx", "tf_model.h5"], []),
        (["checkpoint-10/pytorch_model.bin", "checkpoint-10/optimizer.pt"], []),
        (["openvino_model.bin", "openvino_model.xml", "a.mlmodelc/weights/weight.bin"], []),
    ],
)
def test_weights_of_one_format_are_fetched(repository: Path, files: list[str], fetched: list[str]) -> None:
    configs = ["config.json", "tokenizer.json", "adapter_config.json", "vocabulary.txt"]
    fill(repository, *files, *configs, "README.md")
    assert files_in(fetch("a/b")) == sorted([*fetched, *configs])


@pytest.mark.parametrize(
    "file", ["ggml-base-q5_0.bin", "a.pt", "a [v2].gguf", "sub/ggml-base-q5_0.bin", "sub/x/a.pt"]
)
def test_a_file_that_is_named_is_fetched_with_what_is_beside_it(repository: Path, file: str) -> None:
    folder = file.rpartition("/")[0] + "/" if "/" in file else ""
    configs = [f"{folder}{name}" for name in ("config.json", "tokenizer.json")]
    fill(repository, file, *configs, "other/tokenizer.json", f"{folder}ggml-large.bin", "a v.gguf")
    path = fetch(f"a/b:{file}")
    assert path.read_text() == file
    cache = path.parents[file.count("/")]
    assert files_in(cache) == sorted([file, *configs])


@pytest.mark.parametrize("file", ["ggml-base.bin", "model.pt", "sub/whisper.gguf"])
def test_the_only_model_of_a_single_file_is_fetched(repository: Path, file: str) -> None:
    fill(repository, file, "training_args.bin", "README.md", "other/pytorch_model.bin")
    assert fetch("a/b").read_text() == file


def test_of_several_one_must_be_named(repository: Path) -> None:
    fill(repository, "ggml-base.bin", "ggml-large-v3.bin", "sub/a.gguf", "config.json")
    with pytest.raises(
        FormatError, match=r"as a/b:FILE, of ggml-base\.bin, ggml-large-v3\.bin, sub/a\.gguf$"
    ):
        fetch("a/b")
    fill(repository, *(f"ggml-{number:02}.bin" for number in range(50)))
    with pytest.raises(FormatError, match=r"ggml-39\.bin, and 13 more$"):
        fetch("a/b")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "ggml-bsae.bin",
            r"a/b has no file ggml-bsae\.bin; its files that may be models are ggml-base\.bin$",
        ),
        ("*", r"a/b has no file \*; its files"),
        ("model.safetensors", r"model\.safetensors is read with the configs beside it; pass a/b"),
        ("sub/model-1.safetensors", "download its folder"),
        ("", "'' is not the name of a file in a/b"),
        ("../x.pt", "'../x.pt' is not the name"),
        ("/etc/x.pt", "'/etc/x.pt' is not the name"),
        ("sub//x.pt", "'sub//x.pt' is not the name"),
    ],
)
def test_files_that_are_not_fetched(repository: Path, file: str, message: str) -> None:
    fill(repository, "ggml-base.bin", "model.safetensors", "sub/model-1.safetensors")
    with pytest.raises(FormatError, match=message):
        fetch(f"a/b:{file}")


def test_without_an_answer_the_cache_is_used(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(repository, "ggml-base.bin")
    folder = fetch("a/b").parent

    def no_network(name: str) -> list[str]:
        raise ConnectionError(name)

    monkeypatch.setattr("huggingface_hub.list_repo_files", no_network)
    assert fetch("a/b") == folder
    assert files_in(folder) == ["ggml-base.bin"]
    with pytest.raises(FormatError, match=r"a/b has no file x\.pt$"):
        fetch("a/b:x.pt")
