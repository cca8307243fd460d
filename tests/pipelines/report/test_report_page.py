from __future__ import annotations

from typing import Any

from pipelines.report.report_page import MAX_BARS, report_page
from pipelines.report.run_tally import RunTally
from tests.pipelines.report.test_run_tally import boundary, transcript, untranscribed
from tests.support.finished_runs import failure
from tests.support.html_checks import HOSTILE, Page

REPORT: dict[str, Any] = {
    "options": {"model": "openai/whisper-base", "input": ["talks"], "language": "auto", "hotwords": None},
    "versions": {"python": "3.11.9"},
    "counts": {
        "recordings": 12_345,
        "transcribed": 12_000,
        "not_transcribed": 345,
        "failures": 350,
        "failures_by_kind": {"not_found": 350},
    },
    "audio_hours": 1234.5,
    "speech_hours": 600.0,
    "skipped_hours": 500.0,
    "wall_s": 3700.0,
    "times_real_time": 1201.5,
    "stage_s": {"read": 10.0, "model": 3000.0},
}


LOST = [untranscribed(1.0, 2.5, "rate"), untranscribed(5.0, 35.0, "remainder")]


def tally(*rows: dict[str, Any]) -> RunTally:
    made = RunTally()
    for row in rows:
        made.add(row)
    return made


def rendered(counted: RunTally, report: dict[str, Any] = REPORT, place: str = "out") -> Page:
    return Page(report_page(report, counted, place))


def test_page_shows_the_results_of_the_run() -> None:
    counted = tally(
        transcript("/talks/a.wav", 0.9, 0.5, duration_s=7200, fallback=1, boundaries=[boundary("run", 0.5)]),
        transcript("/talks/b.wav", language=None, duration_s=1800, untranscribed=LOST),
    )
    counted.add_failure(failure("/talks/x.wav", "not_found", "gone away"))
    shown = " ".join(text for text in rendered(counted).text if text.strip())
    for text in (
        *("recordings 12,345", "without one 345", "hours of audio 1,234.50", "times real time 1,201.5"),
        *(
            "time taken 1 h 01 min",
            "hours skipped as non-speech 500.00",
            "Hours of audio by language",
            "no speech",
            "Confidence of 2 segments",
        ),
        *("boundaries by kind of cut: run 1", "/talks/a.wav 2 h 00 min 2 h 00 min 50 % 0.70"),
        *("Untranscribed seconds by reason", "remainder 30.0", "rate 1.5"),
        *("Failures by kind", "not_found /talks/x.wav gone away", "read 10.0", "model 3,000.0"),
        *("input talks", "python 3.11.9", "failures_by_kind not_found 350"),
    ):
        assert text in shown, text


def test_each_chart_has_a_description_in_text() -> None:
    counted = tally(transcript("/a.wav", 0.9, boundaries=[boundary("run", 0.5)]))
    counted.add_failure(failure("/x.wav"))
    charts = [attributes for tag, attributes in rendered(counted).elements if tag == "svg"]
    assert [chart["role"] for chart in charts] == ["img"] * 5
    assert charts[0]["aria-label"] == "Hours of audio by language. en: 0.02"


def test_hostile_text_is_escaped() -> None:
    counted = tally(transcript(f"/{HOSTILE}.wav", 0.9, language=HOSTILE, boundaries=[boundary(HOSTILE, 1.0)]))
    counted.add_failure(failure(f"/{HOSTILE}.wav", HOSTILE, HOSTILE))
    report = {**REPORT, "options": {"model": HOSTILE, HOSTILE: [HOSTILE]}, "versions": {HOSTILE: HOSTILE}}
    page = rendered(counted, report, HOSTILE)
    assert not {tag for tag, _ in page.elements} & {"script", "img", "link", "iframe", "a"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.shown.count("<script>alert(1)</script>") >= 8


def test_page_is_self_contained() -> None:
    html = report_page(REPORT, tally(transcript("/a.wav", 0.9)), "out")
    assert "default-src 'none'" in html
    assert not any(
        outside in html for outside in ("http://", "https://", "url(", "@import", "src=", "<script")
    )


def test_page_of_a_run_without_rows() -> None:
    shown = rendered(RunTally()).shown
    assert "Results of the run" in shown
    assert not any(
        text in shown
        for text in ("Languages", "Failures by kind", "most audio", "Boundaries", "Untranscribed")
    )


def test_rare_languages_are_summed_up() -> None:
    rows = [transcript(f"/{n}.wav", language=f"l{n:03}", duration_s=3600.0 * (100 - n)) for n in range(100)]
    shown = rendered(tally(*rows)).shown
    assert f"{100 - MAX_BARS} others" in shown
    assert "l029" in shown
    assert "l030" not in shown
