from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipelines.options import TranscribeOptions
from pipelines.output.run_identity import (
    SCHEMA_VERSION,
    ModelIdentity,
    RunIdentity,
    difference,
    identity_of,
    is_identity,
    public_options,
)

MODEL = ModelIdentity("0a1b", ("en", "fr"))


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


def identity(*inputs: str, of: ModelIdentity = MODEL, **changed: Any) -> RunIdentity:  # noqa: ANN401  # options
    return identity_of(options(**changed), of, inputs or ("1", "2"))


IDENTITY = identity()


def test_transcripts_depend_on_options_weights_and_version() -> None:
    for changed in ({"language": "fr"}, {"stride_length_s": 4.0}, {"model": "other"}, {"channels": "split"}):
        assert identity(**changed).transcripts != IDENTITY.transcripts
    assert identity(clip_timestamps=(0.0, 9.0)).transcripts != IDENTITY.transcripts
    assert identity(of=replace(MODEL, weights="other")).transcripts != IDENTITY.transcripts
    assert replace(IDENTITY, version="9.9").transcripts != IDENTITY.transcripts


def test_how_the_input_is_named_is_no_part_of_the_identity() -> None:
    for same in (
        *({"input": ("./a.wav", "b.wav")}, {"dataset": "d"}, {"audio_column": "a"}, {"text_column": "t"}),
        *({"batch_size": 3}, {"parallel_batches": 3}, {"output": "other"}, {"overwrite": True}),
        {"runner": "FlinkRunner"},
    ):
        assert identity(**same) == IDENTITY


def test_a_finished_run_is_of_the_same_input_and_form() -> None:
    assert identity("2", "1").digest == IDENTITY.digest
    assert identity(format=("jsonl", "parquet")).digest == identity(format=("parquet", "jsonl")).digest
    others: list[RunIdentity] = [identity("1", "2", "3"), identity(num_shards=2)]
    others += [identity(format=("parquet",)), identity(remove_unlisted=True)]
    for other in others:
        assert other.digest != IDENTITY.digest
        assert other.transcripts == IDENTITY.transcripts
        assert difference(other.to_json(), IDENTITY) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (identity(return_timestamps=False), "another run (with --return_timestamps False, not True)"),
        (identity(languages=("en", "fr")), "another run (with --languages en,fr, not )"),
        (
            identity(of=replace(MODEL, weights="other")),
            "another run (whose weights of openai/whisper-base differ from those of now)",
        ),
        (
            replace(identity(language="fr"), version="0.0.1"),
            f"a run of whisper-beam 0.0.1, which {IDENTITY.version} cannot resume",
        ),
    ],
)
def test_another_run_is_described(other: RunIdentity, reason: str) -> None:
    assert difference(json.loads(json.dumps(other.to_json())), IDENTITY) == reason


def test_runs_of_other_versions_of_the_schema_are_described() -> None:
    found = IDENTITY.to_json()
    for version, reason in (
        (SCHEMA_VERSION + 1, "a run of a later version of whisper-beam (schema 7), which this version"),
        (3, "a run of an earlier version of whisper-beam (schema 3), which this version cannot resume"),
        (None, "a run of an earlier version of whisper-beam, which this version cannot resume"),
    ):
        assert (difference({**found, "schema_version": version}, IDENTITY) or "").startswith(reason)
    unknown = {**found, "options": {**found["options"], "unknown": 1}}
    assert (difference(unknown, IDENTITY) or "").startswith("a run of another version of whisper-beam")


def test_identity_is_recognised_in_json() -> None:
    assert is_identity(json.loads(json.dumps(IDENTITY.to_json())))
    assert is_identity({"digest": "d", "options": {}, "inputs": "i", "schema_version": 3})
    for damaged in (
        {"digest": "d", "options": [], "inputs": "i"},
        {"digest": "d", "options": {}},
        {**IDENTITY.to_json(), "weights": None},
    ):
        assert not is_identity(damaged)


def test_public_options_have_no_credentials() -> None:
    public = public_options(
        options(input=("https://me:pw@host/a.wav?token=s3cret", "b.wav"), output="s3://k:s@b/o")
    )
    assert [text.partition("?")[0] for text in public["input"]] == ["https://host/a.wav", "b.wav"]
    assert "s3cret" not in str(public)
    assert public["output"] == "s3://b/o"
