from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import Checkpoint
from model.formats.huggingface import read_weights as read_safetensors
from model.formats.mapped_file import FormatError
from model.formats.openai import OpenAIModel, network_name, open_pt, read_config, read_decoding
from model.tokens import WhisperTokenizer

REFERENCES = Path(__file__).parent / "references"
DIMS = {
    "n_mels": 4, "n_audio_ctx": 1500, "n_audio_state": 8, "n_audio_head": 2, "n_audio_layer": 1,
    "n_vocab": 96, "n_text_ctx": 448, "n_text_state": 8, "n_text_head": 2, "n_text_layer": 1,
}  # fmt: skip


def test_a_file_that_openai_whisper_would_load() -> None:
    model = open_pt(REFERENCES / "openai.pt")
    assert model.config == read_config(DIMS)
    expected = dict(read_safetensors([REFERENCES / "model.safetensors"]))
    found = dict(model.read_weights())
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder.blocks.3.mlp1.weight", "encoder.layers.3.mlp.up.kernel"),
        ("decoder.blocks.10.mlp2.bias", "decoder.layers.10.mlp.down.bias"),
        ("decoder.blocks.0.cross_attn.key.weight", "decoder.layers.0.cross_attention.key.kernel"),
        ("encoder.blocks.0.attn.out.bias", "encoder.layers.0.attention.out.bias"),
    ],
)
def test_network_names(theirs: str, ours: str) -> None:
    assert network_name(theirs) == ours


@pytest.mark.weights
@pytest.mark.parametrize("name", ["openai/whisper-base", "openai/whisper-tiny.en"])
def test_suppressed_tokens_are_those_that_checkpoints_list(name: str, packaged) -> None:  # noqa: ANN001
    """The lists of the packaged models come from OpenAI's by way of Hugging Face and CTranslate2."""
    checkpoint: Checkpoint = packaged(name)
    model = OpenAIModel(checkpoint.config, (), lambda: iter(()), checkpoint.decoding.alignment_heads)
    tokenizer = WhisperTokenizer(checkpoint.tokenizer)
    found, listed = read_decoding(tokenizer, model), checkpoint.decoding
    assert (found.suppress_ids, found.begin_suppress_ids) == (listed.suppress_ids, listed.begin_suppress_ids)
    assert found.alignment_heads == listed.alignment_heads
    assert found.is_multilingual is tokenizer.special.is_multilingual is (name == "openai/whisper-base")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_audio_ctx": 3000}, "n_audio_ctx is 3000, where 1500 was expected"),
        ({"n_text_ctx": 0}, "n_text_ctx is 0"),
        ({"n_text_state": 16}, "n_text_state differs"),
        ({"n_audio_state": "8", "n_text_state": "8"}, "d_model is '8'"),
        ({"n_vocab": 10**12}, "n_vocab is 1000000000000"),
    ],
)
def test_sizes_that_no_whisper_has(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_config({**DIMS, **changed})


def test_a_missing_size() -> None:
    with pytest.raises(ValueError, match="lack 'n_mels'"):
        read_config({name: size for name, size in DIMS.items() if name != "n_mels"})


def test_weights_of_transformers_are_no_pt_of_openai() -> None:
    with pytest.raises(FormatError, match=r"lacks the sizes \(dims\).*call it pytorch_model\.bin"):
        open_pt(REFERENCES / "pytorch_model.bin")
