import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import Checkpoint, find_checkpoint
from model.formats import folder as formats_folder
from model.formats.folder import open_file, open_folder
from model.formats.mapped_file import FormatError
from model.formats.mlx import sinusoids
from model.packaged_models import PackagedModel
from model.pypi_files import PackagedFile
from model.tokens import tokenizer_of
from tests.support.tiny_formats import D_MLP, DIMS, OF_HUGGING_FACE, OF_OPENAI, openai_weights, save_reference
from tests.support.tiny_model import Weights, save_ctranslate2, tiny_tokenizer, tiny_weights
from tests.support.torch_files import openai_pt
from tests.support.transcribers import load, noise, requests_of

REFERENCES = Path(__file__).parent / "references"


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Weights with the positions of the encoder that MLX computes."""
    weights = tiny_weights(d_mlp=D_MLP)
    return {**weights, "model.encoder.embed_positions.weight": sinusoids(1500, DIMS["n_audio_state"])}


def check_same_weights(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.config == expected.config
    theirs = dict(expected.weights())
    for name, weight in found.weights():
        np.testing.assert_array_equal(weight, theirs.pop(name), err_msg=name)
    assert not theirs


@pytest.mark.parametrize("kind", [*OF_HUGGING_FACE, *OF_OPENAI])
def test_every_format_has_the_weights_of_safetensors(tmp_path: Path, kind: str, weights: Weights) -> None:
    saved = {**OF_HUGGING_FACE, **OF_OPENAI}[kind](tmp_path / "model", weights)
    reference = save_reference(tmp_path / "reference", weights)
    check_same_weights(find_checkpoint(str(saved)), find_checkpoint(str(reference)))


@pytest.mark.parametrize("kind", OF_HUGGING_FACE)
def test_a_projection_of_its_own_is_read_in_every_format(tmp_path: Path, kind: str, weights: Weights) -> None:
    embedding = weights["model.decoder.embed_tokens.weight"]
    for name, projection in (("untied", np.ascontiguousarray(embedding[::-1])), ("tied", embedding)):
        stored = {**weights, "proj_out.weight": projection}
        found = find_checkpoint(str(OF_HUGGING_FACE[kind](tmp_path / name / "model", stored)))
        assert found.config.has_projection == (name == "untied")
        reference = save_reference(tmp_path / name / "reference", stored)
        check_same_weights(found, find_checkpoint(str(reference)))
        assert ("decoder.projection.embedding" in dict(found.weights())) == (name == "untied")


def test_a_projection_alone_is_the_embedding_too(tmp_path: Path, weights: Weights) -> None:
    stored = {n.replace("model.decoder.embed_tokens", "proj_out"): w for n, w in weights.items()}
    found = find_checkpoint(str(OF_HUGGING_FACE["sharded pytorch"](tmp_path / "model", stored)))
    check_same_weights(found, find_checkpoint(str(save_reference(tmp_path / "reference", weights))))


@pytest.mark.parametrize("kind", ["pytorch", "openai"])
def test_formats_transcribe_as_safetensors_do(tmp_path: Path, kind: str, weights: Weights) -> None:
    saved = {**OF_HUGGING_FACE, **OF_OPENAI}[kind](tmp_path / "model", weights)
    reference = save_reference(tmp_path / "reference", weights, find_checkpoint(str(saved)).decoding)
    requests = requests_of([noise(2)], ["en"])
    assert load(saved).transcribe(requests) == load(reference).transcribe(requests)


@pytest.mark.parametrize("kind", OF_HUGGING_FACE)
def test_formats_with_configs_need_them(tmp_path: Path, kind: str, weights: Weights) -> None:
    folder = OF_HUGGING_FACE[kind](tmp_path, weights)
    found = open_folder(folder)
    assert found.decoding.suppress_ids == (1, 2, 7)
    for name in ("tokenizer.json", "config.json"):
        (folder / name).unlink()
        with pytest.raises(FormatError, match=rf"has no {name}"):
            open_folder(folder)


def test_a_missing_shard_is_named(tmp_path: Path, weights: Weights) -> None:
    folder = OF_HUGGING_FACE["sharded pytorch"](tmp_path, weights)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(FormatError, match=r"lacks the shards pytorch_model-00002-of-00002\.bin"):
        open_folder(folder)


def test_the_first_of_several_formats_is_read(tmp_path: Path, weights: Weights) -> None:
    folder = OF_OPENAI["openai"](tmp_path, weights)
    assert open_folder(folder).weight_files == (folder / "tiny.pt",)
    OF_HUGGING_FACE["pytorch"](folder, weights)
    assert open_folder(folder).weight_files == (folder / "pytorch_model.bin",)
    save_ctranslate2(folder, weights)
    assert open_folder(folder).weight_files == (folder / "model.bin",)
    save_reference(folder, weights)
    assert open_folder(folder).weight_files == (folder / "model.safetensors",)


def test_a_file_is_a_model(tmp_path: Path, weights: Weights) -> None:
    path = OF_OPENAI["openai"](tmp_path, weights) / "tiny.pt"
    by_file, by_folder = find_checkpoint(str(path)), find_checkpoint(str(tmp_path))
    assert by_file.digest() == by_folder.digest()
    check_same_weights(by_file, by_folder)


def test_one_of_several_files_must_be_named(tmp_path: Path, weights: Weights) -> None:
    folder = OF_OPENAI["openai"](tmp_path, weights)
    shutil.copy(folder / "tiny.pt", folder / "other.pt")
    with pytest.raises(FormatError, match=r"holds several models; pass one of .*other\.pt, .*tiny\.pt"):
        open_folder(folder)
    assert open_file(folder / "other.pt").weight_files == (folder / "other.pt",)


def test_files_of_a_training_are_no_models(tmp_path: Path, weights: Weights) -> None:
    folder = OF_OPENAI["openai"](tmp_path, weights)
    for name in ("optimizer.pt", "training_args.bin", "scheduler.pt"):
        shutil.copy(REFERENCES / "training.pt", folder / name)
    assert open_folder(folder).weight_files == (folder / "tiny.pt",)
    (folder / "tiny.pt").unlink()
    with pytest.raises(FormatError, match="it holds the state of a training"):
        open_folder(folder)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    shutil.copy(REFERENCES / "training.pt", tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"a\.pt: its pickle calls 'argparse\.Namespace'"):
        open_folder(tmp_path)


@pytest.mark.weights
@pytest.mark.parametrize(("n_vocab", "n_languages"), [(51_864, 0), (51_865, 99), (51_866, 100)])
def test_openai_tokenizers_are_built_where_there_is_none(
    tmp_path: Path, n_vocab: int, n_languages: int, weights: Weights
) -> None:
    embedding = np.zeros((n_vocab, DIMS["n_audio_state"]), np.float32)
    changed = {**weights, "model.decoder.embed_tokens.weight": embedding}
    (tmp_path / "a.pt").write_bytes(openai_pt(openai_weights(changed), {**DIMS, "n_vocab": n_vocab}))
    found = open_file(tmp_path / "a.pt")
    special = tokenizer_of(found).special
    assert (len(special.languages), special.is_multilingual) == (n_languages, n_languages > 0)
    assert (special.timestamp_stop, special.n_ids, special.added_text) == (n_vocab, n_vocab, ())
    assert found.decoding.begin_suppress_ids == (220, special.end_of_text)


def test_a_missing_tokenizer_is_answered_with_advice(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OF_OPENAI["openai"](tmp_path, weights)
    (folder / "tokenizer.json").unlink()
    absent = PackagedFile("no_such_package", "tokenizer.json", "0" * 64)
    model = PackagedModel((absent,), absent, absent)
    monkeypatch.setattr(formats_folder, "PACKAGED_MODELS", {"openai/whisper-base": model})
    with pytest.raises(FormatError, match=r"put the tokenizer\.json .* in .*pip install no-such-package"):
        open_folder(folder)


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path, weights: Weights) -> None:
    folder = OF_OPENAI["openai"](tmp_path, weights)
    tiny_tokenizer(n_text=50_256).save(str(folder / "tokenizer.json"))
    with pytest.raises(FormatError, match="the highest id 51863, and the model 51864, as OpenAI's have"):
        open_folder(folder)
    tiny_tokenizer(n_text=50_258).save(str(folder / "tokenizer.json"))
    with pytest.raises(FormatError, match="its highest id is 51865, and theirs is 51864"):
        open_folder(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(FormatError, match="cannot be read as a tokenizer"):
        open_folder(folder)


def test_a_vocabulary_of_its_own_needs_its_tokenizer() -> None:
    with pytest.raises(
        FormatError, match=r"vocabulary of 96 tokens is none of OpenAI's; put its tokenizer\.json"
    ):
        open_file(REFERENCES / "openai.pt")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("encoder.onnx", "it holds ONNX, which is not read: use the weights"),
        ("tf_model.h5", "it holds TensorFlow"),
        ("whisper.nemo", "it holds NeMo"),
        ("optimizer.pt", "the state of a training"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (tmp_path / file).write_bytes(b"something")
    with pytest.raises(FormatError, match=message):
        open_folder(tmp_path)
    with pytest.raises(FormatError, match=message.replace("holds", "is")):
        open_file(tmp_path / file)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"has no config\.json, and no file of weights"):
        open_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        FormatError, match=r"none of model\.safetensors, model\.bin, pytorch_model\.bin.*models\.md"
    ):
        open_folder(tmp_path)
