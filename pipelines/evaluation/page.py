"""The HTML page of an evaluation.

What kind an edit is can be seen without colours: what was said but not written is struck out, what was
written but not said is underlined, and of a substitution one stands above the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.evaluation.error_rates import Edit
from pipelines.evaluation.tally import Scored, Tally, cells, notes, time_sentences
from pipelines.report.html_page import document, safe, table

CONTEXT_WORDS = 12  # that are shown on both sides of a stretch without errors
MAX_EDITS = 1_000  # a recording; a page of hours of looping text would open in no browser
MAX_RAW_CHARACTERS = 5_000  # of a text as it was written

_STYLE = """
:root { --said: #b3261e; --said-back: #fde7e5; --written: #1b5e9b; --written-back: #e3effb;
  --pair: #7a4d00; --pair-back: #fdf0d5; }
@media (prefers-color-scheme: dark) { :root { --said: #ff9d94; --said-back: #4a211e; --written: #93c7ff;
  --written-back: #173450; --pair: #ffcf7d; --pair-back: #453415; } }
tbody tr:last-child { font-weight: 600; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem 1.25rem; margin: 1rem 0; }
.words { margin: 0; line-height: 1.9; overflow-wrap: anywhere; }
del { color: var(--said); background: var(--said-back); text-decoration: line-through; }
ins { color: var(--written); background: var(--written-back); text-decoration: underline; }
del, ins { border-radius: .2rem; padding: 0 .2rem; }
del.alone::before { content: "\\2212\\2009"; display: inline-block; }
ins.alone::before { content: "+\\2009"; display: inline-block; }
.pair { display: inline-flex; flex-direction: column; vertical-align: middle; line-height: 1.3;
  text-align: center; margin: .1rem 0; border: 1px solid var(--line); border-radius: .2rem; }
.pair del, .pair ins { border-radius: 0; color: var(--pair); background: var(--pair-back); }
.gap { color: var(--dim); font-style: italic; }
details { margin-top: .75rem; } summary { color: var(--dim); cursor: pointer; }
details p { margin: .5rem 0 0; overflow-wrap: anywhere; white-space: pre-wrap; }
"""
_LEGEND = (
    'All is as it was compared: without case and punctuation. <del class="alone">said</del> was not written, '
    '<ins class="alone">written</ins> was not said, and of '
    '<span class="pair"><del>said</del><ins>written</ins></span> one was written for the other.'
)


def page(run: str, model: str | None, tally: Tally) -> str:
    """The whole page.

    Args:
        run: where it is, without credentials.
        model: that made the transcripts, if it is known.
        tally: of the run.
    """
    body = [
        "<h1>How good the transcripts are</h1>",
        f'<p class="dim">{safe(run)}{f", by {safe(model)}" if model else ""}</p>',
        *_corpus(tally),
        *_worst(tally.worst(transcribed=True)),
        *_lost(tally),
    ]
    return document(f"Evaluation of {run}", _STYLE, body)


def _corpus(tally: Tally) -> Iterator[str]:
    header, *rows = cells(tally)
    yield from table(header, rows)
    sentences = [*time_sentences(tally.times), *notes(tally)]
    if sentences:
        yield f"<ul>{''.join(f'<li>{safe(sentence)}</li>' for sentence in sentences)}</ul>"


def _worst(recordings: list[Scored]) -> Iterator[str]:
    if not recordings:
        return
    yield "<h2>The worst recordings</h2>"
    yield f'<p class="dim">{_LEGEND}</p>'
    for scored in recordings:
        yield f"<article><h3>{safe(scored.uri)}</h3>"
        yield f'<p class="dim">{safe(_summary(scored))}</p>'
        yield f'<p class="words" dir="auto" lang="{safe(scored.language or "")}">{_alignment(scored)}</p>'
        yield f"<details><summary>as written</summary>{_raw('Said', scored.reference)}"
        yield f"{_raw('Written', scored.transcript or '')}</details></article>"


def _lost(tally: Tally) -> Iterator[str]:
    """The recordings without a transcript, as far as they are kept."""
    recordings = tally.worst(transcribed=False)
    if not recordings:
        return
    yield "<h2>Recordings without a transcript</h2><ul>"
    for scored in recordings:
        yield f"<li>{safe(scored.uri)}: {_unit(scored)} lost {scored.counts.n_words:,}. "
        yield f'<span class="dim">{safe(scored.failure or "")}</span></li>'
    more = tally.total.not_transcribed - len(recordings)
    yield f"</ul><p>And {more:,} more, in recordings.jsonl.</p>" if more else "</ul>"


def _summary(scored: Scored) -> str:
    counts = scored.counts
    rate = "" if counts.wer is None else f"{100 * counts.wer:.1f} %; "
    return (
        f"{scored.language}: {rate}{_unit(scored)} said {counts.n_words:,}, substituted "
        f"{counts.substitutions:,}, deleted {counts.deletions:,}, inserted {counts.insertions:,}"
    )


def _unit(scored: Scored) -> str:
    return "characters" if scored.by_character else "words"


def _alignment(scored: Scored) -> str:
    space = "" if scored.by_character else " "
    shown = scored.edits[:MAX_EDITS]
    html = space.join(_edit(edit, space) for edit in shown)
    left = sum(max(len(edit.reference), len(edit.hypothesis)) for edit in scored.edits[MAX_EDITS:])
    return f'{html} <span class="gap">… {left:,} more</span>' if left else html


def _edit(edit: Edit, space: str) -> str:
    match edit.kind:
        case "equal":
            return _equal(edit.reference, space)
        case "deletion":
            return f'<del class="alone">{safe(space.join(edit.reference))}</del>'
        case "insertion":
            return f'<ins class="alone">{safe(space.join(edit.hypothesis))}</ins>'
        case "substitution":
            pairs = zip(edit.reference, edit.hypothesis, strict=True)
            return space.join(_pair(said, written) for said, written in pairs)


def _pair(said: str, written: str) -> str:
    return f'<span class="pair"><del>{safe(said)}</del><ins>{safe(written)}</ins></span>'


def _equal(words: tuple[str, ...], space: str) -> str:
    """A stretch without errors; of a long one the ends."""
    hidden = len(words) - 2 * CONTEXT_WORDS
    if hidden <= CONTEXT_WORDS:
        return _joined(words, space)
    gap = f'<span class="gap">… {hidden:,} alike …</span>'
    return f"{_joined(words[:CONTEXT_WORDS], space)} {gap} {_joined(words[-CONTEXT_WORDS:], space)}"


def _joined(words: Iterable[str], space: str) -> str:
    return safe(space.join(words))


def _raw(name: str, text: str) -> str:
    cut = text if len(text) <= MAX_RAW_CHARACTERS else f"{text[:MAX_RAW_CHARACTERS]} …"
    return f'<p dir="auto">{name}: {safe(cut.strip() or "(nothing)")}</p>'
