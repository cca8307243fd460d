from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.archive_builders import zip_of
from tests.support.dofn_outputs import MAIN, by_tag
from transforms.core.metrics import CountingMetrics
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, audio_source
from transforms.dofns.keyed_work import (
    KEYS,
    TRANSCRIPTS,
    OpenKeyedWork,
    by_file_id,
    emit_for_keys,
    merge_keys,
    name_work,
    reopen_keyed_origin,
)
from transforms.dofns.open_work import OpenWork
from transforms.dofns.tags import FAILURES, ORIGINS
from transforms.merging.second_pass import SecondPass
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import to_work

A = audio_source("s3://b/a.mp3")


@pytest.mark.parametrize(
    ("element", "key", "work"),
    [
        ("s3://b/a.mp3", (), A),
        (A, (), A),
        ((7, "s3://b/a.mp3"), (7,), A),
        ((None, A), (None,), A),
        ((("call", 3), A), (("call", 3),), A),
        (Path("/a.zip"), (), ArchiveShard("/a.zip")),
        (AudioSource("", "s3://b/a.mp3"), (), A),
    ],
)
def test_element_is_a_work_item_with_its_key(element: object, key: object, work: object) -> None:
    name, keyed = name_work(element)
    assert keyed == (key, work)
    assert name == name_work(work)[0]


def test_names_are_equal_for_the_same_recording_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    same = [
        "a.mp3",
        tmp_path / "a.mp3",
        AudioSource("", "a.mp3", language="fr"),
        ("k", f"file://{tmp_path}/a.mp3"),
    ]
    assert len({name_work(element)[0] for element in same}) == 1
    others = ["a.mp3", "b.mp3", "a.zip", AudioSource("", "a.mp3", start_s=1.0), AudioSource("", "a.zip")]
    others += [to_work(["a.mp3", "b.mp3"]), to_work(["a.mp3", "c.mp3"])]
    assert len({name_work(element)[0] for element in others}) == len(others)
    signed = [f"https://h/a.zip?X-Amz-Signature={number}" for number in range(2)]
    assert len({name_work(url)[0] for url in signed}) == 1


def test_clip_without_an_id_has_that_of_its_name() -> None:
    _, (_, work) = name_work(AudioSource("", "s3://b/a.mp3", start_s=1.5, end_s=3))
    assert work.audio_id == audio_id_of("s3://b/a.mp3", "#t=1.5,3")


def test_payload_is_not_a_file() -> None:
    _, (_, work) = name_work(AudioSource("", "a.mp3", payload=b"x"))
    assert (work.uri, work.audio_id) == ("a.mp3", audio_id_of("a.mp3"))


@pytest.mark.parametrize("element", [3, None, b"a.mp3", ("k", 3), ("k", "a", "b"), ["k", "a"]])
def test_what_is_no_recording_is_refused(element: object) -> None:
    with pytest.raises(TypeError, match=r"cannot transcribe a .*give a URI"):
        name_work(element)


def test_id_with_the_mark_of_a_channel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'talk-1'.*as a key"):
        name_work(AudioSource("talk-1", "a.mp3"))


def test_work_item_comes_once_with_each_of_its_keys() -> None:
    keyed = [(("b",), A), ((), A), ((1,), A), ((True,), A), (([1],), A), (("b",), A)]
    ((keys, work),) = merge_keys((A.audio_id, iter(keyed)))
    assert list(keys) == [("b",), (), (1,), (True,), ([1],)]
    assert [type(key[0]) for key in keys if key] == [str, int, bool, list]
    assert work == A


def test_recording_with_several_hints_is_the_same_in_every_order() -> None:
    french, german = (AudioSource(A.audio_id, A.uri, language=code) for code in ("fr", "de"))
    found = {
        next(merge_keys(("id", [((), one) for one in order])))[1]
        for order in ([french, german], [german, french])
    }
    assert found == {german}


def test_recording_with_different_clips_is_a_failure_for_each_key(counted: CountingMetrics) -> None:
    other = replace(A, clip_timestamps=((1.0, 2.0),))
    outputs = by_tag(merge_keys((A.audio_id, [(("a",), A), (("b",), other)])))
    assert [(key, failure.kind) for key, failure in outputs[FAILURES]] == [
        ("a", "several_clips"), ("b", "several_clips"),
    ]  # fmt: skip
    assert counted.counters["failures"] == 2
    ((keys, work),) = merge_keys((A.audio_id, [(("a",), other), (("b",), other)]))
    assert (keys, work) == ((("a",), ("b",)), other)


def test_clips_of_a_source_are_checked() -> None:
    with pytest.raises(ValueError, match="the clip from 3 s ends at 2 s"):
        name_work(AudioSource("", "a.wav", clip_timestamps=((3.0, 2.0),)))


def test_invalid_item_is_a_failure_for_each_key(counted: CountingMetrics) -> None:
    name, (_, failure) = name_work("s3://b/talks/")
    assert isinstance(failure, Failure)
    found = by_tag(
        merge_keys((name, [(("a",), failure), (("b",), failure), ((), failure), (("a",), failure)]))
    )
    assert found == {MAIN: [], FAILURES: [("a", failure), ("b", failure), failure]}
    assert counted.counters["failures"] == 3


def test_recordings_of_a_work_item_have_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of({"x.wav": b"1", "y.wav": b"2", "y.json": b"["}))
    keys = (("k",), ("l",))
    found = by_tag(OpenKeyedWork(OpenWork("en", ("en",))).process((keys, ArchiveShard(str(path)))))
    ids = [audio_id_of(str(path), f"//{name}") for name in ("x.wav", "y.wav")]
    assert [span.source.audio_id for span in found[MAIN]] == ids
    assert [audio_id for audio_id, _ in found[ORIGINS]] == ids
    ((audio_id, failure),) = found[FAILURES]
    assert (audio_id, failure.kind) == (ids[1], "bad_metadata")
    assert dict(found[KEYS]) == dict.fromkeys(ids, keys)


def test_work_item_that_cannot_be_opened_has_its_keys() -> None:
    opener = OpenKeyedWork(OpenWork("en", ("en",)))
    found = [by_tag(opener.process(((("k",),), ArchiveShard(f"/no/such{n}.zip")))) for n in range(2)]
    names = [one[FAILURES][0][0] for one in found]
    assert [one[KEYS] for one in found] == [[(name, (("k",),))] for name in names]
    assert len(set(names)) == 2
    assert all(one[FAILURES][0][1].kind == "not_found" for one in found)


def test_origin_that_cannot_be_opened_again_is_a_failure_of_its_recording(tmp_path: Path) -> None:
    one = SecondPass("5f1d-1", "fr", frozenset({0}), ())
    gone = ArchiveShard(str(tmp_path / "gone.zip"))
    found = by_tag(reopen_keyed_origin((repr(gone), [(one, gone)])))
    ((audio_id, failure),) = found[FAILURES]
    assert (audio_id, failure.kind) == ("5f1d", "not_found")
    again = by_tag(reopen_keyed_origin((A.audio_id, [(SecondPass(A.audio_id, "fr", frozenset({0}), ()), A)])))
    assert [span.source for span in again[MAIN]] == [A]


def test_each_key_gets_all_results_of_the_file() -> None:
    failure = Failure("5f1d-1", "a.mp3", "fetch", "not_found", "no such file")
    grouped: dict[str, Any] = {
        KEYS: [(("a",), ()), (("a",), ("b",))],
        TRANSCRIPTS: iter(["left", "right"]),
        FAILURES: iter([failure]),
    }
    found = by_tag(emit_for_keys(("5f1d", grouped)))
    assert found[MAIN] == [("a", "left"), ("a", "right"), "left", "right", ("b", "left"), ("b", "right")]
    assert found[FAILURES] == [("a", failure), failure, ("b", failure)]
    assert by_file_id(failure) == ("5f1d", failure)
