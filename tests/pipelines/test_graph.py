from __future__ import annotations

import pickle
import random
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.common_urns import resource_hints
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from model.interface import DecodingOptions, ModelOptions, Transcriber
from pipelines.backend import Backend, silero_detector
from pipelines.graph import build
from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import RunFolder
from transforms.checkpoint.resume import ResumeSettings
from transforms.core.types import AudioSource
from transforms.dofns.transcribe import TranscribeSpans
from transforms.dofns.transcribe_work import TranscribeWork
from transforms.fetch.policy import FetchPolicy
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.sources.work_items import Work, serialize
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


def load_none(options: ModelOptions) -> Transcriber:
    raise AssertionError("a graph that is only built loads no model")


NOTHING = Backend(load_none, lambda _: (), silero_detector)


def graph_of(language: str | None, options: TranscribeOptions = OPTIONS, *, share: bool = False) -> Any:  # noqa: ANN401
    """Returns the job graph as submitted to a runner."""
    return built(language, options, share=share).to_runner_api()


def built(language: str | None, options: TranscribeOptions, *, share: bool = False) -> beam.Pipeline:
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    build(pipeline, [AudioSource("id", "a.wav")], options, language, ("en", "fr"), NOTHING, share=share)
    return pipeline


def transcribe_work(options: TranscribeOptions, *, share: bool = False) -> TranscribeWork:
    """Returns the transform of the work items in the graph of a run with a language."""
    (steps,) = built("en", options, share=share).transforms_stack
    found = [part.transform for part in steps.parts if isinstance(part.transform, TranscribeWork)]
    assert len(found) == 1
    return found[0]


def transcribe_spans(options: TranscribeOptions) -> TranscribeSpans:
    return transcribe_work(options).transcribe


def stages(language: str | None, options: TranscribeOptions = OPTIONS) -> list[str]:
    """Returns the names of the steps of each fused stage, joined."""
    _, fused = FnApiRunner().create_stages(graph_of(language, options))
    return [" ".join(step.unique_name for step in stage.transforms) for stage in fused]


def test_graph_contains_the_listing_once() -> None:
    """Runners limit messages to a few megabytes; Beam's `Create` would contain each name twice."""
    numbers = random.Random(0)
    work = [AudioSource(numbers.randbytes(8).hex(), numbers.randbytes(20).hex()) for _ in range(20_000)]

    def n_bytes(work: list[Work]) -> int:
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
        build(pipeline, work, OPTIONS, "en", ("en",), NOTHING)
        return len(pipeline.to_runner_api().SerializeToString())

    in_text = 4 / 3  # base64, as Beam encodes bytes
    assert n_bytes(work) - n_bytes([]) < 1.1 * in_text * len(serialize(work))


def hints_of(graph: Any, step: Any) -> dict[str, bytes]:  # noqa: ANN401
    return dict(graph.components.environments[step.environment_id].resource_hints)


def name_of(step: Any) -> str:  # noqa: ANN401
    """Returns the name of the step of `TranscribeWork` that a step is part of."""
    return str(step.unique_name.removeprefix("Recordings/").partition("/")[0])


HINTED = replace(OPTIONS, accelerator="type:nvidia-l4;count:1", min_ram="16GB", runner="DataflowRunner")


def test_only_steps_that_run_the_model_have_resource_hints() -> None:
    graph = graph_of(None, HINTED, share=True)
    steps = [step for step in graph.components.transforms.values() if step.environment_id]
    hinted = {name_of(step) for step in steps if hints_of(graph, step)}
    assert hinted == {"Open", "Transcribe", "Transcribe spans", "Open again", "Transcribe again"}
    in_them = [step for step in steps if name_of(step) in hinted]
    hints = {ACCELERATOR.urn: b"type:nvidia-l4;count:1", MIN_RAM_BYTES.urn: b"16000000000"}
    assert all(hints_of(graph, step) == hints for step in in_them)
    run_the_model = [step for step in in_them if step.unique_name.endswith("/Transcribe windows")]
    assert len(run_the_model) == 3


@pytest.mark.parametrize("options", [OPTIONS, replace(HINTED, runner="PrismRunner")], ids=["none", "prism"])
def test_graph_without_hints_has_one_environment(options: TranscribeOptions) -> None:
    graph = graph_of(None, options, share=True)
    used = {step.environment_id for step in graph.components.transforms.values() if step.environment_id}
    assert len(used) == 1
    assert not any(environment.resource_hints for environment in graph.components.environments.values())


@pytest.mark.parametrize("options", [OPTIONS, HINTED], ids=["no hints", "hints"])
@pytest.mark.parametrize("suffix", ["", " again"])
def test_samples_stay_within_one_stage(suffix: str, options: TranscribeOptions) -> None:
    names = stages(None, options)
    steps = [f"Transcribe{suffix}/{step}" for step in ("Read windows", "Transcribe windows")]
    (together,) = [name for name in names if steps[0] in name]
    assert all(step in together for step in steps)
    assert f"Open{suffix}/" in together


def test_graph_with_a_given_language_has_no_vote() -> None:
    assert any("Vote on language" in name for name in stages(None))
    assert not any("Vote" in name or "again" in name for name in stages("en"))
    redecoding = replace(OPTIONS, redecode_boundaries=0.3)
    assert any("again" in name for name in stages("en", redecoding))


def test_options_of_the_model_and_of_requests_reach_the_graph() -> None:
    model = ModelOptions(model="m", dtype="float16", batch_size=3)
    decoding = DecodingOptions(task="translate", return_timestamps=False)
    made = transcribe_spans(OPTIONS)
    assert (made.model, made.decoding, made.policy) == (model, decoding, FetchPolicy())
    changed: dict[str, Any] = {
        "beam_size": 2,
        "patience": 2.0,
        "best_of": 3,
        "length_penalty": 0.6,
        "suppress_tokens": (1, 2),
        "max_new_tokens": 100,
        "quantization": "a8",
        "parallel_batches": 1,
        "mesh": "model=2",
    }
    prompted: dict[str, Any] = {
        "word_timestamps": True,
        "initial_prompt": "Dear sir",
        "hotwords": "Guttenberg",
    }
    made = transcribe_spans(replace(OPTIONS, **changed, **prompted, fetch_timeout_s=60.0))
    assert made.model == replace(model, **changed)
    assert made.decoding == replace(decoding, **prompted)
    assert made.policy == FetchPolicy(fetch_timeout_s=60.0)
    assert pickle.loads(pickle.dumps((made.model, made.decoding))) == (made.model, made.decoding)


def test_filters_and_windows_come_from_the_options() -> None:
    changed = replace(OPTIONS, hallucination_filters=("rate",), vad=False)
    made = transcribe_spans(changed)
    assert (made.filters, made.plan.detector) == (("rate",), None)
    made = transcribe_spans(OPTIONS)
    assert made.filters == tuple(FILTERS)
    assert made.plan == WindowPlan(30, 5, silero_detector, over_speech=True)
    made = transcribe_spans(replace(OPTIONS, windows="grid", chunk_length_s=20.0, stride_length_s=4.0))
    assert made.plan == WindowPlan(20, 4, silero_detector, over_speech=False)


def test_second_pass_at_a_boundary_has_the_length_of_a_window() -> None:
    merge = transcribe_work(replace(OPTIONS, chunk_length_s=20.0, redecode_boundaries=0.3)).merge
    assert (merge.window_s, merge.redecode_below) == (20.0, 0.3)


def test_run_has_a_commit_log_and_shares_spans_where_there_are_several_workers() -> None:
    options = replace(OPTIONS, max_span_s=130.0, retry_failed=True)
    for share in (False, True):
        work = transcribe_work(options, share=share)
        assert work.transcribe.resume == ResumeSettings(RunFolder("out").log_folder, retry_failed=True)
        assert work.transcribe.span_s == 120
        assert (work.share, work.keyed) == (share, False)
        assert work.opener._max_range_s == (120 if share else None)


def test_fallback_policy_comes_from_the_options() -> None:
    changed: dict[str, Any] = {
        "temperature": (0.0, 0.5),
        "compression_ratio_threshold": 3.0,
        "logprob_threshold": -2.0,
        "no_speech_threshold": 0.7,
        "seed": 4,
    }
    assert transcribe_spans(replace(OPTIONS, **changed)).fallback == FallbackPolicy(**changed)
    assert transcribe_spans(OPTIONS).fallback == FallbackPolicy()
