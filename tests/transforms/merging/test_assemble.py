from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.merging_records import (
    PART,
    SOURCE,
    WEAK_LEFT,
    WEAK_MERGED,
    WEAK_RIGHT,
    weak_middle,
    window,
)
from transforms.core.damage import Damage
from transforms.core.types import RecordingPart, Transcript, Untranscribed, WindowTranscript
from transforms.merging import assemble as assemble_module
from transforms.merging.assemble import Assembled, assemble, choose_windows, truncation
from transforms.merging.settings import MergeSettings

VOTING = MergeSettings()


def transcript_of(
    first: Sequence[WindowTranscript],
    second: Sequence[WindowTranscript] = (),
    settings: MergeSettings = VOTING,
    parts: Sequence[RecordingPart] = (PART,),
) -> Transcript:
    """The transcript of a recording without failures."""
    assembled = assemble(parts, first, second, settings)
    assert assembled.failures == ()
    assert assembled.transcript is not None
    return assembled.transcript


def test_the_same_of_two_transcripts_of_a_window_wins_in_any_order() -> None:
    one, other = window(0, "en", "one"), window(0, "en", "other")
    assert choose_windows([one, other], []) == choose_windows([other, one], [])


def test_the_second_pass_replaces_outvoted_windows() -> None:
    first = [window(2, "en"), window(1, "cy"), window(0, "en")]
    windows = choose_windows(first, [window(1, "en", "again")])
    assert [one.segments[0].text for one in windows] == [" en0", " again1", " en2"]


def test_windows_are_merged_into_a_transcript() -> None:
    first = [window(1, "cy"), window(0, "en"), window(2, "en")]
    transcript = transcript_of(first, [window(1, "en")], MergeSettings(model="openai/whisper-base"))
    assert transcript.text == "en0 en1 en2"
    assert (transcript.audio_id, transcript.uri, transcript.duration_s) == ("id", "/a.wav", 60.0)
    assert (transcript.language, transcript.task, transcript.model) == (
        "en",
        "transcribe",
        "openai/whisper-base",
    )
    assert transcript.reference == "the reference"


def test_a_window_about_a_weak_boundary_improves_it() -> None:
    settings = MergeSettings(redecode_below=0.5)
    plain = transcript_of([WEAK_LEFT, WEAK_RIGHT], (), settings)
    better = transcript_of([WEAK_LEFT, WEAK_RIGHT], [weak_middle(-1, 12.5)], settings)
    assert better.text == WEAK_MERGED != plain.text
    assert len(better.boundaries) == 2


def test_a_transcript_has_the_vote_and_the_boundaries() -> None:
    transcript = transcript_of([window(0, "en"), window(1, "en"), window(2, "en")])
    assert transcript.language_probs == {"en": 1.0}
    assert [boundary.time_s for boundary in transcript.boundaries] == [27.5, 52.5]


def test_a_truncated_recording_has_a_transcript_and_a_failure() -> None:
    part = replace(
        PART, source=replace(SOURCE, channel=1), declared_s=90.0, damage=Damage(read_error="it broke off")
    )
    assembled = assemble([part], [window(0, "en")], [], VOTING)
    transcript, (failure,) = assembled.transcript, assembled.failures
    assert transcript is not None
    assert (transcript.channel, transcript.declared_s) == (1, 90.0)
    assert transcript.truncated
    assert transcript.problem is not None
    assert (failure.stage, failure.kind) == ("decode", "truncated")
    for message in (transcript.problem, failure.message):
        assert "it broke off" in message
    assert "60.00 s, was transcribed" in failure.message
    assert assembled.recording is not None
    assert list(truncation(assembled.recording)) == [failure]
    assert list(truncation(replace(assembled.recording, truncated=False))) == []


def test_a_recording_of_which_a_part_is_missing_has_no_transcript() -> None:
    first, last = replace(PART, stop_s=30, n_samples=None), replace(PART, start_s=60)
    assert assemble([first, last], [window(0, "en"), window(1, "cy")], [], VOTING) == Assembled()


def test_a_recording_without_parts_has_no_transcript() -> None:
    assert assemble([], [window(0, "en")], [], MergeSettings("en")) == Assembled()


def test_a_recording_without_decoded_windows_has_no_transcript() -> None:
    assembled = assemble([PART], [], [], MergeSettings("en"))
    assert assembled.recording is not None
    assert (assembled.transcript, assembled.failures) == (None, ())


def failed_window(index: int) -> WindowTranscript:
    """A window that the model failed on."""
    one = window(index, "")
    lost = (Untranscribed(one.start_s, one.end_s, "failed"),)
    return replace(one, segments=(), language_probs={}, untranscribed=lost)


def test_a_window_that_failed_is_in_the_row_and_has_no_vote() -> None:
    first = [window(0, "en"), failed_window(1), window(2, "en")]
    transcript = transcript_of(first, [failed_window(0)])
    assert transcript.text == "en0 en2"
    assert transcript.language_probs == {"en": 1.0}
    assert transcript.untranscribed == (Untranscribed(30.0, 50.0, "failed"),)
    assert transcript.problem == "the model failed on 20.00 s, which have no text: seconds 30.00 to 50.00"
    assert not transcript.truncated
    assert len(transcript.boundaries) == 1


def test_a_recording_on_which_the_model_failed_has_no_transcript() -> None:
    assembled = assemble([PART], [failed_window(index) for index in range(3)], [], VOTING)
    assert (assembled.transcript, assembled.failures) == (None, ())


def test_a_window_of_the_second_pass_replaces_what_the_first_one_had_lost() -> None:
    lost, found = (Untranscribed(30.0, 33.0, "rate", text) for text in (" la la", " lo lo"))
    first = [window(0, "en"), replace(window(1, "cy"), untranscribed=(lost,)), window(2, "en")]
    transcript = transcript_of(first, [replace(window(1, "en"), untranscribed=(found,))])
    assert transcript.untranscribed == (found,)
    assert transcript.problem is None


def test_broken_characters_are_counted() -> None:
    first = [window(0, "en"), window(1, "en", "b\ufffdr\ufffd"), window(2, "en")]
    transcript = transcript_of(first)
    assert transcript.text == "en0 b\ufffdr\ufffd1 en2"
    assert transcript.problem == "2 broken characters of the text are U+FFFD"
    assert transcript_of([window(0, "en")]).problem is None


def test_seconds_of_a_part_that_failed_are_those_of_the_file() -> None:
    source = replace(SOURCE, start_s=100.0, end_s=160.0)
    part = replace(PART, source=source, damage=Damage(n_damaged=1))
    transcript = transcript_of([window(0, "en"), failed_window(1)], parts=[part])
    assert [(one.start_s, one.end_s) for one in transcript.untranscribed] == [(130.0, 155.0)]
    assert transcript.problem is not None
    damaged, failed = transcript.problem.split("; ")
    assert "damaged packets" in damaged
    assert failed.endswith("seconds 130.00 to 155.00")


def test_an_outvoted_window_without_a_second_pass_is_kept_and_is_a_failure() -> None:
    assembled = assemble([PART], [window(0, "en"), window(1, "cy"), window(2, "en")], [], VOTING)
    assert assembled.transcript is not None
    assert assembled.transcript.text == "en0 cy1 en2"
    (failure,) = assembled.failures
    assert (failure.audio_id, failure.kind) == ("id", "other_language")
    assert "are transcribed in 'cy'" in failure.message
    assert "--language en" in failure.message


def test_a_window_that_is_sure_of_its_language_keeps_it_and_is_no_failure() -> None:
    german = replace(window(1, "de"), language_probs={"de": 0.99})
    assembled = assemble([PART], [window(0, "en"), german, window(2, "en")], [], VOTING)
    assert assembled.failures == ()
    assert assembled.transcript is not None
    assert assembled.transcript.text == "en0 de1 en2"
    assert min(assembled.transcript.language_probs.values()) > 0.2


def test_windows_may_keep_their_own_language() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    transcript = transcript_of(windows, (), MergeSettings(per_window=True))
    assert transcript.language == "en"
    assert transcript.text == "en0 cy1 en2"


def test_a_given_language_needs_no_vote() -> None:
    transcript = transcript_of([window(0, "fr"), window(1, "fr")], (), MergeSettings("fr"))
    assert (transcript.language, transcript.language_probs) == ("fr", {})


def test_a_language_given_for_the_recording_needs_no_vote() -> None:
    part = replace(PART, source=replace(SOURCE, language="fr"))
    transcript = transcript_of([window(0, "fr"), window(1, "fr")], parts=[part])
    assert (transcript.language, transcript.language_probs) == ("fr", {})


def test_a_recording_without_speech_has_an_empty_transcript() -> None:
    silent = replace(PART, n_skipped=3, n_speech_samples=0)
    transcript = transcript_of([], parts=[silent])
    assert (transcript.text, transcript.language, transcript.speech_s) == ("", None, 0.0)
    assert transcript.skipped == ((0.0, 60.0),)
    packed = replace(silent, n_windows=0, n_skipped=0)  # windows packed with speech contain no silence
    assert transcript_of([], parts=[packed]) == transcript
    assert transcript_of([], (), MergeSettings("de"), [packed]).language == "de"


def test_a_recording_named_twice_is_one_transcript() -> None:
    windows = [window(0, "en"), window(0, "en"), window(1, "en"), window(1, "en")]
    transcript = transcript_of(windows, (), MergeSettings("en"), [PART, PART])
    assert transcript.text == "en0 en1"


def test_a_recording_named_with_and_without_its_language_has_no_windows_in_another() -> None:
    parts = [PART, replace(PART, source=replace(SOURCE, language="fr"))]
    windows = [window(0, "zu"), window(1, "zu"), window(0, "fr"), window(1, "fr")]
    for order in (1, -1):
        transcript = transcript_of(windows[::order], parts=parts[::order])
        assert (transcript.language, transcript.text) == ("fr", "fr0 fr1")


def test_an_exception_of_the_merge_is_a_failure_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*args: object) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(assemble_module, "merge_windows", unexpected)
    assembled = assemble([PART], [window(0, "en")], [], MergeSettings("en"))
    (failure,) = assembled.failures
    assert (failure.stage, failure.kind) == ("merge", "unexpected")
    assert (assembled.transcript, assembled.recording is None) == (None, False)


def test_times_of_a_part_of_a_file_are_seconds_of_the_file() -> None:
    source = replace(SOURCE, start_s=100.0, end_s=160.0, metadata=(("a", "1"),))
    windows = [window(0, "en"), window(1, "cy")]
    part = assemble([replace(PART, source=source)], windows, [], VOTING)
    whole = assemble([PART], windows, [], VOTING)
    assert part.transcript is not None
    assert whole.transcript is not None
    assert (part.transcript.uri, part.transcript.duration_s) == (
        "/a.wav#t=100,160",
        whole.transcript.duration_s,
    )
    assert [one.start_s for one in part.transcript.segments] == [
        one.start_s + 100 for one in whole.transcript.segments
    ]
    assert (part.transcript.metadata, whole.transcript.metadata) == ((("a", "1"),), ())
    times_s = []
    for (failure,) in (part.failures, whole.failures):
        match = re.search(r"seconds ([\d.]+)", failure.message)
        assert match is not None
        times_s.append(float(match[1]))
    assert times_s[0] == times_s[1] + 100
