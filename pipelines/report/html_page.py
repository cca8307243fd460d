"""Self-contained HTML pages, without scripts and without requests to a network.

All text is escaped, and a Content-Security-Policy in the page blocks whatever a transcript might inject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --dim: #60666d; --line: #d9dce0; --back: #fff;
  --card: #f7f8fa; --bar: #3b76b5; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8ea; --dim: #9aa1a9; --line: #363b41;
  --back: #15181b; --card: #1d2125; --bar: #6aa5e3; } }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.dim { color: var(--dim); margin: .25rem 0 1rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--dim); font-weight: 500; }
"""


def document(title: str, style: str, body: Iterable[str]) -> str:
    """Returns a complete page.

    Args:
        title: title of the page, not escaped.
        style: CSS of this page, appended to the common CSS.
        body: lines of HTML for `main`, escaped.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{safe(title)}</title><style>{_STYLE}{style}</style></head>",
            "<body><main>",
            *body,
            "</main></body></html>\n",
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> Iterator[str]:
    """Yields the HTML of a table.

    Args:
        header: names of the columns, not escaped.
        rows: cells of each row, not escaped.
        kind: CSS class of the table.
    """
    named = f' class="{safe(kind)}"' if kind else ""
    yield f'<div class="wide"><table{named}><thead><tr>'
    yield "".join(f"<th>{safe(cell)}</th>" for cell in header)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div>"


def safe(text: str) -> str:
    """Escapes text for HTML, in attributes too, and makes it encodable as UTF-8."""
    return escape(text.encode("utf-8", "backslashreplace").decode(), quote=True)
