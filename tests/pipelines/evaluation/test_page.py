from __future__ import annotations

import pytest

from pipelines.evaluation.error_rates import align, count_errors
from pipelines.evaluation.page import CONTEXT_WORDS, MAX_EDITS, page
from pipelines.evaluation.tally import Scored, Tally
from tests.support.html_checks import HOSTILE, Page


def scored(reference: str, transcript: str | None, uri: str = "/talks/a.wav", **more: str | None) -> Scored:
    language = more.get("language", "en")
    edits = align(reference.split(), (transcript or "").split())
    counts = count_errors(edits, language == "ja")
    failure = more.get("failure")
    return Scored("1", uri, language, reference, transcript, edits, counts, language == "ja", failure=failure)


def rendered(*recordings: Scored, n_kept: int = 20, run: str = "out", model: str | None = "m") -> Page:
    tally = Tally(n_kept)
    for recording in recordings:
        tally.add(recording)
    return Page(page(run, model, tally))


def test_page_shows_the_corpus_and_alignments() -> None:
    found = rendered(scored("the cat sat on it", "the bat sat down on"))
    legend, marked = found.marked[:4], found.marked[4:]
    assert legend == [("del", "deleted"), ("ins", "inserted"), ("del", "reference"), ("ins", "transcript")]
    assert marked == [("del", "cat"), ("ins", "bat"), ("ins", "down"), ("del", "it")]
    assert "en 1 5 60.00" in " ".join(text for text in found.text if text.strip())
    assert "en: 60.0 %; 5 words, substituted 1, deleted 1, inserted 1" in found.shown


def test_kinds_of_edits_differ_without_colours() -> None:
    found = rendered(scored("a b c", "a x d c"))
    kinds = {
        (tag, attributes.get("class")) for tag, attributes in found.elements if tag in ("del", "ins", "span")
    }
    assert kinds >= {("del", "unpaired"), ("ins", "unpaired"), ("span", "pair"), ("del", None), ("ins", None)}


def test_hostile_text_is_escaped() -> None:
    named = f"/talks/{HOSTILE}.wav"
    found = rendered(
        scored(f"{HOSTILE} a", f"b {HOSTILE} {HOSTILE}", named),
        scored("lost", None, named, failure=HOSTILE, language='en" onclick="x'),
        run=HOSTILE,
        model=HOSTILE,
    )
    assert not {tag for tag, _ in found.elements} & {"script", "img", "link", "iframe", "a"}
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert found.shown.count("<script>alert(1)</script>") >= 7


def test_page_is_self_contained_and_has_a_policy() -> None:
    html = page("out", "m", Tally(20))
    assert "default-src 'none'" in html
    assert not any(outside in html for outside in ("http://", "https://", "url(", "@import", "src="))
    assert "prefers-color-scheme: dark" in html


def test_characters_are_joined_without_spaces() -> None:
    assert "東京都 は" not in rendered(scored("東 京 都 は", "東 京 都", language="ja")).shown
    assert "東京都は" in rendered(scored("東 京 都 は", "東 京 都", language="ja")).shown


def test_long_sequences_without_errors_are_shortened() -> None:
    text = " ".join(f"w{number}" for number in range(100))
    shown = rendered(scored(f"{text} cat", f"{text} bat")).shown.rpartition("original text")[0]
    assert f"w{CONTEXT_WORDS - 1} … {100 - 2 * CONTEXT_WORDS} correct … w{100 - CONTEXT_WORDS}" in shown
    assert "w50" not in shown


def test_number_of_edits_of_a_recording_is_limited() -> None:
    reference = " ".join(f"a b{number}" for number in range(MAX_EDITS))
    transcript = " ".join(f"a x{number}" for number in range(MAX_EDITS))
    found = rendered(scored(reference, transcript))
    assert f"… {MAX_EDITS:,} more" in found.shown
    assert len(found.marked) == 4 + MAX_EDITS


def test_recordings_without_a_transcript_are_listed() -> None:
    lost = [scored("a b", None, f"/{n}.wav", failure="not_found: gone") for n in range(3)]
    found = rendered(*lost, n_kept=2)
    assert "/2.wav: 2 words missing. not_found: gone" in found.shown
    assert "And 1 more, in recordings.jsonl." in found.shown


@pytest.mark.parametrize("recordings", [[], [scored("a", "a")]])
def test_no_worst_recordings_without_errors(recordings: list[Scored]) -> None:
    assert "worst" not in rendered(*recordings, model=None).shown


def test_transcript_of_an_empty_reference() -> None:
    assert "en: 0 words, substituted 0, deleted 0, inserted 2" in rendered(scored("", "thank you")).shown
