from __future__ import annotations

import pickle
from pathlib import Path

from transforms.core.uris import audio_source
from transforms.sources.file_shards import FileShard, grouped, read_files, to_work


def sizes(n_items: int, n_bytes: int = 1) -> list[int]:
    return [len(group) for group in grouped(range(n_items), lambda _: n_bytes)]


def test_few_items_are_single_and_many_make_few_groups() -> None:
    assert sizes(0) == []
    assert sizes(2_000) == [1] * 2_000
    many = sizes(1_000_000)
    assert sum(many) == 1_000_000
    assert len(many) < 9_000
    assert max(many) < 1_000


def test_groups_keep_the_order_and_have_a_maximum_size() -> None:
    groups = list(grouped(range(10_000), lambda _: 1 << 20))
    assert [item for group in groups for item in group] == list(range(10_000))
    assert max(map(len, groups)) == 8


def test_files_of_a_shard_are_preserved(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/new\nline.wav", f"{tmp_path}/caf\udce9.wav", "s3://b/ü.wav"]
    shard = to_work(uris)
    assert isinstance(shard, FileShard)
    assert list(read_files(pickle.loads(pickle.dumps(shard)))) == list(map(audio_source, uris))
    assert to_work(uris[:1]) == audio_source(uris[0])


def test_size_of_a_file_changes_the_shard(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/{n}.wav" for n in range(3)]
    before = to_work(uris)
    Path(uris[1]).write_bytes(b"x")
    assert str(to_work(uris)) != str(before)
