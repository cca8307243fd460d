from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.merging_records import SOURCE, WEAK_LEFT, WEAK_RIGHT, window
from transforms.core.types import AudioSpan, Failure, of_channel
from transforms.core.uris import audio_id_of
from transforms.merging.second_pass import SecondPass, reopen, second_pass_of
from transforms.merging.settings import MergeSettings
from transforms.sources.archives import ArchiveShard
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.parquet import DatasetShard, read_shard

VOTING = MergeSettings()


def write_shard(path: Path, n_rows: int) -> DatasetShard:
    audio = [{"bytes": f"audio {n}".encode(), "path": f"{n}.wav"} for n in range(n_rows)]
    pq.write_table(pa.table({"audio": audio}), path)
    (shard,) = dataset_work(str(path), "train")
    assert isinstance(shard, DatasetShard)
    return shard


def test_windows_that_agree_need_no_second_pass() -> None:
    assert second_pass_of(SOURCE, [window(i, "en") for i in range(3)], VOTING) is None


def test_outvoted_windows_are_decoded_again_in_the_language_of_the_vote() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    assert second_pass_of(SOURCE, windows, VOTING) == SecondPass("id", "en", frozenset({1}), ())


def test_windows_that_could_not_be_decoded_neither_vote_nor_are_decoded_again() -> None:
    failed = [replace(window(i, "cy"), segments=(), language="", language_probs={}) for i in (0, 2)]
    assert second_pass_of(SOURCE, [*failed, window(1, "en")], VOTING) is None
    assert second_pass_of(SOURCE, failed, VOTING) is None


def test_windows_in_none_of_the_languages_are_all_decoded_again() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    for languages, language, indices in (
        (("cy", "de"), "cy", {0, 2}),
        (("de", "fr"), "de", {0, 1, 2}),
    ):
        second_pass = second_pass_of(SOURCE, windows, MergeSettings(languages=languages))
        assert second_pass == SecondPass("id", language, frozenset(indices), ())


def test_a_second_pass_has_the_channel_of_its_recording() -> None:
    source = of_channel(SOURCE, 2)
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    assert second_pass_of(source, windows, VOTING) == SecondPass("id-2", "en", frozenset({1}), (), 2)


def test_windows_may_keep_their_own_language() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    assert second_pass_of(SOURCE, windows, MergeSettings(per_window=True)) is None


def test_a_given_language_needs_no_vote() -> None:
    windows = [window(0, "fr"), window(1, "fr")]
    assert second_pass_of(SOURCE, windows, MergeSettings("fr")) is None
    assert second_pass_of(replace(SOURCE, language="fr"), windows, VOTING) is None


def test_a_window_about_a_weak_boundary_is_decoded_off_the_plan() -> None:
    settings = MergeSettings(redecode_below=0.5)
    second_pass = second_pass_of(SOURCE, [WEAK_LEFT, WEAK_RIGHT], settings)
    assert second_pass is not None
    ((index, start),) = second_pass.extra
    assert (index, second_pass.windows) == (-1, frozenset())
    assert second_pass.span_of(SOURCE) == AudioSpan(SOURCE, "en", frozenset(), ((index, start),))
    assert second_pass_of(SOURCE, [WEAK_LEFT, WEAK_RIGHT], VOTING) is None


def test_boundaries_of_outvoted_windows_are_not_decoded_again() -> None:
    outvoted = replace(WEAK_RIGHT, language="cy", language_probs={"cy": 0.5, "en": 0.4})
    second_pass = second_pass_of(SOURCE, [WEAK_LEFT, outvoted], MergeSettings(redecode_below=0.5))
    assert second_pass is not None
    assert (second_pass.windows, second_pass.extra) == ({1}, ())


def test_a_file_is_opened_again_as_it_is() -> None:
    second_pass = SecondPass("id", "en", frozenset({1}), ())
    assert list(reopen([second_pass], SOURCE)) == [AudioSpan(SOURCE, "en", frozenset({1}))]


def test_channels_of_a_file_are_opened_together() -> None:
    channels = [of_channel(SOURCE, channel) for channel in (1, 2)]
    passes = [SecondPass(one.audio_id, "en", frozenset({1}), (), one.channel) for one in reversed(channels)]
    assert list(reopen(passes, SOURCE)) == [AudioSpan(one, "en", frozenset({1})) for one in channels]


def test_a_chosen_channel_is_chosen_again() -> None:
    second_pass = SecondPass("id", "en", frozenset({1}), (), 1)
    (span,) = reopen([second_pass], SOURCE)
    assert span == AudioSpan(replace(SOURCE, channel=1), "en", frozenset({1}))


def test_rows_of_a_shard_get_their_payload_again(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", 5)
    ids = [source.audio_id for source in read_shard(shard)]
    passes = [SecondPass(ids[n], "en", frozenset({n}), ()) for n in (3, 1)]
    spans = [span for span in reopen(passes, shard) if isinstance(span, AudioSpan)]
    assert [(span.source.payload, span.language, span.windows) for span in spans] == [
        (b"audio 1", "en", {1}),
        (b"audio 3", "en", {3}),
    ]


def test_a_shard_that_is_gone_for_the_second_pass_is_a_failure(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", 1)
    (tmp_path / "train.parquet").unlink()
    (failure,) = reopen([SecondPass("id", "en", frozenset({0}), ())], shard)
    assert isinstance(failure, Failure)
    assert failure.kind == "not_found"


def test_failures_of_other_members_are_not_reported_again(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.wav", "b.wav", "c.wav"):
            archive.writestr(name, name)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.find(b"a.wav") + 5] ^= 1  # the first byte of the content of a.wav
    (tmp_path / "a.zip").write_bytes(data)
    shard = ArchiveShard(f"{tmp_path}/a.zip")
    audio_id = audio_id_of(shard.uri, "//c.wav")
    (span,) = reopen([SecondPass(audio_id, "en", frozenset({0}), ())], shard)
    assert isinstance(span, AudioSpan)
    assert span.source.payload == b"c.wav"


def test_a_channel_that_is_a_line_of_a_manifest_is_opened_again_as_it_is() -> None:
    source = of_channel(SOURCE, 1)
    second_pass = SecondPass(source.audio_id, "en", frozenset({1}), (), 1)
    assert list(reopen([second_pass], source)) == [AudioSpan(source, "en", frozenset({1}))]


def test_a_window_that_is_sure_of_its_language_keeps_it() -> None:
    """A minute of English with half a minute of German has both."""
    german = replace(window(1, "de"), language_probs={"de": 0.99})
    assert second_pass_of(SOURCE, [window(0, "en"), german, window(2, "en")], VOTING) is None
    unsure = replace(german, language_probs={"de": 0.94})
    again = second_pass_of(SOURCE, [window(0, "en"), unsure, window(2, "en")], VOTING)
    assert again == SecondPass("id", "en", frozenset({1}), ())
    settings = MergeSettings(languages=("en", "fr"))
    again = second_pass_of(SOURCE, [window(0, "en"), german, window(2, "en")], settings)
    assert again == SecondPass("id", "en", frozenset({1}), ())


def test_second_pass_reads_the_clips_of_the_first() -> None:
    clips = ((1.0, 2.0), (3.0, None))
    source = replace(SOURCE, clip_timestamps=clips)
    second_pass = second_pass_of(source, [window(0, "en"), window(1, "cy"), window(2, "en")], MergeSettings())
    assert second_pass is not None
    assert second_pass.span_of(SOURCE).source == source  # as its list has no clips: they are the option's
