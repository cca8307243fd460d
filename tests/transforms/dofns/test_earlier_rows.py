from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from transforms.dofns.earlier_rows import CountListed, KeepEarlierRows, rows_not_listed
from transforms.writing.sharded_files import json_line

FILE, OTHER = "0" * 16, "1" * 16


def earlier(*audio_ids: str) -> list[tuple[str, bytes]]:
    return [(audio_id, json_line({"audio_id": audio_id})) for audio_id in audio_ids]


def counters_of(pipeline: beam.Pipeline) -> dict[str, int]:
    assert pipeline.result is not None
    found = pipeline.result.metrics().query()["counters"]
    return {one.key.metric.name: one.committed for one in found}


def kept(rows: list[tuple[str, bytes]], listed: list[str]) -> list[str]:
    return [row["audio_id"] for row in rows_not_listed((FILE, {"earlier": rows, "listed": listed}))]


def test_rows_of_recordings_that_are_not_listed_are_kept() -> None:
    assert kept(earlier(FILE), []) == [FILE]
    assert kept(earlier(FILE), [FILE]) == []
    assert kept([], [FILE]) == []


def test_channels_of_a_file_are_listed_with_it_or_by_themselves() -> None:
    channels = [f"{FILE}-0", f"{FILE}-1"]
    assert kept(earlier(*channels), [FILE]) == []
    assert kept(earlier(*channels), [f"{FILE}-0"]) == [f"{FILE}-1"]
    assert kept(earlier(*channels), []) == channels


def test_a_row_that_is_in_two_files_is_kept_once() -> None:
    assert kept(earlier(FILE, FILE), []) == [FILE]


@pytest.mark.parametrize("content", ["half", '{"audio_id": ', "[]\n", "{}\n"])
@pytest.mark.parametrize("has_other_format", [False, True])
def test_a_damaged_file_is_reported_and_the_others_are_read(
    content: str, has_other_format: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, damaged = tmp_path / "part-00000-of-00002.jsonl", tmp_path / "part-00001-of-00002.jsonl"
    files = ((str(damaged), str(whole)),) if has_other_format else ((str(whole),), (str(damaged),))
    whole.write_text(json.dumps({"audio_id": FILE}) + "\n")
    damaged.write_text(content)
    with beam.Pipeline() as pipeline:
        nothing = pipeline | beam.Create([OTHER])
        assert_that(nothing | KeepEarlierRows(files), equal_to([{"audio_id": FILE}]))
    assert f"{damaged} cannot be read" in caplog.text
    assert counters_of(pipeline).get("earlier_files_damaged", 0) == (0 if has_other_format else 1)


def test_kept_rows_and_repeated_listings_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "part-00000-of-00001.jsonl"
    file.write_text("".join(json.dumps({"audio_id": audio_id}) + "\n" for audio_id in (FILE, OTHER)))
    with beam.Pipeline() as pipeline:
        listed = pipeline | beam.Create([OTHER, OTHER, "2" * 16, OTHER])
        _ = listed | CountListed()
        assert_that(listed | KeepEarlierRows(((str(file),), (str(file),))), equal_to([{"audio_id": FILE}]))
    counters = counters_of(pipeline)
    assert (counters["kept"], counters["duplicates"]) == (1, 2)
