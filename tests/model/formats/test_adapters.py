import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from model.checkpoint import CheckpointError, find_checkpoint, is_local
from model.formats.adapters import base_name, open_adapter
from model.formats.folder import open_folder
from model.formats.huggingface import network_layout, network_name
from model.formats.mapped_file import FormatError
from tests.support.tiny_model import tiny_tokenizer
from tests.support.torch_files import weights_zip

REFERENCES = Path(__file__).parent / "references"
KINDS = sorted(path.name for path in (REFERENCES / "adapters").iterdir())
PREFIX = "base_model.model.model.decoder.layers.0"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(REFERENCES / name, folder)
    tiny_tokenizer(n_text=300).save(str(folder / "tokenizer.json"))
    return folder


def adapter(folder: Path, base: Path | str, kind: str = "plain", **config: Any) -> Path:  # noqa: ANN401  # JSON
    """A copy of an adapter that PEFT saved, of this base, with changes to its config."""
    shutil.copytree(REFERENCES / "adapters" / kind, folder)
    path = folder / "adapter_config.json"
    values = {**json.loads(path.read_text()), "base_model_name_or_path": str(base), **config}
    path.write_text(json.dumps(values))
    return folder


def change_weights(folder: Path, **changed: NDArray[np.generic] | None) -> Path:
    """Replaces weights of the layer 0 of the decoder; None removes one."""
    weights = load_file(folder / "adapter_model.safetensors")
    for name, array in changed.items():
        full = f"{PREFIX}.{name.replace('__', '.')}"
        weights = {n: w for n, w in weights.items() if n != full}
        if array is not None:
            weights[full] = array
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_merged_as_peft_merges_them(tmp_path: Path, base: Path, kind: str) -> None:
    found = find_checkpoint(str(adapter(tmp_path / kind, base, kind)))
    original = dict(find_checkpoint(str(base)).weights())
    original["decoder.projection.embedding"] = original["decoder.embedding.embedding"]  # where it is untied
    merged = load_file(REFERENCES / "adapters" / kind / "merged.safetensors")
    expected = {network_name(name): network_layout(network_name(name), w) for name, w in merged.items()}
    assert expected
    for name, weight in found.weights():
        np.testing.assert_allclose(weight, expected.get(name, original[name]), atol=1e-6, err_msg=name)
        assert (name in expected) == (not np.array_equal(weight, original[name]))


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("is_torch", [True, False])
def test_a_changed_projection_is_one_of_its_own(
    tmp_path: Path, base: Path, is_whole: bool, is_torch: bool
) -> None:
    """As of `modules_to_save` or `target_modules` with proj_out: the embedding stays that of the base."""
    folder = adapter(tmp_path / "a", base, lora_alpha=8)
    weights = load_file(folder / "adapter_model.safetensors")
    original = dict(find_checkpoint(str(base)).weights())
    embedding = original["decoder.embedding.embedding"]
    rng = np.random.default_rng(0)
    b, a = (rng.normal(size=size).astype(np.float32) for size in ((len(embedding), 4), (4, 8)))
    if is_whole:
        expected = embedding + 1
        weights["base_model.model.proj_out.weight"] = expected
    else:
        expected = embedding + 2 * b @ a
        parts = {"lora_A.weight": a, "lora_B.weight": b}
        weights |= {f"base_model.model.proj_out.{part}": array for part, array in parts.items()}
    (folder / "adapter_model.safetensors").unlink()
    if is_torch:
        (folder / "adapter_model.bin").write_bytes(weights_zip(weights))
    else:
        save_file(weights, folder / "adapter_model.safetensors")
    changed = find_checkpoint(str(folder))
    assert changed.config.has_projection
    found = dict(changed.weights())
    np.testing.assert_array_equal(found["decoder.embedding.embedding"], embedding)
    np.testing.assert_allclose(found["decoder.projection.embedding"], expected, rtol=1e-5, atol=1e-5)


EMBEDDING = "base_model.model.model.decoder.embed_tokens"


def lora_of_embedding(n_vocab: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    shapes = {"lora_embedding_A": (2, n_vocab), "lora_embedding_B": (8, 2)}
    return {
        f"{EMBEDDING}.{part}": rng.normal(size=shape).astype(np.float32) for part, shape in shapes.items()
    }


@pytest.mark.parametrize("kind", ["lora", "lora with its base", "saved", "saved and tied", "whole"])
def test_an_embedding_that_is_changed_alone(tmp_path: Path, base: Path, kind: str) -> None:
    """As PEFT 0.21 computes it: a change of the embedding is none of the projection that it is tied to.

    Its merge of LoRA changes both, and computes something else. A whole embedding is that of both, unless it
    was trained by itself.
    """
    original = dict(find_checkpoint(str(base)).weights())["decoder.embedding.embedding"]
    lora = lora_of_embedding(len(original))
    change = 2 * (lora[f"{EMBEDDING}.lora_embedding_B"] @ lora[f"{EMBEDDING}.lora_embedding_A"]).T
    saved = {"modules_to_save": ["decoder.embed_tokens"]}
    other = np.float32(0.5) * original
    weights, config, embedding, projection = {
        "lora": (lora, {}, original + change, original),
        "lora with its base": (
            {**lora, f"{EMBEDDING}.base_layer.weight": other}, {}, other + change, other,
        ),
        "saved": ({f"{EMBEDDING}.weight": other}, saved, other, original),
        "saved and tied": (
            {f"{EMBEDDING}.weight": other}, {**saved, "ensure_weight_tying": True}, other, None,
        ),
        "whole": ({f"{EMBEDDING}.weight": other}, {}, other, None),
    }[kind]  # fmt: skip
    folder = adapter(tmp_path / "a", base, lora_alpha=4, **config)
    save_file(weights, folder / "adapter_model.safetensors")
    found = find_checkpoint(str(folder))
    read = dict(found.weights())
    np.testing.assert_allclose(read["decoder.embedding.embedding"], embedding, rtol=1e-5, atol=1e-5)
    assert found.config.has_projection == (projection is not None)
    if projection is None:
        assert "decoder.projection.embedding" not in read
    else:
        np.testing.assert_array_equal(read["decoder.projection.embedding"], projection)


def test_an_embedding_of_a_base_with_its_own_projection(tmp_path: Path, base: Path) -> None:
    own = Path(shutil.copytree(base, tmp_path / "own"))
    weights = load_file(own / "model.safetensors")
    embedding = weights["model.decoder.embed_tokens.weight"]
    save_file({**weights, "proj_out.weight": embedding + 1}, own / "model.safetensors")
    folder = adapter(tmp_path / "a", own)
    base_layer = {f"{EMBEDDING}.base_layer.weight": embedding}
    save_file({**lora_of_embedding(len(embedding)), **base_layer}, folder / "adapter_model.safetensors")
    read = dict(find_checkpoint(str(folder)).weights())
    np.testing.assert_array_equal(read["decoder.projection.embedding"], embedding + 1)
    assert not np.allclose(read["decoder.embedding.embedding"], embedding)


def test_weights_that_torch_saved(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path / "a", base)
    expected = dict(find_checkpoint(str(folder)).weights())
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(weights_zip(weights))
    for name, weight in find_checkpoint(str(folder)).weights():
        np.testing.assert_array_equal(weight, expected[name])


def test_a_tokenizer_of_its_own_precedes_that_of_the_base(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path / "a", base)
    digest = find_checkpoint(str(folder)).digest()
    assert find_checkpoint(str(folder)).tokenizer == base / "tokenizer.json"
    assert digest != find_checkpoint(str(base)).digest()
    tiny_tokenizer(n_text=299).save(str(folder / "tokenizer.json"))
    assert find_checkpoint(str(folder)).tokenizer == folder / "tokenizer.json"
    change_weights(folder, fc2__lora_B__weight=np.ones((8, 2), np.float32))
    assert find_checkpoint(str(folder)).digest() != digest


def test_a_merged_model_in_the_folder_is_a_whole_model(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path / "a", "no such base")
    shutil.copytree(base, folder, dirs_exist_ok=True)
    assert find_checkpoint(str(folder)).weight_files == (folder / "model.safetensors",)


def test_an_adapter_is_local_if_its_base_is(tmp_path: Path, base: Path) -> None:
    assert is_local(str(adapter(tmp_path / "a", base)))
    assert not is_local(str(adapter(tmp_path / "b", "owner/whisper-none")))
    assert is_local(str(adapter(tmp_path / "c", tmp_path / "c")))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"peft_type": "ADALORA"}, "of the type 'ADALORA'; only LORA is read"),
        ({"init_lora_weights": "pissa_niter_4"}, "a base that its init_lora_weights"),
        ({"layer_replication": [[0, 1]], "use_qalora": True}, "layer_replication, use_qalora, which is not"),
        ({"lora_alpha": "8"}, "lora_alpha '8'"),
        ({"lora_alpha": float("inf")}, "lora_alpha inf"),
        ({"alpha_pattern": [1]}, "alpha_pattern of its adapter is a list"),
        ({"modules_to_save": 3}, "modules_to_save of its adapter is a int"),
        ({"alpha_pattern": {"(a+)+$": 3}}, r"the expression '\(a\+\)\+\$', which is not read"),
        (
            {"base_model_name_or_path": "owner/none"},
            "an adapter, whose base cannot be used: model 'owner/none'",
        ),
    ],
)
def test_configs_that_are_not_read(
    tmp_path: Path, base: Path, config: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(str(adapter(tmp_path / "a", base, **config)))


def test_an_adapter_on_the_hub(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"owner/adapter": adapter(tmp_path / "a", "owner/base"), "owner/base": base}
    monkeypatch.setattr("model.hub_files.fetch", folders.__getitem__)
    found = find_checkpoint("owner/adapter")
    assert (found.name, found.config) == ("owner/adapter", find_checkpoint(str(base)).config)
    local = dict(find_checkpoint(str(adapter(tmp_path / "b", base))).weights())
    for name, weight in found.weights():
        np.testing.assert_array_equal(weight, local[name])


def test_the_base_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is an adapter, too"):
        find_checkpoint(str(adapter(tmp_path / "a", tmp_path / "a")))


def test_no_weights(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path / "a", base)
    (folder / "adapter_model.safetensors").unlink()
    assert base_name(folder) == str(base)
    with pytest.raises(FormatError, match=r"neither adapter_model\.safetensors nor adapter_model\.bin"):
        open_adapter(folder, open_folder(base))


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fc2__lora_A__weight": None}, "lacks a matrix of"),
        ({"fc2__lora_A__weight": ones(2, 31)}, "has matrices of"),
        ({"fc2__lora_A__weight": ones(3, 32)}, "has matrices of"),
        ({"fc2__lora_A__weight": ones(2, 8), "fc2__lora_B__weight": ones(32, 2)},
         "of shape .* by the shape"),
        ({"fc2__lora_A__weight": ones(0, 32), "fc2__lora_B__weight": ones(8, 0)},
         "rank 0"),
        ({"fc2__lora_magnitude_vector": ones(9)}, "DoRA, which is read of linear layers only"),
        ({"fc9__lora_A__weight": ones(2, 32)}, "changes .*fc9.*, which its base does not have"),
        ({"fc2__base_layer__bias": ones(9)}, "another shape of"),
        ({"fc2__lora_C__weight": ones(8)}, "which its base does not have"),
        ({"self_attn__k_proj__lora_B__bias": ones(8)}, "lacks a matrix of"),
    ],
)  # fmt: skip
def test_adapters_that_do_not_fit(
    tmp_path: Path, base: Path, changed: dict[str, NDArray[np.generic] | None], message: str
) -> None:
    folder = change_weights(adapter(tmp_path / "a", base), **changed)
    with pytest.raises(CheckpointError, match=message):
        dict(find_checkpoint(str(folder)).weights())


def test_long_vectors_are_not_multiplied(tmp_path: Path, base: Path) -> None:
    changed = {
        "fc2__lora_A__weight": ones(1, 100_000),
        "fc2__lora_B__weight": ones(100_000, 1),
    }
    folder = change_weights(adapter(tmp_path / "a", base), **changed)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="has matrices of"):
            dict(find_checkpoint(str(folder)).weights())
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_other_names_are_refused(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path / "a", base)
    save_file({"a.lora_A.weight": ones(2)}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not begin with base_model\.model\."):
        dict(find_checkpoint(str(folder)).weights())
