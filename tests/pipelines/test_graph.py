from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from model.interface import Transcriber, TranscriberSettings
from pipelines.graph import build, settings_of
from pipelines.options import TranscribeOptions
from transforms.types import AudioSource

OPTIONS = TranscribeOptions(
    input=("a.wav",),
    output="out",
    model="m",
    dtype="float16",
    task="translate",
    batch_size=3,
    return_timestamps=False,
)


def load_none(settings: TranscriberSettings) -> Transcriber:
    raise AssertionError("a graph that is only built loads no model")


def stages(language: str | None) -> list[str]:
    """The names of each fused stage's steps, in one text."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    build(pipeline, [AudioSource("id", "a.wav")], OPTIONS, language, load_none)
    _, fused = FnApiRunner().create_stages(pipeline.to_runner_api())
    return [" ".join(step.unique_name for step in stage.transforms) for stage in fused]


@pytest.mark.parametrize("suffix", ["", " again"])
def test_samples_never_leave_their_stage(suffix: str) -> None:
    names = stages(None)
    steps = [f"Transcribe{suffix}/{step}" for step in ("Read windows", "Batch", "Transcribe batch")]
    (together,) = [name for name in names if steps[0] in name]
    assert all(step in together for step in steps)
    assert f"Open{suffix}/" in together


def test_with_a_language_there_is_no_vote() -> None:
    assert any("Vote on language" in name for name in stages(None))
    assert not any("Vote" in name or "again" in name for name in stages("en"))


def test_workers_are_told_what_the_options_say() -> None:
    assert settings_of(OPTIONS) == TranscriberSettings("m", "float16", "translate", False, 3)
