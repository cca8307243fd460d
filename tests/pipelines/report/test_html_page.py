from __future__ import annotations

import pytest

from pipelines.report.html_page import document, safe, table
from tests.support.html_checks import HOSTILE, Page


def test_document_is_a_well_formed_page_with_its_title_and_body() -> None:
    page = Page(document("A & B", "p { color: red; }", ["<p>one</p>", "<p>two</p>"]))
    tags = [tag for tag, _ in page.elements]
    assert [tag for tag in tags if tag in ("html", "head", "title", "style", "body", "main", "p")] == [
        *("html", "head", "title", "style", "body", "main", "p", "p")
    ]
    assert page.shown == "A & B one two"


def test_document_forbids_everything_but_inline_style() -> None:
    html = document("title", "", [])
    assert "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert html.endswith("</html>\n")
    assert not any(text in html for text in ("<script", "http://", "https://", "src="))


def test_table_has_a_cell_for_each_value_and_a_class_if_named() -> None:
    html = "\n".join(table(("name", "n"), [("a", "1"), ("b", "2")], "wide"))
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("th") == 2
    assert [tag for tag, _ in page.elements].count("td") == 4
    assert ("table", {"class": "wide"}) in page.elements
    assert ("table", {}) in Page("\n".join(table(("name",), []))).elements


def test_hostile_text_is_escaped_everywhere() -> None:
    html = document(HOSTILE, "", table((HOSTILE,), [(HOSTILE,)], HOSTILE))
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {"script", "img"}
    assert page.shown.count("<script>alert(1)</script>") == 3
    html.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a & b", "a &amp; b"),
        ("<b>", "&lt;b&gt;"),
        ("\"'", "&quot;&#x27;"),
        ("über", "über"),
        ("\ud800", "\\ud800"),
    ],
)
def test_safe_escapes_for_text_and_attributes_and_can_be_encoded(text: str, escaped: str) -> None:
    assert safe(text) == escaped
