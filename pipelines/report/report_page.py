"""`report.html`: the report of a run as a page with charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.progress.progress_bar import format_duration
from pipelines.report.charts import STYLE, bars, histogram
from pipelines.report.html_page import document, safe, table
from pipelines.report.run_tally import RunTally
from transforms.core.types import CutKind

MAX_BARS = 30  # bars of a chart; one more sums up the rest

_STYLE = f"""{STYLE}
td:first-child, .words td {{ white-space: normal; overflow-wrap: anywhere; }}
.words td, .words th {{ text-align: left; vertical-align: top; }}
"""


def report_page(report: Mapping[str, Any], tally: RunTally, place: str) -> str:
    """Returns the page.

    Args:
        report: the content of `run.json`.
        tally: sums of the run's rows.
        place: URL of the run's folder, without credentials.
    """
    body = [
        "<h1>Results of the run</h1>",
        f'<p class="dim">{safe(place)}, by {safe(report["options"]["model"])}</p>',
        *_totals(report),
        *_languages(tally),
        *_quality(tally),
        *_untranscribed(tally),
        *_longest(tally),
        *_failures(tally),
        *_time(report),
        *_details(report),
    ]
    return document(f"Transcripts in {place}", _STYLE, body)


def _totals(report: Mapping[str, Any]) -> Iterator[str]:
    counts = report["counts"]
    rows = [
        ("recordings", f"{counts['recordings']:,}"),
        ("with a transcript", f"{counts['transcribed']:,}"),
        ("without one", f"{counts['not_transcribed']:,}"),
        ("failures listed", f"{counts['failures']:,}"),
        ("hours of audio", f"{report['audio_hours']:,.2f}"),
        ("hours of speech", f"{report['speech_hours']:,.2f}"),
        ("hours skipped as non-speech", f"{report['skipped_hours']:,.2f}"),
        ("time taken", format_duration(report["wall_s"])),
        ("times real time", f"{report['times_real_time']:,.1f}"),
    ]
    yield from table(("", ""), rows)


def _languages(tally: RunTally) -> Iterator[str]:
    hours = [(name or "no speech", value) for name, value in tally.hours_by_language().items()]
    if hours:
        yield "<h2>Languages</h2>"
        yield from bars("Hours of audio by language", _cut(hours), lambda value: f"{value:,.2f}")


def _quality(tally: RunTally) -> Iterator[str]:
    n_segments = sum(tally.confidence.counts)
    if n_segments:
        yield "<h2>Confidence of the model</h2>"
        title = f"Confidence of {n_segments:,} segments: the mean probability of a token, exp(avg_logprob)"
        yield from histogram(title, tally.confidence.counts, "confidence", "segments")
    if tally.cuts:
        yield "<h2>Boundaries between windows</h2>"
        yield f"<p>{_boundary_counts(tally)}</p>"
    if any(tally.agreement.counts):
        title = "Share of the words near a boundary on which both windows agree"
        yield from histogram(title, tally.agreement.counts, "agreement", "boundaries")


def _boundary_counts(tally: RunTally) -> str:
    counts = ", ".join(f"{kind} {n:,}" for kind, n in sorted(tally.cuts.items()))
    n_disjoint = tally.cuts[CutKind.DISJOINT]
    return safe(
        f"{tally.cuts.total():,} boundaries by kind of cut: {counts}. At {n_disjoint:,} of them the windows "
        "do not overlap, so that their agreement is undefined."
    )


def _untranscribed(tally: RunTally) -> Iterator[str]:
    if tally.untranscribed_s:
        yield "<h2>Untranscribed seconds</h2>"
        yield (
            '<p class="dim">Seconds that were given to the model and have no text, or whose text was '
            "deleted; the column untranscribed of the rows lists them.</p>"
        )
        reasons = sorted(tally.untranscribed_s.items(), key=lambda one: (-one[1], one[0]))
        yield from bars("Untranscribed seconds by reason", reasons, lambda value: f"{value:,.1f}")


def _longest(tally: RunTally) -> Iterator[str]:
    if not tally.longest:
        return
    yield "<h2>Recordings with the most audio decoded</h2>"
    yield (
        '<p class="dim">Sorted by the seconds of audio that the model decoded. The time spent on each is not '
        "recorded, as rows hold no values that differ between runs. Segments decoded again took longer.</p>"
    )
    rows = [
        (
            one.uri,
            format_duration(one.decoded_s),
            format_duration(one.duration_s),
            f"{100 * one.fallback_share:.0f} %",
            "" if one.confidence is None else f"{one.confidence:.2f}",
        )
        for one in sorted(tally.longest, key=lambda one: (-one.decoded_s, one.uri))
    ]
    yield from table(("recording", "decoded", "length", "decoded again", "confidence"), rows)


def _failures(tally: RunTally) -> Iterator[str]:
    if not tally.failures:
        return
    yield "<h2>Failures</h2>"
    kinds = [
        (kind, float(n)) for kind, n in sorted(tally.failures.items(), key=lambda one: (-one[1], one[0]))
    ]
    yield from bars("Failures by kind", _cut(kinds), lambda value: f"{value:,.0f}")
    shown = [kind for kind, _ in kinds[:MAX_BARS]]
    rows = [(kind, uri, message) for kind in shown for uri, message in tally.examples[kind]]
    yield '<p class="dim">The first few of each kind; the folder failures has all of them.</p>'
    yield from table(("kind", "recording", "message"), rows, "words")


def _time(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Time by stage</h2>"
    stages = [(stage, float(seconds)) for stage, seconds in report["stage_s"].items()]
    title = "Seconds of all workers by stage; stages can overlap in time"
    yield from bars(title, stages, lambda value: f"{value:,.1f}")


def _details(report: Mapping[str, Any]) -> Iterator[str]:
    for name, values in (
        ("Counts", report["counts"]),
        ("Options", report["options"]),
        ("Versions", report["versions"]),
        ("Arithmetic: how often a model was loaded that computes so", report.get("arithmetic", {})),
    ):
        yield f"<details><summary>{name}</summary>"
        yield from table(("", ""), [(key, _format_value(value)) for key, value in values.items()], "words")
        yield "</details>"


def _format_value(value: Any) -> str:  # noqa: ANN401  # of whatever type JSON has
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _cut(values: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Returns the first `MAX_BARS` values, and the sum of the others as one more."""
    if len(values) <= MAX_BARS:
        return values
    others = values[MAX_BARS:]
    return [*values[:MAX_BARS], (f"{len(others)} others", sum(value for _, value in others))]
