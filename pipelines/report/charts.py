"""Charts as inline SVG, with titles, axes and numbers as text, so that screen readers can read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines.report.html_page import safe

STYLE = """
figure { margin: 0 0 1.5rem; } figcaption { color: var(--dim); margin-bottom: .5rem; }
svg { width: 100%; max-width: 45rem; height: auto; display: block; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; } svg .dim { fill: var(--dim); }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
"""
"""CSS of a page with charts."""

_WIDTH = 720
_LABEL_WIDTH, _BAR_HEIGHT, _ROW_HEIGHT = 190, 16, 24
_VALUE_WIDTH = 90
_MAX_LABEL = 26  # characters that fit into the width of labels
_LEFT, _RIGHT, _TOP, _BOTTOM, _PLOT_HEIGHT = 64, 12, 12, 46, 180


def bars(
    title: str, values: Sequence[tuple[str, float]], format_value: Callable[[float], str]
) -> Iterator[str]:
    """Yields a horizontal bar chart of named values, from top to bottom.

    Args:
        title: the quantity and its unit.
        values: names and values; none is negative.
        format_value: formats a value for the label beside its bar.
    """
    max_value = max((value for _, value in values), default=0) or 1
    plot_width = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    description = ", ".join(f"{name}: {format_value(value)}" for name, value in values)
    yield from _figure_start(title, len(values) * _ROW_HEIGHT + 8, description)
    for number, (name, value) in enumerate(values):
        top = 4 + number * _ROW_HEIGHT
        width, middle = value / max_value * plot_width, top + _BAR_HEIGHT - 3
        shown = name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"
        yield f"<g><title>{safe(name)}: {safe(format_value(value))}</title>"
        yield f'<text x="{_LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{safe(shown)}</text>'
        yield f'<rect x="{_LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>'
        yield f'<text x="{_LABEL_WIDTH + width + 6:.1f}" y="{middle}">{safe(format_value(value))}</text></g>'
    yield "</svg></figure>"


def histogram(title: str, counts: Sequence[int], x_label: str, y_label: str) -> Iterator[str]:
    """Yields a histogram of values between 0 and 1.

    Args:
        title: title of the chart.
        counts: counts of bins of equal width, from 0 to 1.
        x_label: name of the values.
        y_label: name of the counted items.
    """
    axis_max, plot_width = _round_up(max(counts)), _WIDTH - _LEFT - _RIGHT
    floor, width = _TOP + _PLOT_HEIGHT, plot_width / len(counts)
    description = ", ".join(f"{_bin_range(bin_, counts)}: {n:,}" for bin_, n in enumerate(counts) if n)
    yield from _figure_start(title, floor + _BOTTOM, description)
    for tick in (0, axis_max // 2, axis_max) if axis_max > 1 else (0, axis_max):
        y = floor - tick / axis_max * _PLOT_HEIGHT
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="dim" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>'
    for bin_, n in enumerate(counts):
        height = n / axis_max * _PLOT_HEIGHT
        yield f'<rect x="{_LEFT + bin_ * width + 1:.1f}" y="{floor - height:.1f}" width="{width - 2:.1f}" '
        yield f'height="{height:.1f}"><title>{_bin_range(bin_, counts)}: {n:,} {safe(y_label)}</title></rect>'
    for tenth in range(0, 11, 2):
        x = _LEFT + tenth / 10 * plot_width
        yield f'<text class="dim" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{tenth / 10:.1f}</text>'
    middle = _TOP + _PLOT_HEIGHT / 2
    yield f'<text x="{_LEFT + plot_width / 2}" y="{floor + 38}" text-anchor="middle">{safe(x_label)}</text>'
    rotated = f'transform="rotate(-90 12 {middle})" x="12" y="{middle}" text-anchor="middle"'
    yield f"<text {rotated}>{safe(y_label)}</text></svg></figure>"


def _figure_start(title: str, height: float, description: str) -> Iterator[str]:
    yield f"<figure><figcaption>{safe(title)}</figcaption>"
    yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{safe(f"{title}. {description}")}">'


def _bin_range(bin_: int, counts: Sequence[int]) -> str:
    return f"{bin_ / len(counts):.2f} to {(bin_ + 1) / len(counts):.2f}"


def _round_up(n: int) -> int:
    """Returns the smallest of 1, 2, 4, 6, 8, 10, 20, 40, ... not below `n`, as a readable end of an axis."""
    if n <= 1:
        return 1
    power: int = 10 ** (len(str(n)) - 1)
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= n)
