from __future__ import annotations

import os
import pickle
import random
import zlib
from dataclasses import replace
from pathlib import Path

from transforms.core.types import AudioSource
from transforms.core.uris import audio_source
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import grouped, to_work
from transforms.sources.manifests import ManifestShard, manifest_shards
from transforms.sources.parquet import DatasetShard
from transforms.sources.work_items import (
    Work,
    deserialize,
    failure_source,
    fingerprint,
    n_recordings,
    open_work,
    origin_of,
    serialize,
)


def test_recordings_are_counted_where_possible_without_reading(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("a.wav\n\nb.wav\n")
    work: list[Work] = [audio_source("/a.wav"), to_work(["/b.wav", "/c.wav", "/d.wav"])]
    work += manifest_shards(f"{tmp_path}/m.txt")
    assert n_recordings(work) == 6
    assert n_recordings([*work, ArchiveShard("/a.zip")]) is None


def test_listed_work_items_can_be_opened(tmp_path: Path) -> None:
    source = audio_source("/a.wav")
    assert list(open_work(source)) == [source]
    group = to_work(["/a.wav", "/b.wav"])
    assert [one.uri for one in open_work(group) if isinstance(one, AudioSource)] == ["/a.wav", "/b.wav"]
    assert failure_source(ArchiveShard("/a.zip")) == AudioSource("", "/a.zip")


def test_serialized_work_items_are_preserved(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav"}\n' * 3)
    work: list[Work] = [
        audio_source("/caf\udce9.wav", reference="x"), to_work(["/b.wav", "s3://b/\n.wav"]),
        ArchiveShard("/a.zip"), DatasetShard("rows", "train", 0, "/rows.parquet", "audio", None),
        *manifest_shards(f"{tmp_path}/m.jsonl"),
        ManifestShard("https://h/m.txt", 1, 0, 6, 1, "digest", packed=zlib.compress(b"a.wav\n")),
    ]  # fmt: skip
    assert list(deserialize(serialize(work))) == work
    assert list(deserialize(serialize([]))) == []


def test_serialized_names_take_little_more_than_their_random_part() -> None:
    """Names of 16 random bytes and 70 constant ones."""
    numbers = random.Random(0)
    names = [f"s3://a-bucket/talks/{numbers.randbytes(16).hex()}.wav" for _ in range(20_000)]
    work = [to_work(group) for group in grouped(names, len)]
    singles = sum(isinstance(one, AudioSource) for one in work)
    n_bytes = len(serialize(work)) - 30 * singles
    assert n_bytes < 24 * len(names)
    assert n_bytes < 0.75 * len(pickle.dumps([one for one in work if not isinstance(one, AudioSource)]))


def test_origin_is_the_shard_only_for_payloads() -> None:
    archive = ArchiveShard("/a.zip")
    inside = AudioSource("id", "/a.zip//a.wav", b"x")
    assert origin_of(inside, archive) == archive
    assert origin_of(audio_source("/a.wav"), to_work(["/a.wav", "/b.wav"])) == audio_source("/a.wav")


FILES = ("a.zip", "a.wav", "b.wav", "rows.parquet")


def test_fingerprint_depends_on_names_sizes_times_and_text_of_lists(tmp_path: Path) -> None:
    def fingerprints() -> list[str]:
        work: list[Work] = [
            ArchiveShard(f"{tmp_path}/a.zip"), audio_source(f"{tmp_path}/a.wav"),
            to_work([f"{tmp_path}/b.wav", f"{tmp_path}/gone.wav"]),
            DatasetShard("rows", "train", 0, f"{tmp_path}/rows.parquet", "audio", None),
            *manifest_shards(f"{tmp_path}/m.csv"),
        ]  # fmt: skip
        return [fingerprint(one) for one in work]

    for name in FILES:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text("path,text\na.wav,x\n")
    before = fingerprints()
    assert fingerprints() == before
    for change in (lambda path: path.write_bytes(b"xy"), lambda path: os.utime(path, ns=(1, 1))):
        (tmp_path / "m.csv").write_text(f"path,text\na.wav,{change}\n")
        for name in FILES:
            change(tmp_path / name)
        assert not set(fingerprints()) & set(before)
        before = fingerprints()


def test_fingerprint_ignores_the_signature_of_a_url() -> None:
    urls = [f"https://h/a.zip?X-Amz-Signature={n}" for n in range(2)]
    assert len({fingerprint(ArchiveShard(url)) for url in urls}) == 1


def test_fingerprint_depends_on_the_clips() -> None:
    source = AudioSource("id", "s3://b/a.mp3")
    clipped = [replace(source, clip_timestamps=((start_s, None),)) for start_s in (1.0, 2.0)]
    assert len({fingerprint(one) for one in (source, *clipped)}) == 3
