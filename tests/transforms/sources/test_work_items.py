from __future__ import annotations

import os
import pickle
import random
import zlib
from pathlib import Path

from transforms.core.types import AudioSource
from transforms.core.uris import audio_source
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import file_work, grouped
from transforms.sources.manifests import ManifestShard, manifest_shards
from transforms.sources.parquet import DatasetShard
from transforms.sources.work_items import (
    Work,
    fingerprint,
    n_recordings,
    failure_source,
    open_work,
    origin_of,
    serialize,
    deserialize,
)


def test_recordings_are_counted_where_that_needs_no_reading(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("a.wav\n\nb.wav\n")
    work: list[Work] = [audio_source("/a.wav"), file_work(["/b.wav", "/c.wav", "/d.wav"])]
    work += manifest_shards(f"{tmp_path}/m.txt")
    assert n_recordings(work) == 6
    assert n_recordings([*work, ArchiveShard("/a.zip")]) is None


def test_what_is_listed_opens(tmp_path: Path) -> None:
    source = audio_source("/a.wav")
    assert list(open_work(source)) == [source]
    group = file_work(["/a.wav", "/b.wav"])
    assert [one.uri for one in open_work(group) if isinstance(one, AudioSource)] == ["/a.wav", "/b.wav"]
    assert failure_source(ArchiveShard("/a.zip")) == AudioSource("", "/a.zip")


def test_what_was_packed_comes_out_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav"}\n' * 3)
    work: list[Work] = [
        audio_source("/caf\udce9.wav", reference="x"), file_work(["/b.wav", "s3://b/\n.wav"]),
        ArchiveShard("/a.zip"), DatasetShard("rows", "train", 0, "/rows.parquet", "audio", None),
        *manifest_shards(f"{tmp_path}/m.jsonl"),
        ManifestShard("https://h/m.txt", 1, 0, 6, 1, "digest", packed=zlib.compress(b"a.wav\n")),
    ]  # fmt: skip
    assert list(deserialize(serialize(work))) == work
    assert list(deserialize(serialize([]))) == []


def test_names_of_files_take_little_more_than_what_is_random_in_them() -> None:
    """16 bytes of each, and 70 bytes that tell nothing."""
    numbers = random.Random(0)
    names = [f"s3://a-bucket/talks/{numbers.randbytes(16).hex()}.wav" for _ in range(20_000)]
    work = [file_work(group) for group in grouped(names, len)]
    singles = sum(isinstance(one, AudioSource) for one in work)
    n_bytes = len(serialize(work)) - 30 * singles
    assert n_bytes < 24 * len(names)
    assert n_bytes < 0.75 * len(pickle.dumps([one for one in work if not isinstance(one, AudioSource)]))


def test_only_bytes_that_cannot_be_fetched_again_need_what_held_them() -> None:
    archive = ArchiveShard("/a.zip")
    inside = AudioSource("id", "/a.zip//a.wav", b"x")
    assert origin_of(inside, archive) == archive
    assert origin_of(audio_source("/a.wav"), file_work(["/a.wav", "/b.wav"])) == audio_source("/a.wav")


FILES = ("a.zip", "a.wav", "b.wav", "rows.parquet")


def test_a_run_is_known_by_names_sizes_times_and_what_lists_say(tmp_path: Path) -> None:
    def told() -> list[str]:
        work: list[Work] = [
            ArchiveShard(f"{tmp_path}/a.zip"), audio_source(f"{tmp_path}/a.wav"),
            file_work([f"{tmp_path}/b.wav", f"{tmp_path}/gone.wav"]),
            DatasetShard("rows", "train", 0, f"{tmp_path}/rows.parquet", "audio", None),
            *manifest_shards(f"{tmp_path}/m.csv"),
        ]  # fmt: skip
        return [fingerprint(one) for one in work]

    for name in FILES:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text("path,text\na.wav,x\n")
    before = told()
    assert told() == before
    for change in (lambda path: path.write_bytes(b"xy"), lambda path: os.utime(path, ns=(1, 1))):
        (tmp_path / "m.csv").write_text(f"path,text\na.wav,{change}\n")
        for name in FILES:
            change(tmp_path / name)
        assert not set(told()) & set(before)
        before = told()


def test_a_url_that_was_signed_again_is_the_same() -> None:
    urls = [f"https://h/a.zip?X-Amz-Signature={n}" for n in range(2)]
    assert len({fingerprint(ArchiveShard(url)) for url in urls}) == 1
