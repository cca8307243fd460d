from dataclasses import fields, replace
from typing import Any

import pytest

from model.config import DecodingConfig, WhisperConfig


def config(n_vocab: int = 51_865, heads: int = 8) -> WhisperConfig:
    return WhisperConfig(80, 512, 2048, 6, heads, 6, 8, n_vocab)


@pytest.mark.parametrize("heads", [7, 100])
def test_heads_must_divide_the_width(heads: int) -> None:
    with pytest.raises(ValueError, match=f"d_model 512 does not divide into encoder_heads {heads}"):
        config(heads=heads)


@pytest.mark.parametrize("size", [0, -8, 2**63, 8.0, True, None, "8"])
@pytest.mark.parametrize("name", [field.name for field in fields(WhisperConfig) if field.type == "int"])
def test_sizes_that_no_whisper_has(name: str, size: object) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*, where a whole number of 1 to"):
        replace(config(), **{name: size})


@pytest.mark.parametrize(
    "wrong",
    [
        {"suppress_ids": (1.5,)},
        {"begin_suppress_ids": "12"},
        {"alignment_heads": ((0, None),)},
        {"languages": (("en", "50259"),)},
        {"task_ids": (("transcribe", None),)},
        {"no_timestamps_id": 1.5},
        {"forced_ids": (None, "x")},
        {"start_id": "50258"},
        {"max_initial_timestamp": -1},
        {"max_initial_timestamp": 1.0},
        {"max_initial_timestamp": True},
    ],
)
def test_ids_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a whole number .*was expected"):
        DecodingConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"languages": (("en", -1),)}, {"no_timestamps_id": 10**12}])
def test_ids_that_no_vocabulary_has(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no vocabulary has so many"):
        DecodingConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"is_multilingual": "yes"}, {"language": 3}, {"task": ["transcribe"]}])
def test_values_of_other_types(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="was expected"):
        DecodingConfig(**wrong)
