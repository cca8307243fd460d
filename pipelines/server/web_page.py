"""The page at `/`: a static file, and a Content-Security-Policy that allows its own style and script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FILE = "page/index.html"


@dataclass(frozen=True)
class WebPage:
    """A page in UTF-8 and the headers of its answer, with names in lower case."""

    body: bytes
    headers: Mapping[str, str]


@cache
def web_page() -> WebPage:
    """Returns the page; the file is read once."""
    html = files(__package__).joinpath(_FILE).read_text("utf-8")
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": content_security_policy(html),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "microphone=(self), camera=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return WebPage(html.encode(), headers)


def content_security_policy(html: str) -> str:
    """Returns the policy of a page: its inline style and script by their hashes, requests to its server.

    `connect-src` is what the page may request, `media-src` the user's file in the player, `img-src` the icon.
    Trusted Types forbid that a text is ever parsed as HTML. A reverse proxy can serve the page under a path.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hashes('script', html)}",
            f"style-src {_hashes('style', html)}",
            "connect-src 'self'",
            "media-src blob:",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hashes(tag: str, html: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
