from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import soundfile
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, Repeatedly
from apache_beam.transforms.window import FixedWindows, GlobalWindows

from model.checkpoint import PACKAGED_MODELS
from model.config import CheckpointDefaults
from model.interface import SAMPLE_RATE
from model.model_names import HUB_NAMES
from pipelines import beam_transform
from pipelines.backend import WHISPER, Backend, whisper_languages
from pipelines.beam_transform import Transcribe, Transcribed
from pipelines.options import OptionsError, RecordingOptions
from tests.support.archive_builders import zip_of
from tests.support.collected import COLLECTED, collect
from tests.support.tone_backend import (
    LANGUAGES_REQUESTED,
    LOADED,
    REQUESTS,
    TONES,
    expected_text,
    load_tones,
    tone,
    write_talk,
)
from transforms.core.metrics import NAMESPACE
from transforms.core.types import AudioSource
from transforms.sources.listing import expand
from transforms.writing.rows import SCHEMA


@pytest.fixture
def talk(tmp_path: Path) -> str:
    return str(write_talk(tmp_path / "talk.wav", 3))


def transcribed(elements: list[Any], **options: Any) -> tuple[list[Any], list[Any]]:  # noqa: ANN401
    """Returns the rows and the failures of a pipeline that has nothing else, with or without keys."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        results = pipeline | beam.Create(elements) | Transcribe(**{"backend": TONES, **options})
        collect(results.rows, "rows")
        collect(results.failures, "failures")
    return COLLECTED["rows"], COLLECTED["failures"]


def texts(rows: list[Any]) -> list[Any]:
    keyed = [(*row[:1], row[1]["text"]) if isinstance(row, tuple) else row["text"] for row in rows]
    return sorted(keyed, key=repr)


def test_uris_become_rows_and_failures(talk: str) -> None:
    rows, failures = transcribed([talk, "/no/such.wav"])
    (row,), (failure,) = rows, failures
    assert list(row) == SCHEMA.names
    assert (row["uri"], row["text"], row["language"]) == (talk, "en0 en1 en2", "en")
    assert (failure["uri"], failure["stage"], failure["kind"]) == ("/no/such.wav", "fetch", "not_found")


def test_keys_come_with_the_rows_and_failures(talk: str) -> None:
    rows, failures = transcribed([("a", talk), ("b", "/no/such.wav"), ("c", "/no/*.wav")])
    assert texts(rows) == [("a", "en0 en1 en2")]
    assert sorted((key, failure["kind"]) for key, failure in failures) == [
        ("b", "not_found"), ("c", "not_one_recording"),
    ]  # fmt: skip


def test_the_same_recording_under_several_names_is_one_row(
    talk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(talk).parent)
    rows, failures = transcribed([talk, "talk.wav", f"file://{talk}", AudioSource("", talk), "./talk.wav"])
    assert (texts(rows), failures, len(REQUESTS)) == (["en0 en1 en2"], [], 1)


def test_each_key_of_a_recording_has_its_row_and_it_is_decoded_once(talk: str) -> None:
    elements = [("a", talk), ("b", talk), ("a", talk), (1, talk), (True, talk), (("a", 1), talk)]
    rows, failures = transcribed(elements)
    text = "en0 en1 en2"
    assert texts(rows) == [("a", text), ("b", text), (("a", 1), text), (1, text), (True, text)]
    assert (failures, len(REQUESTS)) == ([], 1)


def test_failure_of_a_recording_goes_to_each_of_its_keys(tmp_path: Path) -> None:
    broken = tmp_path / "a.wav"
    broken.write_bytes(b"<html>")
    rows, failures = transcribed([("a", str(broken)), ("b", str(broken)), ("a", str(broken))])
    assert rows == []
    assert sorted((key, failure["stage"]) for key, failure in failures) == [("a", "decode"), ("b", "decode")]


def test_elements_with_and_without_a_key_may_be_mixed(talk: str) -> None:
    rows, failures = transcribed([talk, ("a", talk), "/no/such.wav", ("b", "/no/such.wav")])
    assert texts(rows) == ["en0 en1 en2", ("a", "en0 en1 en2")]
    assert sorted(type(failure).__name__ for failure in failures) == ["dict", "tuple"]


def test_hints_of_an_audio_source(talk: str) -> None:
    source = AudioSource("", talk, start_s=1.0, language="fr", reference="a text", prompt="Dear sir")
    rows, _ = transcribed([("k", source), ("l", talk)])
    by_key = dict(rows)
    assert by_key["k"]["uri"] == f"{talk}#t=1"
    assert (by_key["k"]["text"], by_key["k"]["reference"]) == ("fr1 fr2", "a text")
    assert by_key["l"]["text"] == "en0 en1 en2"
    assert sorted(request.prompt or "" for request in REQUESTS) == ["", "Dear sir"]


def test_language_that_the_model_lacks_is_a_failure_of_its_recording(talk: str) -> None:
    rows, failures = transcribed([AudioSource("", talk, language="pl")])
    assert (rows, [failure["kind"] for failure in failures]) == ([], ["other_language"])


def test_bytes_need_no_file(talk: str) -> None:
    rows, failures = transcribed([AudioSource("", "message 7", payload=Path(talk).read_bytes())])
    assert (rows[0]["uri"], texts(rows), failures) == ("message 7", ["en0 en1 en2"], [])


def test_windows_that_the_vote_overrules_are_decoded_again(tmp_path: Path) -> None:
    talk = write_talk(tmp_path / "a.wav", 100, french_from=98)
    rows, failures = transcribed([("k", str(talk))])
    assert (texts(rows), failures) == ([("k", expected_text("en", 100))], [])
    assert "en" in LANGUAGES_REQUESTED


@pytest.mark.parametrize("keyed", [False, True])
def test_channels_are_recordings_of_their_own(tmp_path: Path, keyed: bool) -> None:
    path = tmp_path / "call.wav"
    soundfile.write(path, [[left, right] for left, right in zip(tone(1), tone(5), strict=True)], SAMPLE_RATE)
    elements: list[Any] = [("a", str(path)), ("b", str(path))] if keyed else [str(path)]
    rows, _ = transcribed(elements, channels="split")
    assert texts(rows) == (
        [(key, text) for key in "ab" for text in ("en1", "en5")] if keyed else ["en1", "en5"]
    )


def test_part_that_fails_is_a_failure_beside_the_row(tmp_path: Path) -> None:
    talk = write_talk(tmp_path / "a.wav", 100, poison=80)
    rows, failures = transcribed([("k", str(talk))], language="en")
    ((key, row),), ((of_key, failure),) = rows, failures
    assert (key, of_key, failure["kind"], failure["audio_id"]) == ("k", "k", "model_error", row["audio_id"])
    assert row["text"].startswith("en0 en1 en2")


def test_archive_is_a_row_for_each_recording_in_it(talk: str, tmp_path: Path) -> None:
    content = Path(talk).read_bytes()
    (tmp_path / "a.zip").write_bytes(zip_of({"1.wav": content, "2.wav": b"<html>", "3.wav": content}))
    for elements in (
        [str(tmp_path / "a.zip")],
        [("k", str(tmp_path / "a.zip")), ("l", str(tmp_path / "a.zip"))],
    ):
        rows, failures = transcribed(list(elements))
        names = [(row[1] if isinstance(row, tuple) else row)["uri"].rpartition("/")[2] for row in rows]
        assert sorted(names) == sorted(["1.wav", "3.wav"] * len(elements))
        assert len(failures) == len(elements)
    assert {key for key, _ in failures} == {"k", "l"}


def test_folders_and_manifests_come_as_work_items(talk: str, tmp_path: Path) -> None:
    write_talk(tmp_path / "b.wav", 2)
    (tmp_path / "list.jsonl").write_text('{"audio": "b.wav", "language": "fr"}\n')
    work = [("folder", one) for one in expand(str(tmp_path))]
    rows, _ = transcribed(work)
    assert set(texts(rows)) == {("folder", "en0 en1"), ("folder", "en0 en1 en2")}
    rows, _ = transcribed(list(expand(str(tmp_path / "list.jsonl"))))
    assert texts(rows) == ["fr0 fr1"]
    _, failures = transcribed([str(tmp_path), str(tmp_path / "list.jsonl")])
    assert [failure["kind"] for failure in failures] == ["not_one_recording"] * 2


def test_no_recordings_are_no_rows() -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows, failures = pipeline | beam.Create([], reshuffle=False) | Transcribe(backend=TONES)
        assert_that((rows, failures) | beam.Flatten(), equal_to([]))
    assert LOADED == []


def test_unusable_element_ends_the_pipeline() -> None:
    with pytest.raises(TypeError, match=r"cannot transcribe a int, 3"):
        transcribed([3])


def built(element_type: Any, uris: list[Any]) -> Transcribed:  # noqa: ANN401  # a type hint
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    named = pipeline | beam.Create(uris) | beam.Map(lambda uri: uri).with_output_types(element_type)
    results: Transcribed = named | Transcribe(backend=TONES)
    return results


@pytest.mark.parametrize(
    ("element_type", "row_type"),
    [
        (str, beam.typehints.Dict[str, Any]),
        (AudioSource, beam.typehints.Dict[str, Any]),
        (tuple[int, str], beam.typehints.Tuple[int, beam.typehints.Dict[str, Any]]),
        (tuple[bytes, AudioSource], beam.typehints.Tuple[bytes, beam.typehints.Dict[str, Any]]),
        (Any, beam.typehints.Any),
    ],
)
def test_types_of_the_results_follow_from_that_of_the_elements(element_type: Any, row_type: Any) -> None:  # noqa: ANN401
    results = built(element_type, [])
    assert [one.element_type for one in results] == [row_type, row_type]


def test_rows_are_grouped_by_their_keys_in_the_callers_pipeline(talk: str) -> None:
    """Keys have the coder of their type: a grouping by them works, and rows survive the encoding."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows, _ = pipeline | beam.Create([(7, talk)]) | Transcribe(backend=TONES)
        grouped = (
            rows | beam.GroupByKey() | beam.MapTuple(lambda key, rows: (key, [list(row) for row in rows]))
        )
        assert_that(grouped, equal_to([(7, [SCHEMA.names])]))


def test_without_keys_rows_are_grouped_once() -> None:
    def n_groupings(element_type: Any) -> int:  # noqa: ANN401
        graph = built(element_type, []).rows.pipeline.to_runner_api()
        transforms = graph.components.transforms.values()
        return sum(one.spec.urn == "beam:transform:group_by_key:v1" for one in transforms)

    assert n_groupings(tuple[str, str]) == n_groupings(Any) == n_groupings(str) + 1


def test_transforms_of_one_pipeline_share_a_model_only_with_the_same_options(talk: str) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        uris = pipeline | beam.Create([talk])
        english = uris | "English" >> Transcribe(model="m", language="en", backend=TONES)
        french = uris | "French" >> Transcribe(model="m", language="fr", backend=TONES)
        other = uris | "Other" >> Transcribe(model="n", language="de", backend=TONES)
        rows = [one.rows for one in (english, french, other)]
        found = rows | beam.Flatten() | beam.Map(lambda row: (row["model"], row["text"]))
        assert_that(found, equal_to([("m", "en0 en1 en2"), ("m", "fr0 fr1 fr2"), ("n", "de0 de1 de2")]))
    assert sorted(options.model for options in LOADED) == ["m", "n"]


def test_handle_of_a_model_belongs_to_a_pipeline_and_a_model() -> None:
    first, second = (beam.Pipeline(runner=FnApiRunner()) for _ in range(2))
    options = RecordingOptions(model="m", language="en")
    handle = beam_transform._model_handle(first, options, load_tones)
    assert beam_transform._model_handle(first, replace(options, language="fr"), load_tones) is handle
    assert beam_transform._model_handle(second, options, load_tones) is not handle
    assert beam_transform._model_handle(first, replace(options, batch_size=3), load_tones) is not handle
    assert beam_transform._model_handle(first, options, WHISPER.load) is not handle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "klingon"}, r"--language klingon: no such language"),
        ({"chunk_length_s": 40}, r"--chunk_length_s 40: must be between"),
        ({"langauge": "en"}, r"langauge: no such option of Transcribe \(did you mean language\?\)"),
        ({"output": "out"}, r"output: no such option of Transcribe"),
    ],
)
def test_invalid_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        Transcribe(**options)


def test_every_option_of_a_recording_is_taken() -> None:
    options = {one.name: getattr(RecordingOptions(), one.name) for one in fields(RecordingOptions)}
    assert Transcribe(**options)._options == RecordingOptions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "tiny.en", "language": "fr"}, r"--language fr: .*knows only en"),
        ({"model": "tiny.en", "task": "translate"}, r"--task translate: .*knows only en"),
        ({"model": "nobody/knows"}, r"model: no model 'nobody/knows'"),
    ],
)
@pytest.mark.parametrize("backend", [TONES, replace(WHISPER, languages=TONES.languages)])
def test_what_the_model_lacks_is_refused_when_it_is_applied(
    backend: Backend, options: dict[str, Any], message: str
) -> None:
    uris = beam.Pipeline(runner=FnApiRunner()) | beam.Create(["a.wav"])
    with pytest.raises(OptionsError, match=message):
        uris | Transcribe(backend=backend, **options)


def test_what_the_checkpoint_is_configured_for_is_followed(talk: str) -> None:
    backend = replace(TONES, defaults=lambda _: CheckpointDefaults("fr", None))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows, _ = pipeline | beam.Create([talk]) | Transcribe(backend=backend)
        assert_that(rows | beam.Map(lambda row: row["text"]), equal_to(["fr0 fr1 fr2"]))


def test_known_models_need_no_files_where_the_pipeline_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.checkpoint.find_checkpoint", lambda name: pytest.fail(f"looked for {name}"))
    for name in HUB_NAMES:
        codes = beam_transform._languages(name, WHISPER)
        assert len(codes) == (1 if name.endswith(".en") else 100 if "large-v3" in name else 99)
    uris = beam.Pipeline(runner=FnApiRunner()) | beam.Create(["a.wav"])
    with pytest.raises(OptionsError, match=r"--language yue: openai/whisper-base knows only"):
        uris | Transcribe(model="base", language="yue")


@pytest.mark.weights
@pytest.mark.parametrize("name", PACKAGED_MODELS)
def test_languages_known_by_name_are_those_of_the_checkpoint(name: str) -> None:
    if any(file.locate() is None for file in PACKAGED_MODELS[name].files):
        pytest.skip(f"the package with the weights of {name} is not installed")
    assert set(beam_transform._languages(name, WHISPER)) == set(whisper_languages(name))


def test_folder_with_the_name_of_a_known_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openai/whisper-base").mkdir(parents=True)
    (tmp_path / "openai/whisper-base/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionsError, match=r"model: .*whisper-base"):
        beam_transform._languages("openai/whisper-base", WHISPER)


@pytest.mark.parametrize(
    "windows",
    [
        beam.WindowInto(FixedWindows(60)),
        beam.WindowInto(
            GlobalWindows(),
            trigger=Repeatedly(AfterCount(1)),
            accumulation_mode=AccumulationMode.DISCARDING,
        ),
    ],
    ids=["fixed windows", "trigger"],
)
def test_windows_are_refused(windows: beam.WindowInto) -> None:
    uris = beam.Pipeline(runner=FnApiRunner()) | beam.Create(["a.wav"]) | windows
    with pytest.raises(ValueError, match=r"global window and its default trigger, not .*GlobalWindows\(\)"):
        uris | Transcribe(backend=TONES)


def test_windows_that_end_before_it_are_no_problem(talk: str) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        uris = pipeline | beam.Create([talk]) | beam.WindowInto(FixedWindows(60))
        rows, _ = uris | "Global" >> beam.WindowInto(GlobalWindows()) | Transcribe(backend=TONES)
        assert_that(rows | beam.Map(lambda row: row["text"]), equal_to(["en0 en1 en2"]))


def test_streams_are_refused() -> None:
    uris = beam.Pipeline(runner=FnApiRunner()) | test_stream.TestStream()
    with pytest.raises(ValueError, match=r"bounded collection; .*pipelines\.inference\.Inference"):
        uris | Transcribe(backend=TONES)


def test_counters_are_those_of_the_pipeline_of_the_command(talk: str) -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([talk, "/no/such.wav"]) | Transcribe(backend=TONES)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    counts: Counter[str] = Counter()
    for counter in counters:
        counts[counter.key.metric.name] += counter.committed
    assert {name: counts[name] for name in ("listed", "transcribed", "failures", "windows")} == {
        "listed": 2, "transcribed": 1, "failures": 1, "windows": 1,
    }  # fmt: skip


def test_resource_hints_of_the_transform_reach_the_steps_that_run_the_model() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    uris = pipeline | beam.Create(["a.wav"])
    _ = uris | Transcribe(backend=TONES).with_resource_hints(min_ram="16GB")
    graph = pipeline.to_runner_api()
    hinted = {
        step.unique_name
        for step in graph.components.transforms.values()
        if step.environment_id and graph.components.environments[step.environment_id].resource_hints
    }
    assert any(name.endswith("/Transcribe windows") for name in hinted)
    assert {name.partition("/")[0] for name in hinted} == {"Transcribe"}


def test_launcher_needs_no_jax() -> None:
    program = (
        "import sys, apache_beam as beam\n"
        "from pipelines.beam_transform import Transcribe\n"
        "beam.Pipeline() | beam.Create(['a.wav']) | Transcribe(model='base')\n"
        "assert not {'jax', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
