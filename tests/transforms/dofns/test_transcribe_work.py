from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.utils.shared import Shared

from model.interface import ModelOptions
from tests.support.tone_backend import TONES, write_talk
from transforms.core.uris import audio_source
from transforms.dofns.keyed_work import TRANSCRIPTS
from transforms.dofns.open_work import OpenWork
from transforms.dofns.tags import FAILURES, LISTED, UNFINISHED
from transforms.dofns.transcribe import TranscribeSpans
from transforms.dofns.transcribe_work import TranscribeWork
from transforms.merging.settings import MergeSettings
from transforms.windows.plan import WindowPlan

LANGUAGES = ("en", "fr", "de")


def transform(
    language: str | None = None,
    *,
    max_range_s: int | None = None,
    keyed: bool = False,
    hints: Mapping[str, str] = {},
) -> TranscribeWork:
    return TranscribeWork(
        OpenWork(language, LANGUAGES, max_range_s=max_range_s),
        TranscribeSpans(
            ModelOptions(model="m", batch_size=2), TONES.load, Shared(), WindowPlan(30, 5, TONES.detector)
        ),
        MergeSettings(language),
        share=max_range_s is not None,
        keyed=keyed,
        hints=hints,
    )


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A talk whose last words are French: its last window is outvoted and decoded again."""
    return write_talk(tmp_path / "talk.wav", 100, french_from=98)


@pytest.mark.parametrize("max_range_s", [None, 60])
@pytest.mark.parametrize("language", [None, "fr"])
def test_work_items_become_transcripts_and_failures(
    talk: Path, language: str | None, max_range_s: int | None
) -> None:
    work = [audio_source(str(talk)), audio_source("/no/such.wav")]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create(work) | transform(language, max_range_s=max_range_s)
        assert found.keys() == {TRANSCRIPTS, FAILURES, LISTED, UNFINISHED}
        text = " ".join(f"{language or 'en'}{second}" for second in range(100))
        assert_that(
            found[TRANSCRIPTS] | beam.Map(lambda one: (one.uri, one.text)), equal_to([(str(talk), text)])
        )
        failed = found[FAILURES] | "Kinds" >> beam.Map(lambda one: (one.uri, one.kind))
        assert_that(failed, equal_to([("/no/such.wav", "not_found")]), label="failures")


@pytest.mark.parametrize("max_range_s", [None, 60])
def test_keys_get_the_results_of_their_work_items(talk: Path, max_range_s: int | None) -> None:
    work: list[Any] = [((("a",), ()), audio_source(str(talk))), ((("b",),), audio_source("/no/such.wav"))]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create(work) | transform(max_range_s=max_range_s, keyed=True)
        kinds = found[TRANSCRIPTS] | beam.Map(lambda one: one[0] if isinstance(one, tuple) else one.language)
        assert_that(kinds, equal_to(["a", "en"]))
        failed = found[FAILURES] | "Kinds" >> beam.Map(lambda one: (one[0], one[1].kind))
        assert_that(failed, equal_to([("b", "not_found")]), label="failures")


def test_hints_are_those_of_the_steps_that_open_and_transcribe() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = (
        pipeline
        | beam.Create([audio_source("a.wav")])
        | "W" >> transform(hints={"min_ram": "16GB"}, max_range_s=60)
    )
    graph = pipeline.to_runner_api()
    hinted = {
        step.unique_name.split("/")[1]
        for step in graph.components.transforms.values()
        if step.environment_id and graph.components.environments[step.environment_id].resource_hints
    }
    assert hinted == {"Open", "Transcribe", "Transcribe spans", "Open again", "Transcribe again"}
