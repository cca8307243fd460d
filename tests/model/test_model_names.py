from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import PACKAGED_MODELS
from model.model_names import HUB_NAMES, MODEL_ALIASES, canonical_name, similar_names


@pytest.mark.parametrize(
    ("name", "hub_name"),
    [
        ("base", "openai/whisper-base"),
        ("whisper-base", "openai/whisper-base"),
        ("openai/whisper-base", "openai/whisper-base"),
        ("tiny.en", "openai/whisper-tiny.en"),
        ("turbo", "openai/whisper-large-v3-turbo"),
        ("whisper-large-v3-turbo", "openai/whisper-large-v3-turbo"),
        ("large", "openai/whisper-large-v3"),
        ("large-v1", "openai/whisper-large"),
        ("whisper-large", "openai/whisper-large"),
        ("distil-large-v3", "distil-whisper/distil-large-v3"),
    ],
)
def test_an_alias_stands_for_a_name_on_the_hub(name: str, hub_name: str) -> None:
    assert canonical_name(name) == hub_name


@pytest.mark.parametrize(
    "name", ["owner/whisper-base", "./base", "/models/base", "bsae", "", "x" * 5000, "\0"]
)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert canonical_name(name) == name


def test_canonical_names_are_canonical() -> None:
    assert {canonical_name(name) for name in HUB_NAMES} == HUB_NAMES == set(MODEL_ALIASES.values())
    assert PACKAGED_MODELS.keys() <= HUB_NAMES


def test_a_folder_precedes_an_alias_only_if_it_holds_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    assert canonical_name("base") == "openai/whisper-base"
    (tmp_path / "base/config.json").touch()
    assert canonical_name("base") == "base"


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("bsae", ["base"]),
        ("Base", ["base", "base.en"]),
        ("largev2", ["large-v2", "large", "large-v3"]),
        ("openai/whisper-turbo", ["turbo"]),
        ("openai/whisper-bse", ["base", "base.en"]),
        ("nobody/knows", []),
    ],
)
def test_similar_names_of_an_unknown_one(name: str, similar: list[str]) -> None:
    assert similar_names(name) == similar
