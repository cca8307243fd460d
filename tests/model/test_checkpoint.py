import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from model import checkpoint
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    PackagedModel,
    find_checkpoint,
    is_local,
)
from model.config import CheckpointDefaults, DecodingConfig
from model.pypi_files import PackagedFile
from model.tokens import TokenizerError, WhisperTokenizer
from pipelines.backend import whisper_defaults
from pipelines.transcribe import main
from tests.support.hub import serve_hub
from tests.support.tiny_formats import D_MLP, OF_OPENAI
from tests.support.tiny_model import save_ctranslate2, tiny_weights
from tests.support.torch_files import torch_zip


def test_a_hugging_face_folder(tiny_folder: Path) -> None:
    found = find_checkpoint(str(tiny_folder))
    assert found.decoding.suppress_ids == (1, 2, 7)
    assert found.decoding.begin_suppress_ids == (220, 50_257)
    assert found.tokenizer == tiny_folder / "tokenizer.json"


def test_a_ctranslate2_folder_has_the_same_weights(tmp_path: Path, tiny_folder: Path) -> None:
    theirs = find_checkpoint(str(save_ctranslate2(tmp_path / "ct2", tiny_weights())))
    ours = find_checkpoint(str(tiny_folder))
    assert theirs.config == ours.config
    assert theirs.decoding.alignment_heads == ((0, 1),)
    weights = dict(ours.weights())
    for name, weight in theirs.weights():
        np.testing.assert_array_equal(weight, weights.pop(name))
    assert not weights


def test_a_generation_config_beside_ctranslate2_is_read(tmp_path: Path) -> None:
    folder = save_ctranslate2(tmp_path / "ct2", tiny_weights())
    before = find_checkpoint(str(folder))
    generation = {"suppress_tokens": [5], "language": "de", "task": "translate"}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    found = find_checkpoint(str(folder))
    assert (found.decoding.suppress_ids, before.decoding.suppress_ids) == ((5,), (1, 2, 7))
    assert found.decoding.begin_suppress_ids == before.decoding.begin_suppress_ids != ()
    assert whisper_defaults(str(folder)) == CheckpointDefaults("de", "translate")
    assert found.digest() != before.digest()
    for wrong in (
        "[]",
        '{"suppress_tokens": ["x"]}',
        '{"lang_to_id": [1]}',
        '{"max_initial_timestamp_index": -1}',
    ):
        (folder / "generation_config.json").write_text(wrong)
        with pytest.raises(CheckpointError, match="config"):
            find_checkpoint(str(folder))


def test_a_folder_is_local_and_a_name_on_the_hub_is_not(tiny_folder: Path) -> None:
    assert is_local(str(tiny_folder))
    assert is_local(str(tiny_folder / "model.safetensors"))
    assert not is_local("nobody/has-it")


def test_the_digest_is_that_of_the_content(tmp_path: Path, tiny_folder: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    digest = find_checkpoint(str(tiny_folder)).digest()
    assert find_checkpoint(str(copy)).digest() == digest
    for name in ("model.safetensors", "tokenizer.json"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-2] + bytes(reversed(content[-2:])))
        assert find_checkpoint(str(copy)).digest() != digest
        (copy / name).write_bytes(content)
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**values, "suppress_tokens": [1, 2]}))
    (copy / "generation_config.json").unlink(missing_ok=True)
    assert find_checkpoint(str(copy)).digest() != digest
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.json").mkdir()
    config = find_checkpoint(str(tiny_folder)).config
    folder = Checkpoint(config, DecodingConfig(), (copy,), copy, lambda: iter(()), name="m")
    with pytest.raises(CheckpointError, match="cannot be read"):
        folder.digest()


class _PicklePayload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self._marker), "w"))


def test_the_payload_runs_when_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_PicklePayload(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


def read_all(folder: Path) -> None:
    found = find_checkpoint(str(folder))
    dict(found.weights())
    WhisperTokenizer(found.tokenizer)


def zipped(content: bytes) -> bytes:
    return torch_zip(content, {})


PICKLES = [
    "pytorch_model.bin", "model.pt", "model.bin", "model.safetensors", "tokenizer.json", "ggml-base.bin",
]  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("pack", [bytes, zipped])
def test_pickles_that_run_programs_are_refused(
    tmp_path: Path,
    tiny_folder: Path,
    name: str,
    pack: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Such pickles, also as torch zips them, are rejected by the program under each file name."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    if name != "tokenizer.json":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pack(pickle.dumps(_PicklePayload(tmp_path / "marker"), 2)))
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    arguments = [
        "--input",
        str(tmp_path / "a.wav"),
        "--output",
        str(tmp_path / "out"),
        "--model",
        str(folder),
    ]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    with pytest.raises((CheckpointError, TokenizerError)) as refused:
        read_all(folder)
    assert f"The run failed: {refused.value}" in said
    assert not (tmp_path / "marker").exists()


def test_a_damaged_safetensors_file(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        list(find_checkpoint(str(folder)).weights())


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("config.json", r"has no config\.json"),
        ("model.safetensors", r"none of model\.safetensors, model\.bin, pytorch_model\.bin"),
        ("tokenizer.json", r"has no tokenizer\.json"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, tiny_folder: Path, removed: str, message: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (folder / removed).unlink()
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(str(folder))


def test_a_missing_shard_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"lacks the shards model-1\.safetensors"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "not json",
        '{"weight_map": 3}',
        "[" * 100_000,
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../model.safetensors"}}',
        '{"weight_map": {"a": "' + "x" * 300 + '.safetensors"}}',
    ],
)
def test_an_invalid_index_raises(tmp_path: Path, tiny_folder: Path, content: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors\.index\.json is not a valid index of shards"
    ):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("content", ["[]", "not json", "", "[" * 100_000, '{"d_model": "\\ud800"}'])
def test_an_invalid_config_raises(tmp_path: Path, tiny_folder: Path, content: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        find_checkpoint(str(folder))


def test_a_file_instead_of_a_folder_raises(tiny_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: its format is none .*pass the folder"):
        find_checkpoint(str(tiny_folder / "config.json"))


@pytest.mark.parametrize("name", ["no/such/folder", "openai/whisper-nonesuch", "a b"])
def test_an_unknown_name_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=f"'{name}'"):
        find_checkpoint(name)


@pytest.mark.parametrize("kind", OF_OPENAI)
def test_models_on_the_hub_are_those_of_local_files(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OF_OPENAI[kind](tmp_path / "model", tiny_weights(d_mlp=D_MLP))
    serve_hub(monkeypatch, {"owner/model": folder}, tmp_path / "cache")
    local = find_checkpoint(str(folder))
    files = [f"owner/model:{path.name}" for path in local.weight_files if kind != "mlx"]
    for name in ("owner/model", *files):
        found = find_checkpoint(name)
        assert (found.name, found.digest()) == (name, local.digest())
        assert not is_local(name)


def test_an_adapter_on_the_hub_of_a_base_on_the_hub(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "owner/base", "lora_alpha": 2}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    module = "base_model.model.model.decoder.layers.0.fc1"
    parts = {f"{module}.lora_A.weight": np.ones((1, 32), np.float32)}
    parts[f"{module}.lora_B.weight"] = np.ones((64, 1), np.float32)
    save_file(parts, tmp_path / "adapter" / "adapter_model.safetensors")
    folders = {"owner/adapter": tmp_path / "adapter", "owner/base": tiny_folder}
    serve_hub(monkeypatch, folders, tmp_path / "cache")
    base, found = (dict(find_checkpoint(name).weights()) for name in ("owner/base", "owner/adapter"))
    np.testing.assert_allclose(
        found["decoder.layers.0.mlp.up.kernel"], base["decoder.layers.0.mlp.up.kernel"] + 2
    )


def test_files_of_the_hub_that_cannot_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    for name in ("ggml-base.bin", "ggml-tiny.bin"):
        (tmp_path / "model" / name).touch()
    serve_hub(monkeypatch, {"owner/model": tmp_path / "model"}, tmp_path / "cache")
    with pytest.raises(
        CheckpointError, match=r"model 'owner/model': .* name one as owner/model:FILE, of ggml"
    ):
        find_checkpoint("owner/model")
    with pytest.raises(CheckpointError, match=r"model 'owner/model:x\.pt': owner/model has no file x\.pt"):
        find_checkpoint("owner/model:x.pt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bsae", r"'bsae' was not found: .*\(did you mean base\?\); pass .* one of tiny, tiny\.en, base"),
        ("openai/whisper-turbo", r"\(did you mean turbo\?\); pass"),
        ("nonesuch", r"no Whisper model; pass a local folder"),
    ],
)
def test_an_unknown_name_is_answered_with_similar_ones(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(name)


def test_a_folder_precedes_a_known_name_only_if_it_holds_a_checkpoint(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("medium", "openai/whisper-small"):
        Path(name).mkdir(parents=True)
        with pytest.raises(CheckpointError, match=r"'openai/whisper-(medium|small)' was not found"):
            find_checkpoint(name)
        shutil.copytree(tiny_folder, name, dirs_exist_ok=True)
        assert find_checkpoint(name).name == name


def test_missing_packages_are_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = PackagedFile("no_such_package", "data/model.bin", "0" * 64)
    model = PackagedModel((absent,), absent, absent)
    monkeypatch.setattr(checkpoint, "PACKAGED_MODELS", {"openai/whisper-base": model})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="pip install no-such-package"):
        find_checkpoint("openai/whisper-base")


def test_the_sha256_of_packaged_weights_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = PackagedFile("json", "__init__.py", "0" * 64)
    monkeypatch.setattr(checkpoint, "PACKAGED_MODELS", {"a/b": PackagedModel((wrong,), wrong, wrong)})
    with pytest.raises(CheckpointError, match=r"has SHA-256 [0-9a-f]{64}, expected 0{64}: install"):
        find_checkpoint("a/b")
