from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from pipelines.report.charts import _round_up, bars, histogram

SVG = "svg"


def parsed(lines: object) -> ET.Element:
    return ET.fromstring("\n".join(lines))  # type: ignore[call-overload]  # lines of text


def test_bars_have_the_lengths_and_labels_of_their_values() -> None:
    figure = parsed(bars("Hours", [("en", 10.0), ("fr", 2.5), ("de", 0.0)], lambda value: f"{value:.1f} h"))
    widths = [float(bar.get("width", "")) for bar in figure.iter("rect")]
    assert widths[1] == pytest.approx(widths[0] / 4, abs=0.1)
    assert widths[2] == 0
    assert [text.text for text in figure.iter("text")] == ["en", "10.0 h", "fr", "2.5 h", "de", "0.0 h"]
    svg = figure.find(SVG)
    assert svg is not None
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "Hours. en: 10.0 h, fr: 2.5 h, de: 0.0 h"
    assert figure.findtext("figcaption") == "Hours"


def test_all_shapes_lie_inside_the_view_box() -> None:
    charts = [
        parsed(bars("b", [(f"name {n}", float(n)) for n in range(40)], str)),
        parsed(histogram("h", [0, 3, 999, 1_000_000], "x", "y")),
    ]
    for figure in charts:
        svg = figure.find(SVG)
        assert svg is not None
        _, _, width, height = map(float, svg.get("viewBox", "").split())
        for shape in (*svg.iter("rect"), *svg.iter("text")):
            x, y = (float(shape.get(name, "")) for name in ("x", "y"))
            assert 0 <= x <= x + float(shape.get("width", 0)) <= width
            assert 0 <= y <= y + float(shape.get("height", 0)) <= height


def test_histogram_has_labelled_axes() -> None:
    figure = parsed(histogram("Confidence", [1, 0, 0, 7], "confidence", "segments"))
    texts = [text.text for text in figure.iter("text")]
    assert texts == ["0", "4", "8", *("0.0", "0.2", "0.4", "0.6", "0.8", "1.0"), "confidence", "segments"]
    heights = [float(bar.get("height", "")) for bar in figure.iter("rect")]
    assert heights == [22.5, 0, 0, 157.5]
    titles = [title.text for title in figure.iter("title")]
    assert titles[3] == "0.75 to 1.00: 7 segments"
    svg = figure.find(SVG)
    assert svg is not None
    assert svg.get("aria-label") == "Confidence. 0.00 to 0.25: 1, 0.75 to 1.00: 7"


def test_names_are_escaped_and_shortened() -> None:
    html = "\n".join(bars("<b>", [("<script>" * 10, 1.0)], str))
    assert "<script>" not in html
    assert next(text.text for text in parsed([html]).iter("text")) == "<script><script><script><…"


@pytest.mark.parametrize(
    ("n", "top"), [(0, 1), (1, 1), (3, 4), (7, 8), (10, 10), (11, 20), (999, 1000), (1001, 2000)]
)
def test_axes_end_at_round_numbers(n: int, top: int) -> None:
    assert _round_up(n) == top
