from __future__ import annotations

import json
import pickle
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from tests.support.archive_builders import ARCHIVE_BUILDERS, Files
from transforms.core.errors import AudioError
from transforms.core.metrics import CountingMetrics
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of
from transforms.sources.archives import ArchiveShard, read_archive
from transforms.sources.passed_over import passed_over

Pack = Callable[[str, Files], Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def packed(kind: str, files: Files) -> Path:
        path = tmp_path / f"talks.{kind}"
        path.write_bytes(ARCHIVE_BUILDERS[kind](files))
        return path

    return packed


def opened(path: Path | str, text_column: str | None = None) -> list[AudioSource]:
    found = list(read_archive(ArchiveShard(str(path), text_column)))
    assert not any(isinstance(one, Failure) for one in found)
    return [one for one in found if isinstance(one, AudioSource)]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_recordings_of_an_archive(pack: Pack, kind: str) -> None:
    files = {
        "b/ü.flac": b"1", "a.WAV": b"2", "notes.md": b"", "inner.zip": b"PK", ".hidden.wav": b"",
        "x/.h/a.wav": b"", "__MACOSX/._a.wav": b"", "./c.mp3": b"3",
    }  # fmt: skip
    path = pack(kind, files)
    sources = opened(path)
    assert [(one.uri, one.payload) for one in sources] == [
        (f"{path}//b/ü.flac", b"1"), (f"{path}//a.WAV", b"2"), (f"{path}//./c.mp3", b"3"),
    ]  # fmt: skip
    assert [one.audio_id for one in sources] == [
        audio_id_of(str(path), f"//{name}") for name in ("b/ü.flac", "a.WAV", "./c.mp3")
    ]
    assert opened(path) == sources


def test_member_names_are_not_paths_and_nothing_is_written(pack: Pack, tmp_path: Path) -> None:
    twins = [unicodedata.normalize(form, "ü.wav") for form in ("NFC", "NFD")]
    names = ["../../up.wav", "/etc/root.wav", "new\nline.wav", *twins]
    for kind in ("tar", "zip"):
        path = pack(kind, dict.fromkeys(names, b"x"))
        sources = opened(path)
        assert [one.uri for one in sources] == [f"{path}//{name}" for name in names]
        assert len({one.audio_id for one in sources}) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"talks.tar", "talks.zip"}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_clips_of_a_member_are_in_its_columns(pack: Pack, kind: str) -> None:
    files = {
        "0.json": b'{"clip_timestamps": [1, 2.5, 7]}', "0.flac": b"a",
        "1.json": b'{"clip_timestamps": "3,2"}', "1.flac": b"b",
    }  # fmt: skip
    zero, one = read_archive(ArchiveShard(str(pack(kind, files))))
    assert isinstance(zero, AudioSource)
    assert zero.clip_timestamps == ((1.0, 2.5), (7.0, None))
    assert isinstance(one, Failure)
    assert (one.stage, one.kind) == ("list", "bad_clips")
    assert "clip_timestamps: the clip from 3 s ends at 2 s" in one.message


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_sample_has_its_text_and_columns(pack: Pack, kind: str) -> None:
    columns = {"language": "fr", "text": "unused", "hotwords": "Caxton", "speaker": 7, "start": 1, "end": 2}
    files = {
        "0.json": json.dumps(columns).encode(), "0.flac": b"a", "0.txt": b"\xef\xbb\xbfdit \xc3\xa7a\n",
        "1.flac": b"b", "1.json": b'{"sentence": "said", "language": "kab", "x": NaN}',
        "2.flac": b"c",
        "3.audio.mp3": b"d", "3.text.txt": b"the only one",
        "4.x.wav": b"e", "4.txt": b"of which?", "4.y.wav": b"f", "4.y.txt": b"of the second",
    }  # fmt: skip
    zero, one, two, three, four, five = opened(pack(kind, files))
    assert (zero.reference, zero.language, zero.hotwords) == ("dit ça", "fr", "Caxton")
    assert dict(zero.metadata) == {"speaker": "7", "start": "1", "end": "2"}
    assert (zero.start_s, zero.end_s) == (None, None)  # its bytes are the part that is meant
    assert (one.reference, one.language) == (
        "said",
        None,
    )  # one that Whisper does not know
    metadata = dict(one.metadata)
    assert "language is 'kab', which is no" in metadata.pop("remarks")
    assert metadata == {"language": '"kab"', "x": "null"}
    assert [source.reference for source in (two, three, four, five)] == [
        None, "the only one", None, "of the second",
    ]  # fmt: skip


def test_text_column_can_be_chosen(pack: Pack) -> None:
    path = pack("tar", {"0.flac": b"a", "0.json": b'{"text": "x", "said": "y"}'})
    assert [one.reference for one in opened(path, "said")] == ["y"]


def test_separated_members_of_a_sample_belong_together_in_a_zip_only(pack: Pack) -> None:
    files = {"1.wav": b"a", "2.wav": b"b", "1.txt": b"one", "2.txt": b"two"}
    assert [one.reference for one in opened(pack("zip", files))] == ["one", "two"]
    assert [one.reference for one in opened(pack("tar", files))] == [None, None]


def test_invalid_member_is_a_failure_and_does_not_affect_others(pack: Pack) -> None:
    path = pack("zip", {"a.wav": b"one" * 99, "b.wav": b"two" * 99, "c.wav": b"three"})
    data = bytearray(path.read_bytes())
    start = data.find(b"b.wav") + len("b.wav")
    data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    first, bad, last = read_archive(ArchiveShard(str(path)))
    assert isinstance(bad, Failure)
    assert (bad.uri, bad.stage, bad.kind) == (f"{path}//b.wav", "fetch", "corrupt")
    assert bad.audio_id == audio_id_of(str(path), "//b.wav")
    assert [one.uri for one in (first, last)] == [f"{path}//a.wav", f"{path}//c.wav"]


def test_invalid_columns_are_a_failure_and_the_recording_is_kept(pack: Pack) -> None:
    failure, source = read_archive(ArchiveShard(str(pack("tar", {"a.wav": b"x", "a.json": b"[1]"}))))
    assert isinstance(failure, Failure)
    assert (failure.kind, isinstance(source, AudioSource)) == ("bad_metadata", True)


def test_duplicate_name_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    data = ARCHIVE_BUILDERS["tar"]({"a.wav": b"1"})
    path.write_bytes(data[:1024] + ARCHIVE_BUILDERS["tar"]({"a.wav": b"2"}))
    failure, source = sorted(
        read_archive(ArchiveShard(str(path))), key=lambda one: not isinstance(one, Failure)
    )
    assert isinstance(failure, Failure)
    assert isinstance(source, AudioSource)
    assert (failure.kind, source.payload) == ("duplicate", b"1")


def test_damaged_archive_yields_recordings_before_the_damage(pack: Pack) -> None:
    path = pack("tar", {"a.wav": b"1" * 5000, "b.wav": b"2" * 5000})
    path.write_bytes(path.read_bytes()[:9000])
    found: list[AudioSource | Failure] = []
    with pytest.raises(AudioError, match="list: corrupt"):
        found.extend(read_archive(ArchiveShard(str(path))))
    good, bad = found
    assert isinstance(good, AudioSource)
    assert good.payload == b"1" * 5000
    assert isinstance(bad, Failure)
    assert bad.uri == f"{path}//b.wav"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_without_audio_is_an_error(pack: Pack, kind: str) -> None:
    with pytest.raises(AudioError, match="list: empty: an archive without a file that is audio"):
        opened(pack(kind, {"a.txt": b"x"}))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_belong_to_no_recording_are_counted(pack: Pack, kind: str) -> None:
    files = {
        "0.wav": b"a", "0.txt": b"one", "0.json": b"{}", "0.cls": b"1", "1.x.wav": b"b", "1.y.wav": b"c",
        "1.txt": b"of which?", "README.txt": b"read", "LICENSE": b"", "inner.zip": b"PK", ".hidden.wav": b"",
        "cover.JPG": b"", "x/cover.jpg": b"",
    }  # fmt: skip
    metrics = CountingMetrics()
    assert sum(1 for _ in read_archive(ArchiveShard(str(pack(kind, files))), metrics=metrics)) == 3
    assert passed_over(metrics.counters) == {
        "archives": {".cls": 1, ".jpg": 2, ".txt": 2, ".zip": 1, "hidden": 1, "without_extension": 1}
    }
    with pytest.raises(AudioError, match=r"audio by its extension; it holds 2 \.jpg, 1 \.txt$"):
        opened(pack(kind, {"a.jpg": b"", "b.jpg": b"", "c.txt": b"x"}))


def test_remote_archive_and_credentials_in_its_url() -> None:
    fsspec.filesystem("memory").pipe("/lists/a.tar", ARCHIVE_BUILDERS["tar"]({"a.wav": b"x"}))
    (source,) = opened("memory://lists/a.tar")
    assert (source.uri, source.payload) == ("memory://lists/a.tar//a.wav", b"x")


def test_one_payload_of_many_members_is_in_memory(pack: Pack) -> None:
    path = pack("tar", {f"1.{n}.wav": bytes([n % 251]) * 1000 for n in range(10_000)})
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_archive(ArchiveShard(str(path)))) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_shard_is_small() -> None:
    shard = ArchiveShard("/a.tar", "said")
    assert pickle.loads(pickle.dumps(shard)) == shard
    assert str(shard) == "/a.tar"
