from __future__ import annotations

import pytest

from pipelines.evaluation.error_rates import align, count_errors
from pipelines.evaluation.tally import Scored, Tally, notes, table, time_sentences
from pipelines.evaluation.timestamp_errors import TimedText, compare_times


def scored(
    uri: str, reference: str, transcript: str | None, language: str | None = "en", times: bool = False
) -> Scored:
    by_character = language == "ja"
    edits = align(reference.split(), (transcript or "").split())
    counts = count_errors(edits, by_character)
    found = compare_times([TimedText(0, 1, "a")], [TimedText(0.15, 1, "a")], language) if times else None
    return Scored(uri, uri, language, reference, transcript, edits, counts, by_character, found)


def tallied(*recordings: Scored, n_kept: int = 2) -> Tally:
    tally = Tally(n_kept)
    for recording in recordings:
        tally.add(recording)
    return tally


def test_sums_by_language_and_in_total() -> None:
    sums = tallied(
        scored("a", "a b c d", "a b x d"),
        scored("b", "e", "e f", times=True),
        scored("c", "g h", None),
        scored("d", "日 本", "日", "ja"),
    ).as_json()
    assert sums["languages"]["en"] == {
        "recordings": 3,
        "not_transcribed": 1,
        "unit": "words",
        "words": 7,
        "wer": round(4 / 7, 6),
        "cer": round((1 + 2 + 3) / (7 + 1 + 3), 6),
        "substitutions": 1,
        "deletions": 2,
        "insertions": 1,
        "characters": 11,
        "character_errors": 6,
    }
    assert {**sums["languages"]["ja"], "recordings": 1}.items() >= {"unit": "characters", "wer": 0.5}.items()
    assert (sums["total"]["words"], sums["total"]["unit"]) == (9, "words and characters")
    assert sums["timestamps"]["recordings"] == 1
    assert sums["timestamps"]["starts"] == {
        "compared": 1,
        "median_s": 0.15,
        "p95_s": 0.15,
        "within_0.1_s": 0.0,
        "within_0.2_s": 1.0,
        "within_0.5_s": 1.0,
    }


def test_worst_recordings_are_kept_in_any_order() -> None:
    recordings = [
        scored("none", "a b", "a b"),
        scored("half", "a b", "a"),
        scored("all", "a b", "x y"),
        scored("loop", "", "x y z"),
        scored("lost", "a b", None),
    ]
    for order in (recordings, recordings[::-1]):
        tally = tallied(*order)
        assert [one.uri for one in tally.worst(transcribed=True)] == ["loop", "all"]
        assert [one.uri for one in tally.worst(transcribed=False)] == ["lost"]
    assert tallied(*recordings, n_kept=0).worst(transcribed=True) == []


def test_only_language() -> None:
    assert tallied().only_language is None
    assert tallied(scored("a", "a", "a", "fr"), scored("b", "a", "a", "fr")).only_language == "fr"
    assert tallied(scored("a", "a", "a", "fr"), scored("b", "a", "a")).only_language is None


def test_table() -> None:
    tally = tallied(
        scored("a", "a b c d", "a b x d"), scored("d", "日 本", "日", "ja"), scored("e", "", "a", "fr")
    )
    assert table(tally).splitlines() == [
        "                 recordings  words  WER %  CER %  substituted  deleted  inserted",
        "en                        1      4  25.00  14.29            1        0         0",
        "fr                        1      0      -      -            0        0         1",
        "ja (characters)           1      2  50.00  50.00            0        1         0",
        "all                       3      6  50.00  33.33            1        1         1",
    ]
    assert len(table(tallied(scored("a", "a", "a"))).splitlines()) == 2


def test_recordings_of_unknown_language_are_a_group() -> None:
    assert tallied(scored("a", "a", None, None), scored("b", "a", "a")).as_json()["languages"].keys() == {
        "en",
        "unknown",
    }


@pytest.mark.parametrize(
    "field",
    [
        "without_reference", "empty_references", "failed_without_reference", "ambiguous_names",
        "unused_references",
    ],
)  # fmt: skip
def test_notes_mention_what_the_table_excludes(field: str) -> None:
    tally = tallied(scored("a", "a", "a"))
    assert notes(tally) == []
    setattr(tally, field, 1234)
    (note,) = notes(tally)
    assert note.endswith(": 1,234")
    assert tally.as_json()[field] == 1234


def test_time_sentences() -> None:
    starts, ends = time_sentences(tallied(scored("a", "a", "a", times=True)).times)
    assert starts == (
        "starts of words: 1 compared, half within 0.150 s, 95 % within 0.150 s; 0.0 % within 0.1 s, "
        "100.0 % within 0.2 s, 100.0 % within 0.5 s"
    )
    assert ends.startswith("ends of words: 1 compared, half within 0.000 s")
    assert time_sentences(tallied(scored("a", "a", "a")).times) == []
