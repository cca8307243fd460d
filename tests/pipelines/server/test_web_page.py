from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import pytest

from model.languages import LANGUAGES
from pipelines.server.web_page import content_security_policy, web_page

PAGE = web_page().body.decode()
VOID = {"meta", "link", "input"}
MIN_CONTRAST = 4.5  # WCAG 2, level AA, for text of normal size


class Elements(HTMLParser):
    """All elements with their attributes; checks that they are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(PAGE)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def policy() -> dict[str, str]:
    directives = web_page().headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (directive.partition(" ") for directive in directives)}


@pytest.mark.parametrize("tag", ["script", "style"])
def test_policy_has_the_hash_of_the_inline_content_alone(tag: str) -> None:
    content = PAGE.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert policy()[f"{tag}-src"] == f"'sha256-{digest}'"
    assert PAGE.count(f"<{tag}") == 1


def test_policy_follows_the_content() -> None:
    policies = {content_security_policy(f"<style>{one}</style>") for one in ("a", "b")}
    assert len(policies) == 2
    assert all("script-src 'none'" in one for one in policies)


def test_policy_allows_nothing_else() -> None:
    rest = {name: value for name, value in policy().items() if name not in ("script-src", "style-src")}
    assert rest == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "media-src": "blob:",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_headers() -> None:
    headers = web_page().headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "microphone=(self)" in headers["permissions-policy"]
    assert all("\n" not in value and value.isascii() for value in headers.values())


def test_page_requests_nothing_from_elsewhere() -> None:
    urls = [
        value
        for _, attributes in Elements().found
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "poster", "data")
    ]
    assert urls
    assert all((url or "").startswith("data:") for url in urls)
    assert re.findall(r"@import|url\(", PAGE) == []


def test_no_attribute_that_the_policy_blocks() -> None:
    attributes = {name for _, attributes in Elements().found for name in attributes}
    assert [name for name in attributes if name == "style" or name.startswith("on")] == []


def test_text_is_never_parsed_as_html() -> None:
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in PAGE


def test_ids_are_unique() -> None:
    ids = [attributes["id"] for _, attributes in Elements().found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_languages_are_those_of_the_model() -> None:
    listed = PAGE.split("const LANGUAGES = {")[1].split("};")[0]
    assert {code: name.lower() for code, name in re.findall(r'(\w+): "([^"]+)"', listed)} == LANGUAGES


def luminance(color: str) -> float:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(scheme: str) -> None:
    sets = [
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", PAGE, re.S)
    ]
    assert len(sets) == 2
    colors = sets[0] if scheme == "light" else sets[1]
    assert colors.keys() == sets[0].keys()
    pairs = [*itertools.product(("text", "dim", "accent"), ("back", "card")), ("on-accent", "accent")]
    pairs += [("text", "mark"), ("text", "near"), ("dim", "near"), ("bad", "bad-back"), ("text", "warn-back")]
    poor = {pair: contrast(*(colors[name] for name in pair)) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in poor.items() if ratio < MIN_CONTRAST} == {}
