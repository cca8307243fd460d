from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.pvalue import TaggedOutput

from model.interface import SAMPLE_RATE
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    Damage,
    RecordingPart,
    Segment,
    Transcript,
    WindowTranscript,
    of_channel,
)
from transforms.core.uris import audio_id_of
from transforms.dofns.assemble import Assemble
from transforms.dofns.tags import ORIGINS, PARTS, SECOND_LOOK, WINDOWS
from transforms.merging import assemble
from transforms.merging.assemble import choose_windows
from transforms.merging.second_pass import SecondLook, by_file, open_again, second_looks
from transforms.merging.settings import Assembly
from transforms.sources.archives import ArchiveShard
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.parquet import DatasetShard, read_shard

VOTING = Assembly()
SOURCE = AudioSource("id", "/a.wav", reference="what was said")
PART = RecordingPart(SOURCE, n_windows=3, n_samples=60 * SAMPLE_RATE)


def window(index: int, language: str, text: str = "") -> WindowTranscript:
    start_s = 25.0 * index
    end_s = min(start_s + 30.0, 60.0)
    segment = Segment(start_s + 6, start_s + 8, f" {text or language}{index}", -0.1, 0.0, 1.0, 0.0)
    return WindowTranscript("id", index, start_s, end_s, (segment,), language, {language: 0.9})


def grouped(windows: list[WindowTranscript], /, **others: Any) -> tuple[str, dict[str, list[Any]]]:  # noqa: ANN401
    return "id", {PARTS: [PART], WINDOWS: windows, ORIGINS: [SOURCE], **others}


def test_windows_that_agree_need_no_second_look() -> None:
    assert list(second_looks(grouped([window(i, "en") for i in range(3)]), VOTING)) == []


def test_outvoted_windows_get_a_second_look_where_the_recording_was_found() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    expected = SecondLook("id", "en", frozenset({1}), (), SOURCE)
    assert list(second_looks(grouped(windows), VOTING)) == [("id", expected)]


@pytest.mark.parametrize("missing", [PARTS, WINDOWS])
def test_a_recording_that_failed_gets_no_second_look(missing: str) -> None:
    assert list(second_looks(grouped([window(0, "en"), window(1, "cy")], **{missing: []}), VOTING)) == []


def saying(index: int, start_s: float, *said: tuple[float, str]) -> WindowTranscript:
    segments = tuple(
        Segment(at_s, at_s + 0.5 * len(text.split()), f" {text}", -0.1, 0.0, 1.0, 0.0) for at_s, text in said
    )
    return WindowTranscript("id", index, start_s, start_s + 30, segments, "en", {"en": 0.9})


def test_weak_boundaries_are_asked_for_opened_again_and_joined() -> None:
    early, late = (20, "we went to the river early"), (31, "and swam until noon")
    left = saying(0, 0, early, (26, "where whatever was on hand"))
    right = saying(1, 25, (25.2, "there water was all round"), late)
    assembly = Assembly(redecode_below=0.5)
    ((_, look),) = second_looks(grouped([left, right]), assembly)
    ((index, start),) = look.extra
    assert (index, look.windows) == (-1, frozenset())
    (span,) = open_again(("id", [look]))
    assert isinstance(span, AudioSpan)
    assert (span.windows, span.extra) == (frozenset(), ((index, start),))
    middle = saying(-1, start / 16_000, early, (26, "where water was all around"), late)
    values = grouped([left, right], **{SECOND_LOOK: [middle]})
    (transcript,) = Assemble(assembly).process(values)
    assert isinstance(transcript, Transcript)
    assert transcript.text == "we went to the river early where water was all around and swam until noon"
    assert len(transcript.boundaries) == 2
    assert list(second_looks(grouped([left, right]), VOTING)) == []


def test_of_two_transcripts_of_a_window_the_same_wins_in_any_order() -> None:
    one, other = window(0, "en", "one"), window(0, "en", "other")
    assert choose_windows([one, other], []) == choose_windows([other, one], [])


def test_a_file_is_opened_again_as_it_is() -> None:
    look = SecondLook("id", "en", frozenset({1}), (), SOURCE)
    assert list(open_again(("id", [look]))) == [AudioSpan(SOURCE, "en", frozenset({1}))]


def test_channels_are_looked_at_twice_on_their_own_and_opened_together() -> None:
    channels = [of_channel(SOURCE, channel) for channel in (0, 1, 2)]
    windows = [
        replace(window(index, "cy" if index == 1 and one.channel else "en"), audio_id=one.audio_id)
        for one in channels
        for index in range(3)
    ]
    values: dict[str, list[Any]] = {
        PARTS: [replace(PART, source=one) for one in channels],
        WINDOWS: windows,
        ORIGINS: [SOURCE],
    }
    assert {by_file((one.audio_id, one))[0] for one in windows} == {SOURCE.audio_id}
    looks = list(second_looks(("id", values), VOTING))
    assert [(key, look.audio_id, look.channel, look.windows) for key, look in looks] == [
        ("id", "id-1", 1, {1}),
        ("id", "id-2", 2, {1}),
    ]
    spans = list(open_again(("id", [look for _, look in looks])))
    assert spans == [AudioSpan(one, "en", frozenset({1})) for one in channels[1:]]


def test_a_chosen_channel_is_chosen_again() -> None:
    source = replace(SOURCE, channel=1)
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    recording = replace(PART, source=source)
    ((_, look),) = second_looks(grouped(windows, **{PARTS: [recording]}), VOTING)
    assert list(open_again(("id", [look]))) == [AudioSpan(source, "en", frozenset({1}))]


def test_the_row_says_what_was_promised_and_what_was_heard() -> None:
    part = replace(
        PART, source=replace(SOURCE, channel=1), declared_s=90.0, damage=Damage(broke_off="it broke off")
    )
    failure, transcript = Assemble(VOTING).process(grouped([window(0, "en")], **{PARTS: [part]}))
    assert isinstance(transcript, Transcript)
    assert (transcript.channel, transcript.declared_s) == (1, 90.0)
    assert transcript.truncated
    assert transcript.problem is not None
    assert isinstance(failure, TaggedOutput)
    assert (failure.value.stage, failure.value.kind) == ("decode", "truncated")
    for told in (transcript.problem, failure.value.message):
        assert "it broke off" in told
    assert "60.00 s, was transcribed" in failure.value.message


def test_a_recording_of_which_a_part_is_missing_has_no_row_and_is_not_looked_at_again() -> None:
    first, last = replace(PART, stop_s=30, n_samples=None), replace(PART, start_s=60)
    values = grouped([window(0, "en"), window(1, "cy")], **{PARTS: [first, last]})
    assert list(Assemble(VOTING).process(values)) == []
    assert list(second_looks(values, VOTING)) == []


def write_shard(path: Path, n_rows: int) -> DatasetShard:
    audio = [{"bytes": f"audio {n}".encode(), "path": f"{n}.wav"} for n in range(n_rows)]
    pq.write_table(pa.table({"audio": audio}), path)
    (shard,) = dataset_work(str(path), "train")
    assert isinstance(shard, DatasetShard)
    return shard


def test_rows_of_a_shard_get_their_payload_again(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", 5)
    ids = [source.audio_id for source in read_shard(shard)]
    looks = [SecondLook(ids[n], "en", frozenset({n}), (), shard) for n in (3, 1)]
    spans = [span for span in open_again((repr(shard), looks)) if isinstance(span, AudioSpan)]
    assert [(span.source.payload, span.language, span.windows) for span in spans] == [
        (b"audio 1", "en", {1}),
        (b"audio 3", "en", {3}),
    ]


def test_a_shard_that_is_gone_for_the_second_look_is_a_failure(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", 1)
    (tmp_path / "train.parquet").unlink()
    (failure,) = open_again((repr(shard), [SecondLook("id", "en", frozenset({0}), (), shard)]))
    assert isinstance(failure, TaggedOutput)
    assert failure.value.kind == "not_found"


def test_the_second_look_replaces_what_was_outvoted() -> None:
    first = [window(2, "en"), window(1, "cy"), window(0, "en")]
    windows = choose_windows(first, [window(1, "en", "again")])
    assert [w.segments[0].text for w in windows] == [" en0", " again1", " en2"]


def test_an_outvoted_window_without_a_second_look_is_kept_and_told_of() -> None:
    values = grouped([window(0, "en"), window(1, "cy"), window(2, "en")])
    failure, transcript = Assemble(VOTING).process(values)
    assert isinstance(transcript, Transcript)
    assert transcript.text == "en0 cy1 en2"
    assert isinstance(failure, TaggedOutput)
    told: Any = failure.value
    assert (told.audio_id, told.kind) == ("id", "other_language")
    assert "are transcribed in 'cy'" in told.message
    assert "--language en" in told.message


def test_windows_may_keep_their_own_language() -> None:
    values = grouped([window(0, "en"), window(1, "cy"), window(2, "en")])
    per_window = Assembly(per_window=True)
    assert list(second_looks(values, per_window)) == []
    (transcript,) = Assemble(per_window).process(values)
    assert isinstance(transcript, Transcript)
    assert transcript.language == "en"
    assert transcript.text == "en0 cy1 en2"


def test_a_language_given_needs_no_vote() -> None:
    values = grouped([window(0, "fr"), window(1, "fr")])
    given = Assembly("fr")
    assert not given.looks_twice
    (transcript,) = Assemble(given).process(values)
    assert isinstance(transcript, Transcript)
    assert (transcript.language, transcript.language_probs) == ("fr", {})


def test_silence_is_a_row_without_words() -> None:
    silent = replace(PART, n_skipped=3, n_spoken=0)
    values = grouped([], **{PARTS: [silent]})
    assert list(second_looks(values, VOTING)) == []
    (transcript,) = Assemble(VOTING).process(values)
    assert isinstance(transcript, Transcript)
    assert (transcript.text, transcript.language, transcript.speech_s) == ("", None, 0.0)
    assert transcript.skipped == ((0.0, 60.0),)
    packed = replace(silent, n_windows=0, n_skipped=0)  # over speech there is no window in silence
    (same,) = Assemble(VOTING).process(grouped([], **{PARTS: [packed]}))
    assert same == transcript
    (told,) = Assemble(Assembly("de")).process(values)
    assert isinstance(told, Transcript)
    assert told.language == "de"


def test_the_row_knows_the_vote_and_the_boundaries() -> None:
    (transcript,) = Assemble(VOTING).process(grouped([window(0, "en"), window(1, "en"), window(2, "en")]))
    assert isinstance(transcript, Transcript)
    assert transcript.language_probs == {"en": 1.0}
    assert [boundary.time_s for boundary in transcript.boundaries] == [27.5, 52.5]


def test_windows_become_a_transcript() -> None:
    values = grouped([window(1, "cy"), window(0, "en"), window(2, "en")], **{SECOND_LOOK: [window(1, "en")]})
    (transcript,) = Assemble(Assembly(model="openai/whisper-base")).process(values)
    assert isinstance(transcript, Transcript)
    assert transcript.text == "en0 en1 en2"
    assert (transcript.audio_id, transcript.uri, transcript.duration_s) == ("id", "/a.wav", 60.0)
    assert (transcript.language, transcript.task, transcript.model) == (
        "en",
        "transcribe",
        "openai/whisper-base",
    )
    assert transcript.reference == "what was said"


def test_a_recording_named_twice_is_one_row() -> None:
    windows = [window(0, "en"), window(0, "en"), window(1, "en"), window(1, "en")]
    (transcript,) = Assemble(Assembly("en")).process(grouped(windows, **{PARTS: [PART, PART]}))
    assert isinstance(transcript, Transcript)
    assert transcript.text == "en0 en1"


@pytest.mark.parametrize("missing", [PARTS, WINDOWS])
def test_a_recording_that_failed_has_no_row(missing: str) -> None:
    assert list(Assemble(Assembly("en")).process(grouped([window(0, "en")], **{missing: []}))) == []


def test_a_surprise_while_merging_is_the_failure_of_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*args: object) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(assemble, "merge_windows", surprise)
    (failure,) = Assemble(Assembly("en")).process(grouped([window(0, "en")]))
    assert isinstance(failure, TaggedOutput)
    assert (failure.value.stage, failure.value.kind) == ("merge", "unexpected")


def test_a_recordings_own_language_needs_no_vote_either() -> None:
    source = replace(SOURCE, language="fr")
    values = grouped([window(0, "fr"), window(1, "fr")], **{PARTS: [replace(PART, source=source)]})
    assert list(second_looks(values, VOTING)) == []
    (transcript,) = Assemble(VOTING).process(values)
    assert isinstance(transcript, Transcript)
    assert (transcript.language, transcript.language_probs) == ("fr", {})


def test_named_twice_and_once_with_its_language_it_has_no_windows_in_another() -> None:
    recordings = [PART, replace(PART, source=replace(SOURCE, language="fr"))]
    windows = [window(0, "zu"), window(1, "zu"), window(0, "fr"), window(1, "fr")]
    for order in (1, -1):
        values = grouped(windows[::order], **{PARTS: recordings[::order]})
        (transcript,) = Assemble(VOTING).process(values)
        assert isinstance(transcript, Transcript)
        assert (transcript.language, transcript.text) == ("fr", "fr0 fr1")


def test_a_part_of_a_file_is_told_in_seconds_of_the_file() -> None:
    source = replace(SOURCE, start_s=100.0, end_s=160.0, metadata=(("a", "1"),))
    values = grouped([window(0, "en"), window(1, "cy")], **{PARTS: [replace(PART, source=source)]})
    plain_values = grouped([window(0, "en"), window(1, "cy")])
    failure, part = Assemble(VOTING).process(values)
    told, whole = Assemble(VOTING).process(plain_values)
    assert isinstance(part, Transcript)
    assert isinstance(whole, Transcript)
    assert (part.uri, part.duration_s) == ("/a.wav#t=100,160", whole.duration_s)
    assert [one.start_s for one in part.segments] == [one.start_s + 100 for one in whole.segments]
    assert (part.metadata, whole.metadata) == ((("a", "1"),), ())
    assert isinstance(failure, TaggedOutput)
    assert isinstance(told, TaggedOutput)
    first, second = (re.search(r"seconds ([\d.]+)", one.value.message) for one in (failure, told))
    assert first is not None
    assert second is not None
    assert float(first[1]) == float(second[1]) + 100


def test_failures_of_other_members_are_not_told_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.wav", "b.wav", "c.wav"):
            archive.writestr(name, name)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.find(b"a.wav") + 5] ^= 1  # the first byte of what a.wav holds
    (tmp_path / "a.zip").write_bytes(data)
    shard = ArchiveShard(f"{tmp_path}/a.zip")
    audio_id = audio_id_of(shard.uri, "//c.wav")
    (span,) = open_again((repr(shard), [SecondLook(audio_id, "en", frozenset({0}), (), shard)]))
    assert isinstance(span, AudioSpan)
    assert span.source.payload == b"c.wav"
