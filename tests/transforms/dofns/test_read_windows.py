from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from apache_beam.pvalue import TaggedOutput

from model.interface import SAMPLE_RATE
from transforms.core.log_redaction import _RecordFactory
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSpan
from transforms.core.uris import audio_source
from transforms.dofns import read_windows
from transforms.dofns.open_work import OpenWork
from transforms.dofns.read_windows import ReadWindows
from transforms.dofns.tags import FAILURES
from transforms.fetch.policy import FetchPolicy
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.manifests import manifest_shards
from transforms.sources.parquet import DatasetShard
from transforms.sources.work_items import name_of
from transforms.windows.plan import WindowPlan

LANGUAGES = ("en", "fr", "de")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PROGRESS.reset()


def wav(path: Path, seconds: float) -> Path:
    soundfile.write(path, np.full(int(seconds * SAMPLE_RATE), 0.1, np.float32), SAMPLE_RATE)
    return path


def outputs(results: Iterator[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"main": []}
    for result in results:
        if isinstance(result, TaggedOutput):
            found.setdefault(result.tag, []).append(result.value)
        else:
            found["main"].append(result)
    return found


def test_workers_keep_credentials_out_of_their_logs() -> None:
    before = logging.getLogRecordFactory()
    try:
        for work in (OpenWork("en", LANGUAGES), ReadWindows(WindowPlan(30, 5))):
            logging.setLogRecordFactory(logging.LogRecord)
            work.setup()
            assert isinstance(logging.getLogRecordFactory(), _RecordFactory)
    finally:
        logging.setLogRecordFactory(before)


def test_a_dataset_from_elsewhere_names_no_file_of_this_machine() -> None:
    table = pa.table({"audio": ["/etc/passwd", "a.wav", "https://h/b.wav", "file:///etc/passwd"]})
    with fsspec.open("memory://data/x.parquet", "wb") as file:
        pq.write_table(table, file)
    shard = DatasetShard("d", "train", 0, "memory://data/x.parquet", "audio", None)
    found = outputs(OpenWork("en", LANGUAGES).process(shard))
    assert [span.source.uri for span in found["main"]] == ["memory://data/a.wav", "https://h/b.wav"]
    assert [(failure.uri, failure.kind) for failure in found[FAILURES]] == [
        ("dataset://d/train/0/0", "forbidden_uri"), ("dataset://d/train/0/3", "forbidden_uri"),
    ]  # fmt: skip
    assert "/etc/passwd is a file of the machine" in found[FAILURES][0].message
    trusting = OpenWork("en", LANGUAGES, policy=FetchPolicy(trust_manifests=True))
    assert len(outputs(trusting.process(shard))["main"]) == 4


def test_a_file_is_one_span_and_its_own_origin() -> None:
    source = audio_source("/a.wav")
    found = outputs(OpenWork("fr", LANGUAGES).process(source))
    assert found["main"] == [AudioSpan(source, "fr")]
    assert found[read_windows.ORIGINS] == [(source.audio_id, source)]


def test_a_shard_is_a_span_a_row_and_a_broken_one_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(
        pa.table({"audio": [{"bytes": b"a", "path": "a.wav"}, {"bytes": b"b", "path": "b.wav"}]}), path
    )
    (shard,) = dataset_work(str(path), "train")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    assert [span.source.payload for span in found["main"]] == [b"a", b"b"]
    assert found[read_windows.ORIGINS] == [(span.source.audio_id, shard) for span in found["main"]]
    path.write_bytes(b"no parquet")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.uri) == ("list", name_of(shard).uri)


def test_a_recording_has_its_own_language_if_the_model_knows_it() -> None:
    french, klingon = (replace(audio_source("/a.wav"), language=code) for code in ("fr", "tlh"))
    found = outputs(OpenWork("en", LANGUAGES).process(french))
    assert [span.language for span in found["main"]] == ["fr"]
    found = outputs(OpenWork("en", LANGUAGES).process(klingon))
    assert found["main"] == []
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.kind) == ("list", "other_language")
    assert "it is said to be in 'tlh', and the model knows de, en, fr alone" in failure.message


def test_what_a_list_says_wrong_is_a_failure_and_a_recording_done(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text\na.wav\n")
    (shard,) = manifest_shards(f"{tmp_path}/m.csv")
    found = outputs(OpenWork(None, LANGUAGES).process(shard))
    assert [failure.kind for failure in found[FAILURES]] == ["bad_line"]
    assert PROGRESS.tally().recordings == 1
