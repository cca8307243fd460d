from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from transforms.core.errors import AudioError, to_failure
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_source
from transforms.sources import line_groups as module
from transforms.sources.line_groups import LinePart, in_reading_order, line_groups, no_part, part_reader
from transforms.sources.manifest_records import Record
from transforms.sources.manifests import ManifestShard, manifest_shards, read_manifest, read_manifest_shard
from transforms.sources.work_items import deserialize, fingerprint, n_recordings, open_work, serialize


def record(data: str, number: int = 1) -> Record:
    return Record(number, 0, len(data), data.encode())


def records(files: Iterable[str]) -> Iterator[Record]:
    return (record(file, number) for number, file in enumerate(files))


def first_letter(one: Record) -> LinePart | None:
    """A part of 10 s of the file of its first letter, at the second of the digits behind it; none for `-`."""
    text = one.data.decode()
    return None if text[0] == "-" else LinePart(text[0], (None, None, float(text[1:] or 0), 10.0))


def grouped(files: Iterable[str]) -> list[str]:
    return [
        " ".join(one.data.decode() for one in group.records)
        for group in line_groups(records(files), first_letter)
    ]


def test_neighbours_of_one_file_are_together_and_whole_files_by_themselves() -> None:
    assert grouped(["-", "-", "a1", "a2", "b", "-", "b", "b", "a3"]) == [
        "-", "-", "a1 a2", "b", "-", "b b", "a3",
    ]  # fmt: skip


def test_parts_of_a_file_are_in_order() -> None:
    assert grouped(["a5", "a1", "a30", "a1"]) == ["a1 a1 a5 a30"]


def test_lines_of_a_shuffled_list_with_many_parts_of_each_file_are_put_together() -> None:
    parts = [f"{file}{second}" for file in "abc" for second in range(50)]
    shuffled = random.Random(0).sample(parts, len(parts))
    found = grouped(shuffled)
    assert sorted(found) == [" ".join(parts[start : start + 50]) for start in (0, 50, 100)]
    few = [f"{file}{second}" for file in "abcdefghi" for second in range(module.MIN_MEAN_LINES - 1)]
    shuffled = random.Random(0).sample(few, len(few))
    assert sorted(" ".join(grouped(shuffled)).split()) == sorted(few)
    assert max(len(group.split()) for group in grouped(shuffled)) < 5


def test_groups_are_limited_in_seconds_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [len(group.split()) for group in grouped(f"a{number:04}" for number in range(1000))]
    assert sizes == [360, 360, 280]  # of 10 s each
    monkeypatch.setattr(module, "MAX_LINES", 300)
    assert [len(group.split()) for group in grouped("a" * 1 for _ in range(1000))] == [300, 300, 300, 100]


def test_no_more_is_read_ahead_than_a_bound_and_nothing_without_parts() -> None:
    n_read = itertools.count()
    endless = (record("a", next(n_read)) for _ in itertools.count())
    next(line_groups(endless, first_letter))
    assert next(n_read) == module.N_AHEAD
    one_by_one = line_groups(endless, no_part)
    for number in range(5):
        assert next(one_by_one)[1:] == (number, number)
    assert next(n_read) == module.N_AHEAD + 6


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"audio_filepath": "a.mp3", "offset": 1.5, "duration": 4}, ("a.mp3", 1.5, 4.0)),
        ({"path": "a.mp3", "start": "2", "end": 5, "text": ["x"]}, ("a.mp3", 2.0, 3.0)),
        ({"path": "a.mp3", "start": 2, "duration": -1}, ("a.mp3", 2.0, module.UNKNOWN_S)),
        ({"path": "a.mp3", "start": "0:02", "end": "0:05"}, ("a.mp3", 0.0, module.UNKNOWN_S)),
        ({"path": "a.mp3", "duration": 5}, None),
        ({"path": 7, "offset": 5}, None),
        ({"other": "a.mp3", "offset": 5}, None),
        ({"path": "a.mp3", "offset": None, "duration": 3}, None),
        ({"audio": "a", "path": "b", "offset": 0, "duration": "1e400"}, ("a", 0.0, module.UNKNOWN_S)),
        ({"path": "a", "offset": 1, "duration": math.nan}, None),
    ],
)
def test_the_part_of_an_object(line: Mapping[str, object], expected: tuple[str, float, float] | None) -> None:
    found = part_reader(".jsonl", None, ",", None)(record(json.dumps(line)))
    assert (found and (found.file, *found.seconds())) == expected


@pytest.mark.parametrize(
    "line", ['{"path": "a", "offset": 1', '["path", "offset"]', '"offset"', "\udcff", "[" * 99]
)
def test_a_line_that_cannot_be_read_is_by_itself(line: str) -> None:
    data = line.encode("utf-8", "surrogateescape") + b' "offset"'
    assert part_reader(".json", None, ",", None)(Record(1, 0, 9, data)) is None


def test_the_column_that_the_user_names_is_the_file() -> None:
    line = record(json.dumps({"path": "a", "my file": "b", "offset": 1, "duration": 2}))
    found = part_reader(".jsonl", None, ",", "my file")(line)
    assert found is not None
    assert (found.file, *found.seconds()) == ("b", 1.0, 2.0)


@pytest.mark.parametrize(
    ("kind", "delimiter", "line"),
    [
        (".csv", ",", "x,a.mp3,1,3\r\n"),
        (".csv", ";", "x;a.mp3;1;3"),
        (".csv", ",", '"x,y",a.mp3,1,3\n'),
        (".tsv", ",", "x\ta.mp3\t1\t3\n"),
    ],
)
def test_the_part_of_fields(kind: str, delimiter: str, line: str) -> None:
    part_of = part_reader(kind, ("text", "file", "start", "end"), delimiter, None)
    found = part_of(record(line))
    assert found is not None
    assert (found.file in ("a.mp3", b"a.mp3"), *found.seconds()) == (True, 1.0, 2.0)
    assert part_of(record("x")) is None
    assert part_of(record('"x')) is None


@pytest.mark.parametrize("header", [("file", "text"), ("text", "start", "end"), None])
def test_a_header_without_parts_or_files_is_not_looked_at_again(header: tuple[str, ...] | None) -> None:
    assert part_reader(".csv", header, ",", None) is no_part


def source(uri: str, start_s: float | None) -> AudioSource:
    return AudioSource(f"{uri}{start_s}", uri, start_s=start_s)


def test_sources_are_read_file_by_file_in_order() -> None:
    failure = to_failure(audio_source("bad"), AudioError("list", "bad_line", "bad"))
    found: list[AudioSource | Failure] = [
        source("b", 9), failure, source("a", 7), source("c", None), source("b", 2), source("a", 1),
        AudioSource("b0", "b", end_s=1),
    ]  # fmt: skip
    order = [
        one.uri + str(one.start_s) if isinstance(one, AudioSource) else "x" for one in in_reading_order(found)
    ]
    assert order == ["bNone", "b2", "b9", "x", "a1", "a7", "cNone"]


def written(path: Path, lines: Iterable[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def shards_of(manifest: str) -> list[ManifestShard]:
    return list(manifest_shards(manifest))


def ids(shards: Iterable[ManifestShard]) -> list[str]:
    return [one.audio_id for shard in shards for one in read_manifest_shard(shard)]


def nemo(n_files: int, n_parts: int) -> list[Mapping[str, object]]:
    return [
        {"audio_filepath": f"{file}.mp3", "offset": 5.0 * part, "duration": 5.0, "text": f"{file} {part}"}
        for file in range(n_files)
        for part in range(n_parts)
    ]


def test_the_parts_of_an_hour_are_one_shard_that_is_read_where_the_manifest_is(tmp_path: Path) -> None:
    shards = shards_of(written(tmp_path / "m.jsonl", nemo(3, 720)))
    assert [(shard.n_records, shard.packed) for shard in shards] == [(720, None)] * 3
    assert n_recordings(shards) == 3 * 720
    assert len(set(map(fingerprint, shards))) == 3


@pytest.mark.parametrize("blank", ["", "\n"])
def test_no_line_of_a_shuffled_manifest_is_lost_or_changed(tmp_path: Path, blank: str) -> None:
    lines = nemo(5, 100)
    random.Random(1).shuffle(lines)
    lines[7:7] = [{"audio_filepath": "whole.mp3"}, {"audio_filepath": "-", "offset": -1, "duration": 5}]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" + blank for line in lines))
    one_by_one = []
    for shard in manifest_shards(str(path), has_clips=True):
        found = list(deserialize(serialize([shard])))
        assert found == [shard]
        opened = list(open_work(shard))
        uris = [one.uri for one in opened if isinstance(one, AudioSource) and one.start_s is not None]
        assert len(list(itertools.groupby(uris))) == len(set(uris))
        one_by_one += opened
    alone = [line_of(tmp_path, line) for line in lines]
    by_text = {one.reference: one for one in one_by_one if isinstance(one, AudioSource)}
    for line, expected in zip(lines, alone, strict=True):
        if isinstance(expected, AudioSource):
            assert by_text[str(line["text"]) if "text" in line else None] == expected
    (failure,) = (one for one in one_by_one if isinstance(one, Failure))
    assert f"m.jsonl:{8 + 1 if not blank else 17}:" in failure.message
    assert len(one_by_one) == len(lines)


def line_of(folder: Path, line: Mapping[str, object]) -> AudioSource | Failure:
    """The source of a line that is a manifest by itself."""
    (shard,) = manifest_shards(written(folder / "one.jsonl", [line]))
    (found,) = read_manifest_shard(shard)
    return found


def test_recordings_of_a_shuffled_manifest_are_read_in_the_order_of_lines(tmp_path: Path) -> None:
    lines = nemo(3, 50)
    random.Random(1).shuffle(lines)
    found = read_manifest(written(tmp_path / "m.jsonl", lines))
    assert [one.reference for one in found] == [line["text"] for line in lines]


def test_short_lists_of_different_files_are_spread_as_before(tmp_path: Path) -> None:
    lines = [{"audio_filepath": f"{n}.wav", "offset": 0.0, "duration": 3.0} for n in range(3000)]
    shards = shards_of(written(tmp_path / "m.jsonl", lines))
    assert [shard.n_records for shard in shards[:2050]] == [1] * 2048 + [2, 2]
    assert all(shard.packed is None for shard in shards)
    assert len(set(ids(shards))) == 3000
