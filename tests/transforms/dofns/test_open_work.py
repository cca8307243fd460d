from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.dofn_outputs import MAIN, by_tag
from transforms.core.log_redaction import _RecordFactory
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSource, AudioSpan, file_id, of_channel
from transforms.core.uris import audio_source
from transforms.dofns.open_work import OpenWork
from transforms.dofns.tags import FAILURES, LISTED, ORIGINS, SHARED
from transforms.fetch.policy import FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.manifests import manifest_shards
from transforms.sources.parquet import DatasetShard
from transforms.sources.work_items import failure_source

LANGUAGES = ("en", "fr", "de")


@pytest.fixture
def _log_factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("_log_factory")
def test_workers_keep_credentials_out_of_their_logs() -> None:
    OpenWork("en", LANGUAGES).setup()
    assert isinstance(logging.getLogRecordFactory(), _RecordFactory)


def test_a_remote_dataset_may_not_name_local_files() -> None:
    table = pa.table({"audio": ["/etc/passwd", "a.wav", "https://h/b.wav", "file:///etc/passwd"]})
    with fsspec.open("memory://data/x.parquet", "wb") as file:
        pq.write_table(table, file)
    shard = DatasetShard("d", "train", 0, "memory://data/x.parquet", "audio", None)
    found = by_tag(OpenWork("en", LANGUAGES).process(shard))
    assert [span.source.uri for span in found[MAIN]] == ["memory://data/a.wav", "https://h/b.wav"]
    assert [(failure.uri, failure.kind) for failure in found[FAILURES]] == [
        ("dataset://d/train/0/0", "forbidden_uri"), ("dataset://d/train/0/3", "forbidden_uri"),
    ]  # fmt: skip
    assert "/etc/passwd is a file of the machine" in found[FAILURES][0].message
    trusting = OpenWork("en", LANGUAGES, policy=FetchPolicy(trust_manifests=True))
    assert len(by_tag(trusting.process(shard))[MAIN]) == 4


def test_a_file_is_one_span_and_its_own_origin(counted: CountingMetrics) -> None:
    source = audio_source("/a.wav")
    found = by_tag(OpenWork("fr", LANGUAGES).process(source))
    assert found[MAIN] == [AudioSpan(source, "fr")]
    assert found[ORIGINS] == [(source.audio_id, source)]
    assert counted.counters["listed"] == 1
    assert counted.counters["read_us"] >= 0


def test_a_shard_is_a_span_a_row_and_a_broken_one_a_failure(tmp_path: Path, counted: CountingMetrics) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(
        pa.table({"audio": [{"bytes": b"a", "path": "a.wav"}, {"bytes": b"b", "path": "b.wav"}]}), path
    )
    (shard,) = dataset_work(str(path), "train")
    found = by_tag(OpenWork(None, LANGUAGES).process(shard))
    assert [span.source.payload for span in found[MAIN]] == [b"a", b"b"]
    assert found[ORIGINS] == [(span.source.audio_id, shard) for span in found[MAIN]]
    assert counted.counters["listed"] == 2
    path.write_bytes(b"no parquet")
    found = by_tag(OpenWork(None, LANGUAGES).process(shard))
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.uri) == ("list", failure_source(shard).uri)
    assert counted.counters["listed"] == 2  # a shard is no recording


def test_a_recording_has_its_own_language_if_the_model_knows_it() -> None:
    french, klingon = (replace(audio_source("/a.wav"), language=code) for code in ("fr", "tlh"))
    found = by_tag(OpenWork("en", LANGUAGES).process(french))
    assert [span.language for span in found[MAIN]] == ["fr"]
    found = by_tag(OpenWork("en", LANGUAGES).process(klingon))
    assert found[MAIN] == []
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.kind) == ("list", "other_language")
    assert "'tlh', but the model knows only de, en, fr" in failure.message


def test_rows_may_name_languages_that_only_the_model_has(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,language\na.wav,XYZ\nb.wav,hak\nc.wav,abc\nd.wav,ko\n")
    pq.write_table(
        pa.table({"audio": [{"bytes": b"x", "path": None}], "language": ["xyz"]}), tmp_path / "d.parquet"
    )
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("a.wav", b"x"), ("a.json", b'{"language": "xyz"}')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    dataset = DatasetShard("d", "train", 0, f"{tmp_path}/d.parquet", "audio", None)
    work = [*manifest_shards(f"{tmp_path}/m.csv"), ArchiveShard(f"{tmp_path}/a.tar"), dataset]
    found = [by_tag(OpenWork("en", ("en", "hak", "xyz", "zh")).process(one)) for one in work]
    languages = [span.language for one in found for span in one[MAIN]]
    assert languages == ["xyz", "hak", "en", "xyz", "xyz"]
    assert [failure.kind for one in found for failure in one.get(FAILURES, [])] == ["other_language"]


def test_an_invalid_line_of_a_manifest_is_a_failure_and_counts_as_a_recording(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text\na.wav\n")
    (shard,) = manifest_shards(f"{tmp_path}/m.csv")
    found = by_tag(OpenWork(None, LANGUAGES).process(shard))
    assert [failure.kind for failure in found[FAILURES]] == ["bad_line"]
    assert PROGRESS.tally().recordings == 1


def test_each_listing_of_a_recording_has_its_id(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text,channel\na.wav,,0\na.wav,,1\n")
    listed = []
    for shard in manifest_shards(f"{tmp_path}/m.csv"):
        found = by_tag(OpenWork(None, LANGUAGES, list_ids=True).process(shard))
        assert found[LISTED] == [span.source.audio_id for span in found[MAIN]]
        listed += found[LISTED]
    assert len(set(listed)) == len(listed) == 2
    failed = by_tag(OpenWork(None, (), list_ids=True).process(replace(audio_source("/a.wav"), language="en")))
    assert failed[LISTED] == [failure.audio_id for failure in failed[FAILURES]]
    assert LISTED not in by_tag(OpenWork(None, LANGUAGES).process(shard))


def test_a_long_recording_is_emitted_in_ranges_unless_its_channels_are_split(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(150 * 8_000, np.int16), 8_000)
    source = audio_source(str(tmp_path / "a.flac"))
    found = by_tag(OpenWork("en", LANGUAGES, max_range_s=60).process(source))
    assert found[MAIN] == []
    assert [(span.start_s, span.stop_s) for span in found[SHARED]] == [(0, 60), (60, 120), (120, None)]
    assert found[ORIGINS] == [(source.audio_id, source)]
    for others in (
        OpenWork("en", LANGUAGES, max_range_s=1800),
        OpenWork("en", LANGUAGES, split=True, max_range_s=60),
        OpenWork("en", LANGUAGES, all_streams=True, max_range_s=60),
    ):
        found = by_tag(others.process(source))
        assert [(span.start_s, span.stop_s) for span in found[MAIN]] == [(0, None)]
        assert SHARED not in found


def test_the_channel_to_transcribe_is_that_of_the_run() -> None:
    (span,) = by_tag(OpenWork("en", LANGUAGES, channel=1).process(audio_source("/a.wav")))[MAIN]
    assert span.source.channel == 1


def test_the_audio_stream_to_transcribe_is_that_of_the_run_unless_a_recording_has_one() -> None:
    source = audio_source("/a.mkv")
    for opener, stream, all_streams in (
        (OpenWork("en", LANGUAGES), None, False),
        (OpenWork("en", LANGUAGES, stream="de"), "de", False),
        (OpenWork("en", LANGUAGES, all_streams=True), None, True),
    ):
        (span,) = by_tag(opener.process(source))[MAIN]
        assert span == AudioSpan(replace(source, stream=stream), "en", all_streams=all_streams)
        (span,) = by_tag(opener.process(replace(source, stream=2)))[MAIN]
        assert span == AudioSpan(replace(source, stream=2), "en")


def test_a_line_of_a_manifest_precedes_the_channel_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,channel\ncall.wav,B\n")
    (shard,) = manifest_shards(f"{tmp_path}/m.csv")
    source = of_channel(audio_source(f"{tmp_path}/call.wav"), 1)
    for opener in (OpenWork("en", LANGUAGES, channel=0), OpenWork("en", LANGUAGES, split=True)):
        found = by_tag(opener.process(shard))
        assert found[MAIN] == [AudioSpan(source, "en")]
        assert found[ORIGINS] == [(file_id(source.audio_id), source)]


def test_clips_of_a_recording_replace_those_of_the_run() -> None:
    clips, own = ((1.0, 2.0),), ((3.0, None),)
    opener = OpenWork("en", LANGUAGES, clips=clips)
    for source, expected in (
        (AudioSource("id", "a.wav"), clips),
        (AudioSource("id", "a.wav", clip_timestamps=own), own),
        (AudioSource("id", "a.wav", clip_timestamps=((0.0, None),)), ((0.0, None),)),
    ):
        (span,) = by_tag(opener.process(source))[MAIN]
        assert span.source.clip_timestamps == expected
