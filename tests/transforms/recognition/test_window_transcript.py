from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.interface import Segment, WindowResult, Word
from tests.support.fake_transcribers import window
from transforms.core import types
from transforms.core.types import AudioSource, Window
from transforms.recognition.window_decode import DecodePass, DroppedRange
from transforms.recognition.window_transcript import (
    failed_window,
    to_window_transcript,
    window_failure,
    within_speech,
)

SPLICED = Window(
    "id", 0, ((80_000, 112_000), (1_600_000, 1_648_000)), np.zeros(80_000, np.float32), 80_000,
    speech=((0, 32_000), (32_000, 80_000)),
)  # fmt: skip


def spliced(*segments: Segment) -> types.WindowTranscript:
    return to_window_transcript(SPLICED, [DecodePass(0, WindowResult(segments, "en"))])


def test_samples_become_seconds_of_the_recording() -> None:
    result = WindowResult(
        (Segment(0, 8_000, " a"), Segment(8_000, 16_000, " b")),
        language="fr",
        language_probs={"fr": 0.8},
        avg_logprob=-0.3,
        no_speech_prob=0.2,
        compression_ratio=1.5,
        temperature=0.4,
        timestamped=False,
    )
    transcript = to_window_transcript(window(2), [DecodePass(0, result, "loop")])
    assert transcript == types.WindowTranscript(
        audio_id="id2",
        index=2,
        start_s=50.0,
        end_s=51.0,
        segments=(
            types.Segment(50.0, 50.5, " a", -0.3, 0.2, 1.5, 0.4, "fr", "loop"),
            types.Segment(50.5, 51.0, " b", -0.3, 0.2, 1.5, 0.4, "fr", "loop"),
        ),
        language="fr",
        language_probs={"fr": 0.8},
        no_speech_prob=0.2,
        timestamped=False,
    )


def test_no_segment_ends_after_its_window() -> None:
    for segment, expected in (
        (Segment(10_000, 480_000, " a"), (0.625, 1.0)),
        (Segment(20_000, 30_000, " a"), (1.0, 1.0)),
    ):
        transcript = to_window_transcript(window(0), [DecodePass(0, WindowResult((segment,), "en"))])
        assert [(segment.start_s, segment.end_s) for segment in transcript.segments] == [expected]


def test_segments_of_a_second_pass_start_at_its_offset_and_have_its_scores() -> None:
    first = WindowResult((Segment(0, 4_000, " a"),), "en", avg_logprob=-0.1, no_speech_prob=0.3)
    second = WindowResult((Segment(1_000, 8_000, " b"),), "en", avg_logprob=-0.7)
    transcript = to_window_transcript(window(2), [DecodePass(0, first), DecodePass(8_000, second)])
    assert [(s.start_s, s.end_s, s.text, s.avg_logprob) for s in transcript.segments] == [
        (50.0, 50.25, " a", -0.1),
        (50.5625, 51.0, " b", -0.7),
    ]
    assert transcript.no_speech_prob == 0.3


def test_times_of_a_spliced_window_are_those_of_the_recording() -> None:
    transcript = spliced(Segment(0, 32_000, " a"), Segment(32_000, 48_000, " b"))
    assert (transcript.start_s, transcript.end_s) == (5.0, 103.0)
    assert transcript.speech == ((5.0, 7.0), (100.0, 103.0))
    assert [(s.start_s, s.end_s) for s in transcript.segments] == [(5.0, 7.0), (100.0, 101.0)]


def test_a_segment_across_a_splice_has_the_times_of_its_words() -> None:
    words = (
        Word(16_000, 24_000, " a", 0.5),
        Word(24_000, 33_000, " b", 0.5),
        Word(40_000, 48_000, " c", 0.5),
    )
    (segment,) = spliced(Segment(16_000, 48_000, " a b c", words=words)).segments
    assert (segment.start_s, segment.end_s) == (6.0, 101.0)
    assert [(w.start_s, w.end_s) for w in segment.words] == [(6.0, 6.5), (6.5, 7.0), (100.5, 101.0)]


def test_a_segment_starts_behind_a_splice_where_its_words_are_there() -> None:
    """The time of the first word lies in the padding before the splice."""
    words = (Word(28_000, 33_000, " a", 0.5), Word(33_000, 64_000, " b", 0.5))
    (segment,) = within_speech(spliced(Segment(28_000, 64_000, " a b", words=words))).segments
    assert (segment.start_s, segment.end_s) == (100.0, 102.0)
    assert [(word.start_s, word.end_s) for word in segment.words] == [(100.0, 100.0), (100.0625, 102.0)]


def test_a_segment_that_starts_before_a_splice_starts_behind_it_without_words() -> None:
    (segment,) = within_speech(spliced(Segment(24_000, 76_000, " a b"))).segments
    assert (segment.start_s, segment.end_s) == (100.0, 102.75)
    (segment,) = within_speech(spliced(Segment(4_000, 42_000, " a b"))).segments
    assert (segment.start_s, segment.end_s) == (5.25, 7.0)


def test_a_segment_with_words_on_both_sides_of_a_splice_is_split_there() -> None:
    words = (Word(8_000, 24_000, " a", 0.5), Word(40_000, 64_000, " b", 0.5))
    whole = Segment(8_000, 64_000, " a b", words=words)
    found = within_speech(spliced(whole)).segments
    assert [(s.start_s, s.end_s, s.text) for s in found] == [(5.5, 6.5, " a"), (100.5, 102.0, " b")]
    passes = [DecodePass(0, WindowResult((whole,), "en", timestamped=False))]
    assert len(within_speech(to_window_transcript(SPLICED, passes)).segments) == 1


def test_offsets_of_a_second_pass_are_mapped_over_splices() -> None:
    passes = [
        DecodePass(0, WindowResult((Segment(0, 16_000, " a"),), "en")),
        DecodePass(24_000, WindowResult((Segment(0, 8_000, " b"), Segment(8_000, 99_999, " c")), "en")),
    ]
    transcript = to_window_transcript(SPLICED, passes)
    assert [(s.start_s, s.end_s) for s in transcript.segments] == [(5.0, 6.0), (6.5, 7.0), (100.0, 103.0)]


def test_segments_are_cut_to_the_speech_in_them() -> None:
    with_speech = replace(window(2), speech=((4_000, 6_000), (9_000, 12_000)))
    result = WindowResult((Segment(0, 10_000, " a"), Segment(10_000, 16_000, " b")), "en")
    transcript = within_speech(to_window_transcript(with_speech, [DecodePass(0, result)]))
    assert [(s.start_s - 50, s.end_s - 50) for s in transcript.segments] == [(0.25, 0.625), (0.625, 0.75)]
    assert transcript.speech == ((50.25, 50.375), (50.5625, 50.75))


def test_a_segment_with_words_spans_these_once_it_is_filtered() -> None:
    with_speech = replace(window(2), speech=((4_000, 6_000), (9_000, 12_000)))
    timed = WindowResult((Segment(0, 10_000, " a", words=(Word(100, 200, " a", 0.5),)),), "en")
    for one in (with_speech, window(2)):
        for timestamped in (True, False):
            passes = [DecodePass(0, replace(timed, timestamped=timestamped))]
            transcript = to_window_transcript(one, passes)
            assert [(s.start_s, s.end_s) for s in transcript.segments] == [(50.0, 50.625)]
            (segment,) = within_speech(transcript).segments
            assert (segment.start_s, segment.end_s) == (50.00625, 50.0125)
            assert segment.words == (types.Word(50.00625, 50.0125, " a", 0.5),)


def test_a_segment_whose_words_are_at_one_time_is_cut_to_the_speech() -> None:
    with_speech = replace(window(2), speech=((4_000, 6_000), (9_000, 12_000)))
    timed = WindowResult((Segment(0, 10_000, " a", words=(Word(8_000, 8_000, " a", 0.5),)),), "en")
    (segment,) = within_speech(to_window_transcript(with_speech, [DecodePass(0, timed)])).segments
    assert (segment.start_s, segment.end_s) == (50.25, 50.625)


def test_words_of_a_pass_end_where_those_of_the_next_begin() -> None:
    """The next pass begins where the model ended the last segment, and its last word may end later."""
    first = (Word(0, 4_000, " a", 0.5), Word(4_000, 10_000, " b", 0.5), Word(10_000, 12_000, " c", 0.5))
    second = (Word(1_000, 3_000, " d", 0.5), Word(3_000, 4_000, " e", 0.5))
    passes = [
        DecodePass(0, WindowResult((Segment(0, 8_000, " a b c", words=first),), "en")),
        DecodePass(8_000, WindowResult((Segment(0, 4_000, " d e", words=second),), "en")),
    ]
    segments = within_speech(to_window_transcript(window(0), passes)).segments
    assert [(s.start_s, s.end_s) for s in segments] == [(0.0, 0.5625), (0.5625, 0.75)]
    assert [(w.start_s, w.end_s) for s in segments for w in s.words] == [
        (0.0, 0.25),
        (0.25, 0.5625),
        (0.5625, 0.5625),
        (0.5625, 0.6875),
        (0.6875, 0.75),
    ]


def test_segments_without_times_of_their_own_or_without_speech_intervals_are_not_cut() -> None:
    result = WindowResult((Segment(0, 16_000, " a"),), "en", timestamped=False)
    for one in (window(2), replace(window(2), speech=((4_000, 6_000),))):
        transcript = to_window_transcript(one, [DecodePass(0, result)])
        assert within_speech(transcript) == transcript


def test_text_that_was_dropped_has_the_times_of_a_segment() -> None:
    dropped = [DroppedRange(16_000, 48_000, "no_speech", " a"), DroppedRange(64_000, 99_999, "rate", " b")]
    transcript = to_window_transcript(SPLICED, [DecodePass(0, WindowResult((), "en"))], dropped)
    assert transcript.untranscribed == (
        types.Untranscribed(6.0, 101.0, "no_speech", " a"),
        types.Untranscribed(102.0, 103.0, "rate", " b"),
    )


def test_seconds_without_text_leave_out_what_was_cut_out_of_the_window() -> None:
    dropped = [DroppedRange(16_000, 48_000, "remainder")]
    transcript = to_window_transcript(SPLICED, [DecodePass(0, WindowResult((), "en"))], dropped)
    assert [(one.start_s, one.end_s) for one in transcript.untranscribed] == [(6.0, 7.0), (100.0, 101.0)]
    near = replace(SPLICED, stretches=((80_000, 112_000), (120_000, 168_000)))
    transcript = to_window_transcript(near, [DecodePass(0, WindowResult((), "en"))], dropped)
    assert [(one.start_s, one.end_s) for one in transcript.untranscribed] == [(6.0, 8.5)]


def test_seconds_in_which_the_token_limit_was_reached_are_listed() -> None:
    cut = WindowResult((Segment(0, 32_000, " a", is_cut=True),), "en")
    (one,) = to_window_transcript(SPLICED, [DecodePass(32_000, cut)]).untranscribed
    assert one == types.Untranscribed(100.0, 102.0, "cut_off")
    repeated = to_window_transcript(SPLICED, [DecodePass(0, replace(cut, repeated=True))])
    assert repeated.untranscribed == ()


def test_a_window_that_could_not_be_decoded_has_neither_text_nor_language() -> None:
    transcript = failed_window(SPLICED, [DroppedRange(0, 80_000, "failed")])
    assert (transcript.segments, transcript.is_decoded) == ((), False)
    assert (transcript.start_s, transcript.end_s) == (5.0, 103.0)
    assert transcript.speech == ((5.0, 7.0), (100.0, 103.0))
    assert transcript.untranscribed == (
        types.Untranscribed(5.0, 7.0, "failed"),
        types.Untranscribed(100.0, 103.0, "failed"),
    )


def test_the_failure_of_a_window_names_its_seconds_of_the_file() -> None:
    source = AudioSource("id2", "https://me:pw@host/a.mp3", start_s=100.0)
    failure = window_failure(source, window(2), ValueError("poisoned"))
    assert (failure.audio_id, failure.stage, failure.kind) == ("id2", "transcribe", "model_error")
    assert failure.uri.startswith("https://host/a.mp3")
    assert "seconds 150.00 to 151.00 are missing" in failure.message
    assert "ValueError: poisoned" in failure.message
    kept = window_failure(source, window(2), ValueError("poisoned"), is_decoded=True)
    assert "seconds 150.00 to 151.00 could not be decoded once more" in kept.message
