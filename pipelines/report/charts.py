"""Charts as inline SVG: titles, axes and numbers are text, so that they can be read without seeing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines.report.html_page import safe

STYLE = """
figure { margin: 0 0 1.5rem; } figcaption { color: var(--dim); margin-bottom: .5rem; }
svg { width: 100%; max-width: 45rem; height: auto; display: block; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; } svg .dim { fill: var(--dim); }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
"""
"""For the page that has charts."""

_WIDTH = 720
_LABEL_WIDTH, _BAR_HEIGHT, _ROW_HEIGHT = 190, 16, 24
_VALUE_WIDTH = 90
_MAX_LABEL = 26  # characters that the width of labels holds
_LEFT, _RIGHT, _TOP, _BOTTOM, _PLOT_HEIGHT = 64, 12, 12, 46, 180


def bars(title: str, values: Sequence[tuple[str, float]], spelt: Callable[[float], str]) -> Iterator[str]:
    """A bar for each of some named values, from top to bottom.

    Args:
        title: what is counted, and in what unit.
        values: none below zero.
        spelt: a value as it stands beside its bar.
    """
    most = max((value for _, value in values), default=0) or 1
    room = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    yield from _opened(title, len(values) * _ROW_HEIGHT + 8, ", ".join(f"{n}: {spelt(v)}" for n, v in values))
    for number, (name, value) in enumerate(values):
        top = 4 + number * _ROW_HEIGHT
        width, middle = value / most * room, top + _BAR_HEIGHT - 3
        shown = name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"
        yield f"<g><title>{safe(name)}: {safe(spelt(value))}</title>"
        yield f'<text x="{_LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{safe(shown)}</text>'
        yield f'<rect x="{_LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>'
        yield f'<text x="{_LABEL_WIDTH + width + 6:.1f}" y="{middle}">{safe(spelt(value))}</text></g>'
    yield "</svg></figure>"


def histogram(title: str, counts: Sequence[int], across: str, upwards: str) -> Iterator[str]:
    """How often values between 0 and 1 occur.

    Args:
        title: of the chart.
        counts: of bins of the same width, from 0 to 1.
        across: what the values are.
        upwards: what is counted.
    """
    most, room = _round_up(max(counts)), _WIDTH - _LEFT - _RIGHT
    floor, width = _TOP + _PLOT_HEIGHT, room / len(counts)
    told = ", ".join(f"{_between(bin_, counts)}: {n:,}" for bin_, n in enumerate(counts) if n)
    yield from _opened(title, floor + _BOTTOM, told)
    for tick in (0, most // 2, most) if most > 1 else (0, most):
        y = floor - tick / most * _PLOT_HEIGHT
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="dim" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>'
    for bin_, n in enumerate(counts):
        height = n / most * _PLOT_HEIGHT
        yield f'<rect x="{_LEFT + bin_ * width + 1:.1f}" y="{floor - height:.1f}" width="{width - 2:.1f}" '
        yield f'height="{height:.1f}"><title>{_between(bin_, counts)}: {n:,} {safe(upwards)}</title></rect>'
    for tenth in range(0, 11, 2):
        x = _LEFT + tenth / 10 * room
        yield f'<text class="dim" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{tenth / 10:.1f}</text>'
    middle = _TOP + _PLOT_HEIGHT / 2
    yield f'<text x="{_LEFT + room / 2}" y="{floor + 38}" text-anchor="middle">{safe(across)}</text>'
    turned = f'transform="rotate(-90 12 {middle})" x="12" y="{middle}" text-anchor="middle"'
    yield f"<text {turned}>{safe(upwards)}</text></svg></figure>"


def _opened(title: str, height: float, told: str) -> Iterator[str]:
    yield f"<figure><figcaption>{safe(title)}</figcaption>"
    yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{safe(f"{title}. {told}")}">'


def _between(bin_: int, counts: Sequence[int]) -> str:
    return f"{bin_ / len(counts):.2f} to {(bin_ + 1) / len(counts):.2f}"


def _round_up(n: int) -> int:
    """The least of 1, 2, 4, 6, 8, 10, 20, 40, ... that is not below `n`, for axes that are easily read."""
    if n <= 1:
        return 1
    power: int = 10 ** (len(str(n)) - 1)
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= n)
