from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipelines.output.finished_run import open_run
from pipelines.report.run_tally import MAX_EXAMPLES, MAX_LONGEST, N_BINS, Histogram, RunTally, tally_run
from tests.support.finished_runs import failure, row, write_run

Row = dict[str, Any]


def transcript(
    uri: str,
    *confidences: float,
    duration_s: float = 60.0,
    fallback: int = 0,
    **more: Any,  # noqa: ANN401  # columns of a row
) -> Row:
    segments = [
        {
            "avg_logprob": math.log(one) if one else None,
            "fallback": "loop" if number < fallback else None,
            "text": "said",
        }
        for number, one in enumerate(confidences)
    ]
    return {
        **row(uri, "said"),
        "segments": segments,
        "duration_s": duration_s,
        "speech_s": None,
        "clips": [],
        "boundaries": [],
        "untranscribed": [],
        **more,
    }


def untranscribed(start: float, end: float, reason: str) -> Row:
    return {"start": start, "end": end, "reason": reason, "text": ""}


def boundary(kind: str, agreement: float) -> Row:
    return {"time": 1.0, "kind": kind, "agreement": agreement}


@pytest.mark.parametrize("parquet", [False, True])
def test_rows_of_either_format_are_summed_up(tmp_path: Path, parquet: bool) -> None:
    rows = [
        transcript("/a.wav", 0.9, 0.5, language="en", duration_s=3600, speech_s=1800.0, fallback=1),
        transcript(
            "/b.wav", 0.9, boundaries=[boundary("run", 0.42), boundary("disjoint", 1.0)], language="fr"
        ),
        transcript("/c.wav", language=None, duration_s=7200, speech_s=0.0),
    ]
    rows[0]["untranscribed"] = [untranscribed(1.0, 2.5, "rate"), untranscribed(5.0, 35.0, "failed")]
    rows[2]["untranscribed"] = [untranscribed(0.0, 2.0, "rate")]
    failures = [failure("/x.wav"), failure("/y.wav", "timeout", "slow"), failure("/z.wav")]
    out = write_run(tmp_path, rows, failures=failures, parquet=parquet)
    tally = tally_run(open_run(str(out)))
    assert tally.rows == 3
    assert tally.hours_by_language() == {"": 2.0, "en": 1.0, "fr": 0.016667}
    assert (tally.confidence.counts[18], tally.confidence.counts[10]) == (2, 1)
    assert sum(tally.agreement.counts) == tally.agreement.counts[8] == 1
    assert tally.cuts == {"run": 1, "disjoint": 1}
    assert [(one.uri, one.decoded_s, one.fallback_share) for one in sorted(tally.longest, reverse=True)] == [
        ("/a.wav", 1800.0, 0.5),
        ("/b.wav", 60.0, 0.0),
        ("/c.wav", 0.0, 0.0),
    ]
    assert tally.untranscribed_s == {"rate": 3.5, "failed": 30.0}
    assert tally.failures == {"not_found": 2, "timeout": 1}
    assert tally.examples["timeout"] == [("/y.wav", "slow")]


@pytest.mark.parametrize("parquet", [False, True])
def test_hours_of_a_recording_with_clips_are_those_of_the_clips(tmp_path: Path, parquet: bool) -> None:
    clips = [{"start": 600.0, "end": 1500.0}, {"start": 3000.0, "end": 3900.0}]
    rows = [transcript("/a.wav", 0.9, language="en", duration_s=3900.0, clips=clips)]
    tally = tally_run(open_run(str(write_run(tmp_path, rows, parquet=parquet))))
    assert tally.hours_by_language() == {"en": 0.5}
    assert [(one.decoded_s, one.duration_s) for one in tally.longest] == [(1800.0, 1800.0)]


def test_outer_bins_count_values_out_of_range_and_missing_scores_are_not_counted() -> None:
    histogram = Histogram()
    for value in (-0.5, 0.0, 0.049, 1.0, 1.3):
        histogram.add(value)
    assert (histogram.counts[0], histogram.counts[N_BINS - 1], sum(histogram.counts)) == (3, 2, 5)
    tally = RunTally()
    tally.add(transcript("/a.wav", 0.0))
    assert sum(tally.confidence.counts) == 0
    assert tally.longest[0].confidence is None


def test_memory_does_not_grow_with_rows() -> None:
    def peak(n: int) -> int:
        tally = RunTally()
        tracemalloc.start()
        for number in range(n):
            tally.add(transcript(f"/{number}.wav", 0.5, duration_s=float(number)))
            tally.add_failure(failure(f"/{number}.wav"))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(tally.longest) == min(n, MAX_LONGEST)
        assert len(tally.examples["not_found"]) == MAX_EXAMPLES
        assert max(tally.longest).uri == f"/{n - 1}.wav"
        return peak_bytes

    assert peak(5_000) < peak(500) + 100_000
