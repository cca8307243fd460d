"""`report.html`: a run for people, in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.progress.progress_bar import clock
from pipelines.report.charts import STYLE, bars, histogram
from pipelines.report.html_page import document, safe, table
from pipelines.report.run_tally import RunTally
from transforms.core.types import CutKind

MAX_BARS = 30  # of a chart; what is left is one more

_STYLE = f"""{STYLE}
td:first-child, .words td {{ white-space: normal; overflow-wrap: anywhere; }}
.words td, .words th {{ text-align: left; vertical-align: top; }}
"""


def report_page(report: Mapping[str, Any], tally: RunTally, place: str) -> str:
    """The whole page.

    Args:
        report: the content of `run.json`.
        tally: of the run's rows.
        place: where they are, without credentials.
    """
    body = [
        "<h1>What the run came to</h1>",
        f'<p class="dim">{safe(place)}, by {safe(report["options"]["model"])}</p>',
        *_totals(report),
        *_languages(tally),
        *_quality(tally),
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
        ("hours skipped, as nobody speaks", f"{report['skipped_hours']:,.2f}"),
        ("time it took", clock(report["wall_s"])),
        ("times real time", f"{report['times_real_time']:,.1f}"),
    ]
    yield from table(("", ""), rows)


def _languages(tally: RunTally) -> Iterator[str]:
    hours = [(name or "nobody speaks", value) for name, value in tally.hours_by_language().items()]
    if hours:
        yield "<h2>Languages</h2>"
        yield from bars("Hours of audio by language", _cut(hours), lambda value: f"{value:,.2f}")


def _quality(tally: RunTally) -> Iterator[str]:
    n_segments = sum(tally.confidence.counts)
    if n_segments:
        yield "<h2>How sure the model was</h2>"
        title = f"Confidence of {n_segments:,} segments: the mean probability of a token, exp(avg_logprob)"
        yield from histogram(title, tally.confidence.counts, "confidence", "segments")
    if tally.cuts:
        yield "<h2>Where windows meet</h2>"
        yield f"<p>{_joined(tally)}</p>"
    if any(tally.agreement.counts):
        title = "Share of the words about a boundary that both windows agree on"
        yield from histogram(title, tally.agreement.counts, "agreement", "boundaries")


def _joined(tally: RunTally) -> str:
    told = ", ".join(f"{kind} {n:,}" for kind, n in sorted(tally.cuts.items()))
    apart = tally.cuts[CutKind.DISJOINT]
    return safe(
        f"{tally.cuts.total():,} boundaries by what they were cut by: {told}. Windows of {apart:,} share "
        "nothing, and have nothing to agree on."
    )


def _longest(tally: RunTally) -> Iterator[str]:
    if not tally.longest:
        return
    yield "<h2>The recordings that took most work</h2>"
    yield (
        '<p class="dim">By the seconds that the model heard. How long it took over each is not kept: rows '
        "hold nothing that differs from one run to the next. What was decoded again took longer.</p>"
    )
    rows = [
        (
            one.uri,
            clock(one.heard_s),
            clock(one.duration_s),
            f"{100 * one.again:.0f} %",
            "" if one.confidence is None else f"{one.confidence:.2f}",
        )
        for one in sorted(tally.longest, key=lambda one: (-one.heard_s, one.uri))
    ]
    yield from table(("recording", "heard", "length", "decoded again", "confidence"), rows)


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
    yield '<p class="dim">The first few of each kind; all are in the folder failures.</p>'
    yield from table(("kind", "recording", "what was wrong"), rows, "words")


def _time(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Where the time went</h2>"
    stages = [(stage, float(seconds)) for stage, seconds in report["stage_s"].items()]
    title = "Seconds of all workers, by what they did; some of it at the same time"
    yield from bars(title, stages, lambda value: f"{value:,.1f}")


def _details(report: Mapping[str, Any]) -> Iterator[str]:
    for name, values in (
        ("Counts", report["counts"]),
        ("Options", report["options"]),
        ("Versions", report["versions"]),
    ):
        yield f"<details><summary>{name}</summary>"
        yield from table(("", ""), [(key, _spelt(value)) for key, value in values.items()], "words")
        yield "</details>"


def _spelt(value: Any) -> str:  # noqa: ANN401  # of whatever type JSON has
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _cut(values: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The first of them, and the sum of the others."""
    if len(values) <= MAX_BARS:
        return values
    others = values[MAX_BARS:]
    return [*values[:MAX_BARS], (f"{len(others)} others", sum(value for _, value in others))]
