"""HTML page of an evaluation.

The kinds of edits differ without colours too: deletions are struck out, insertions are underlined, and the
two sides of a substitution are shown above each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.evaluation.error_rates import Edit
from pipelines.evaluation.tally import Scored, Tally, cells, notes, time_sentences
from pipelines.report.html_page import document, safe, table

CONTEXT_WORDS = 12  # shown at both ends of a sequence without errors
MAX_EDITS = 1_000  # per recording; no browser would open a page with hours of repeated text
MAX_RAW_CHARACTERS = 5_000  # of a text that is not normalised

_STYLE = """
:root { --deleted: #b3261e; --deleted-back: #fde7e5; --inserted: #1b5e9b; --inserted-back: #e3effb;
  --pair: #7a4d00; --pair-back: #fdf0d5; }
@media (prefers-color-scheme: dark) { :root { --deleted: #ff9d94; --deleted-back: #4a211e;
  --inserted: #93c7ff; --inserted-back: #173450; --pair: #ffcf7d; --pair-back: #453415; } }
tbody tr:last-child { font-weight: 600; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem 1.25rem; margin: 1rem 0; }
.words { margin: 0; line-height: 1.9; overflow-wrap: anywhere; }
del { color: var(--deleted); background: var(--deleted-back); text-decoration: line-through; }
ins { color: var(--inserted); background: var(--inserted-back); text-decoration: underline; }
del, ins { border-radius: .2rem; padding: 0 .2rem; }
del.unpaired::before { content: "\\2212\\2009"; display: inline-block; }
ins.unpaired::before { content: "+\\2009"; display: inline-block; }
.pair { display: inline-flex; flex-direction: column; vertical-align: middle; line-height: 1.3;
  text-align: center; margin: .1rem 0; border: 1px solid var(--line); border-radius: .2rem; }
.pair del, .pair ins { border-radius: 0; color: var(--pair); background: var(--pair-back); }
.gap { color: var(--dim); font-style: italic; }
details { margin-top: .75rem; } summary { color: var(--dim); cursor: pointer; }
details p { margin: .5rem 0 0; overflow-wrap: anywhere; white-space: pre-wrap; }
"""
_LEGEND = (
    'Text is shown normalised, without case and punctuation. <del class="unpaired">deleted</del> is missing '
    'in the transcript, <ins class="unpaired">inserted</ins> is not in the reference, and in '
    '<span class="pair"><del>reference</del><ins>transcript</ins></span> one replaces the other.'
)


def page(run: str, model: str | None, tally: Tally) -> str:
    """Returns the page.

    Args:
        run: URL of the run's folder, without credentials.
        model: name of the model, if known.
        tally: results of the evaluation.
    """
    body = [
        "<h1>Evaluation of the transcripts</h1>",
        f'<p class="dim">{safe(run)}{f", by {safe(model)}" if model else ""}</p>',
        *_corpus(tally),
        *_worst(tally.worst(transcribed=True)),
        *_not_transcribed(tally),
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
        yield f"<details><summary>original text</summary>{_raw('Reference', scored.reference)}"
        yield f"{_raw('Transcript', scored.transcript or '')}</details></article>"


def _not_transcribed(tally: Tally) -> Iterator[str]:
    """Yields the list of recordings without a transcript, as far as the tally keeps them."""
    recordings = tally.worst(transcribed=False)
    if not recordings:
        return
    yield "<h2>Recordings without a transcript</h2><ul>"
    for scored in recordings:
        yield f"<li>{safe(scored.uri)}: {scored.counts.n_words:,} {_unit(scored)} missing. "
        yield f'<span class="dim">{safe(scored.failure or "")}</span></li>'
    more = tally.total.not_transcribed - len(recordings)
    yield f"</ul><p>And {more:,} more, in recordings.jsonl.</p>" if more else "</ul>"


def _summary(scored: Scored) -> str:
    counts = scored.counts
    rate = "" if counts.wer is None else f"{100 * counts.wer:.1f} %; "
    return (
        f"{scored.language}: {rate}{counts.n_words:,} {_unit(scored)}, substituted "
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
            return f'<del class="unpaired">{safe(space.join(edit.reference))}</del>'
        case "insertion":
            return f'<ins class="unpaired">{safe(space.join(edit.hypothesis))}</ins>'
        case "substitution":
            pairs = zip(edit.reference, edit.hypothesis, strict=True)
            return space.join(_pair(reference, hypothesis) for reference, hypothesis in pairs)


def _pair(reference: str, hypothesis: str) -> str:
    return f'<span class="pair"><del>{safe(reference)}</del><ins>{safe(hypothesis)}</ins></span>'


def _equal(words: tuple[str, ...], space: str) -> str:
    """Returns the HTML of words without errors; of a long sequence both ends."""
    hidden = len(words) - 2 * CONTEXT_WORDS
    if hidden <= CONTEXT_WORDS:
        return _joined(words, space)
    gap = f'<span class="gap">… {hidden:,} correct …</span>'
    return f"{_joined(words[:CONTEXT_WORDS], space)} {gap} {_joined(words[-CONTEXT_WORDS:], space)}"


def _joined(words: Iterable[str], space: str) -> str:
    return safe(space.join(words))


def _raw(name: str, text: str) -> str:
    cut = text if len(text) <= MAX_RAW_CHARACTERS else f"{text[:MAX_RAW_CHARACTERS]} …"
    return f'<p dir="auto">{name}: {safe(cut.strip() or "(nothing)")}</p>'
