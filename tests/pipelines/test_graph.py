from __future__ import annotations

import pickle
import random
from dataclasses import astuple, replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.common_urns import resource_hints
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from model.interface import Transcriber, TranscriberSettings
from pipelines import graph
from pipelines.backend import Backend, silero_detector
from pipelines.graph import build, fallback_of, settings_of
from pipelines.options import TranscribeOptions
from transforms.core.types import AudioSource, AudioSpan
from transforms.dofns.transcribe import TranscribeSpans
from transforms.merging.settings import Assembly
from transforms.recognition.fallback import Fallback
from transforms.recognition.hallucinations import FILTERS
from transforms.sources.work_items import Work, pack
from transforms.windows.plan import WindowPlan

ACCELERATOR, MIN_RAM_BYTES = resource_hints.ACCELERATOR, resource_hints.MIN_RAM_BYTES
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


NOTHING = Backend(load_none, lambda _: (), silero_detector)


def graph_of(language: str | None, options: TranscribeOptions = OPTIONS, *, share: bool = False) -> Any:  # noqa: ANN401
    """The job as runners get it."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    build(pipeline, [AudioSource("id", "a.wav")], options, language, ("en", "fr"), NOTHING, share=share)
    return pipeline.to_runner_api()


def stages(language: str | None, options: TranscribeOptions = OPTIONS) -> list[str]:
    """The names of each fused stage's steps, in one text."""
    _, fused = FnApiRunner().create_stages(graph_of(language, options))
    return [" ".join(step.unique_name for step in stage.transforms) for stage in fused]


def test_the_listing_is_in_the_graph_once() -> None:
    """Runners take messages of a few megabytes; Beam's `Create` would have each name in them twice."""
    numbers = random.Random(0)
    work = [AudioSource(numbers.randbytes(8).hex(), numbers.randbytes(20).hex()) for _ in range(20_000)]

    def n_bytes(work: list[Work]) -> int:
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
        build(pipeline, work, OPTIONS, "en", ("en",), NOTHING)
        return len(pipeline.to_runner_api().SerializeToString())

    in_text = 4 / 3  # as Beam spells bytes
    assert n_bytes(work) - n_bytes([]) < 1.1 * in_text * len(pack(work))


def hints_of(graph: Any, step: Any) -> dict[str, bytes]:  # noqa: ANN401
    return dict(graph.components.environments[step.environment_id].resource_hints)


HINTED = replace(OPTIONS, accelerator="type:nvidia-l4;count:1", min_ram="16GB", runner="DataflowRunner")


def test_the_steps_that_run_the_model_have_the_hints_and_no_others() -> None:
    graph = graph_of(None, HINTED, share=True)
    steps = [step for step in graph.components.transforms.values() if step.environment_id]
    hinted = {step.unique_name.partition("/")[0] for step in steps if hints_of(graph, step)}
    assert hinted == {"Open", "Transcribe", "Transcribe spans", "Open again", "Transcribe again"}
    in_them = [step for step in steps if step.unique_name.partition("/")[0] in hinted]
    said = {ACCELERATOR.urn: b"type:nvidia-l4;count:1", MIN_RAM_BYTES.urn: b"16000000000"}
    assert all(hints_of(graph, step) == said for step in in_them)
    run_the_model = [step for step in in_them if step.unique_name.endswith("/Transcribe windows")]
    assert len(run_the_model) == 3


@pytest.mark.parametrize("options", [OPTIONS, replace(HINTED, runner="PrismRunner")], ids=["none", "prism"])
def test_without_hints_there_is_one_environment(options: TranscribeOptions) -> None:
    graph = graph_of(None, options, share=True)
    used = {step.environment_id for step in graph.components.transforms.values() if step.environment_id}
    assert len(used) == 1
    assert not any(environment.resource_hints for environment in graph.components.environments.values())


@pytest.mark.parametrize("options", [OPTIONS, HINTED], ids=["no hints", "hints"])
@pytest.mark.parametrize("suffix", ["", " again"])
def test_samples_never_leave_their_stage(suffix: str, options: TranscribeOptions) -> None:
    names = stages(None, options)
    steps = [f"Transcribe{suffix}/{step}" for step in ("Read windows", "Transcribe windows")]
    (together,) = [name for name in names if steps[0] in name]
    assert all(step in together for step in steps)
    assert f"Open{suffix}/" in together


def test_with_a_language_there_is_no_vote() -> None:
    assert any("Vote on language" in name for name in stages(None))
    assert not any("Vote" in name or "again" in name for name in stages("en"))
    redecoding = replace(OPTIONS, redecode_boundaries=0.3)
    assert any("again" in name for name in stages("en", redecoding))


def test_workers_are_told_what_the_options_say() -> None:
    assert settings_of(OPTIONS) == TranscriberSettings("m", "float16", "translate", False, 3, beam_size=5)
    searching = replace(
        OPTIONS,
        word_timestamps=True,
        beam_size=5,
        patience=2.0,
        length_penalty=0.6,
        suppress_tokens=(1, 2),
        max_new_tokens=100,
        initial_prompt="Dear sir",
        hotwords="Guttenberg",
        quantization="a8",
        parallel_batches=1,
        mesh="model=2",
    )
    settings = settings_of(searching)
    assert astuple(settings) == (
        *("m", "float16", "translate", False, 3, 1, True, 5, 2.0, 0.6, (1, 2), 100, "Dear sir", "Guttenberg"),
        *("a8", "model=2"),
    )
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_graph_is_given_what_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TranscribeSpans] = []

    class Listening(TranscribeSpans):
        def expand(self, spans: PCollection[AudioSpan]) -> dict[str, PCollection[Any]]:
            made.append(self)
            return super().expand(spans)

    monkeypatch.setattr(graph, "TranscribeSpans", Listening)
    options = replace(OPTIONS, temperature=(0.0,), hallucination_filters=("rate",), vad=False, seed=3)
    stages("en", options)
    assert made[0].fallback == Fallback(temperatures=(0.0,), seed=3)
    assert made[0].filters == ("rate",)
    assert made[0].plan.detector is None
    stages("en")
    assert made[-1].filters == tuple(FILTERS)
    assert made[-1].plan == WindowPlan(30, 5, silero_detector, over_speech=True)
    stages("en", replace(OPTIONS, windows="grid", chunk_length_s=20.0, stride_length_s=4.0))
    assert made[-1].plan == WindowPlan(20, 4, silero_detector, over_speech=False)


def test_what_is_decoded_about_a_boundary_is_as_long_as_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Assembly] = []
    monkeypatch.setattr(
        graph, "Assembly", lambda *args, **said: made.append(Assembly(*args, **said)) or made[-1]
    )
    stages("en", replace(OPTIONS, chunk_length_s=20.0, redecode_boundaries=0.3))
    assert (made[0].window_s, made[0].redecode_below) == (20.0, 0.3)


def test_the_fallback_is_what_the_options_say() -> None:
    options = replace(
        OPTIONS,
        temperature=(0.0, 0.5),
        compression_ratio_threshold=3.0,
        logprob_threshold=-2.0,
        no_speech_threshold=0.7,
        seed=4,
    )
    assert fallback_of(options) == Fallback((0.0, 0.5), 3.0, -2.0, 0.7, 4)
    assert fallback_of(OPTIONS) == Fallback()
