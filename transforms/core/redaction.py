"""Removes credentials from URLs, headers, messages and metadata.

What is known to be no part of a recording's name is removed: `user:password@`, and the parameters of the
signing schemes of Amazon, Google and Azure, which `transforms.core.uris.audio_id_of` leaves out, too. Other
secrets are replaced by a digest, because they may be the only difference between two recordings. A secret is
known by its name (`token`, `api_key`), or by its shape (`key=`, `code=` with a long random value, a JSON web
token): `?key=call-0001` is the name of a recording.

Texts come from others and may have megabytes, so every regular expression here takes linear time: it starts
once in a run of the characters that it repeats.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from urllib.parse import unquote

from transforms.core.signed_urls import signing_names

HIDDEN = "[hidden]"

_URL = re.compile(r"(?<![\w+.-])[\w+.-]+://[^\s'\"<>]*")
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@]*@)+")
_PARAMETERS = re.compile(r"[?#]([^\s?#'\"<>]+)")
_PATH_PARAMETER = re.compile(r";([\w.-]+)=([^\s;/?#'\"<>]*)")
_SPACE = re.compile(r"\s")
_NAMED_PARAMETER = re.compile(r"\?[^\s?=]+=")
_PUNCTUATION = ".,:;)]}"  # after a URL, of the sentence that quotes it
_BEFORE_URL = " \t\r\n'\"<>("
_MAX_URL = 4096  # characters that are looked at before a secret
_MAX_DEPTH = 3  # of URLs in parameters of URLs; what is deeper is hidden

_SECRET_NAME = re.compile(
    r".*(token|signature|secret|passw|passphrase|credential|sess(ion)?[-_]?id|bearer"
    r"|(api|access|auth|account|private|session|subscription)[-_]?key).*"
    r"|.*(authorization|cookie)|x-[\w-]*key|sig|pwd|auth|jwt|sas|key-pair-id|googleaccessid|hdnea|hdnts",
    re.IGNORECASE | re.DOTALL,
)
_SECRET_PARAMETER = re.compile(r"pass|sign|hmac|md5|ticket|session", re.IGNORECASE)  # and no column
_AMBIGUOUS_NAME = re.compile(r"key|code|policy", re.IGNORECASE)
_SECRET_COLUMN = re.compile(
    r"(.*[-_. ])?(passw(or)?d|pwd|passphrase|(api|access|account|private|secret)[-_ ]?key|client[-_ ]?secret"
    r"|(access|auth|bearer|refresh)[-_ ]?token|authorization|cookies?)",
    re.IGNORECASE | re.DOTALL,
)

_MIN_RANDOM = 16  # characters
_RUN = re.compile(rf"[A-Za-z0-9_-]{{{_MIN_RANDOM},}}")
_RUN_OF_ONE_CASE = re.compile(rf"[a-z0-9]{{{_MIN_RANDOM},}}|[A-Z0-9]{{{_MIN_RANDOM},}}")
_MIXED = re.compile(r"(?=.*[A-Z]).*[a-z]")
_WORD = re.compile(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*|[0-9]+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TOKEN = re.compile(  # JSON web tokens, and those of well-known services, by the beginning that they have
    r"(?<![\w-])eyJ[\w-]{10,}(?:\.[\w-]+)+|\b(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|\b(?:(?:hf_|gh[opsur]_)[A-Za-z0-9]{16,}|(?:github_pat_|glpat-|xox[abpr]-|AIza|ya29\.)[\w-]{16,})"
)
_MASK = re.compile(r"hidden-[0-9a-f]{16}")

_HEADER = re.compile(  # and no parameter of a URL, which is masked by itself
    r"(?<![?&;#\w-])((?:(?=[\w-]*(?:authorization|cookie)(?![\w-]))"
    r"|(?=(?>[\w-]*?x-)[\w-]*(?:token|key|secret)))[\w-]++)"
    r"(['\"]?\s*[:=]\s*|['\"],\s*)(b?'[^'\n]*'|b?\"[^\"\n]*\"|(?:(?:basic|bearer|digest)\s+)?[^\s'\",]+)",
    re.IGNORECASE,
)
_SCHEME_HEADER = re.compile(r"(authorization\s*[:=]\s*(?:basic|bearer|digest)\s+)[^\s'\",]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Removes credentials from a URI, or from a message that quotes URIs, so that it may be written.

    File names that are invalid Unicode are escaped, because no output format can store them. Paths of local
    files have no parameters, but may contain `?` (wget writes such names), so in a text that begins with a
    path only quoted URLs are changed. A redacted text is not changed again.

    >>> redact("https://me:pw@host/a.wav?id=1&X-Amz-Signature=5ec4e7")
    'https://host/a.wav?id=1'
    """
    redacted = _in_urls(text) if text.startswith("/") else _HEADER.sub(_with_hidden_value, _redacted(text))
    return redacted.encode("utf-8", "backslashreplace").decode("utf-8")


def redact_text(text: str) -> str:
    """Removes credentials from a text that people wrote, in which `authorization: mine` is no header.

    `#`, `?` and `;` begin parameters within URLs only.
    """
    text = _TOKEN.sub(lambda token: _mask(token[0], token), _in_urls(text))
    return _SCHEME_HEADER.sub(rf"\1{HIDDEN}", text)


def redact_value(value: object, name: str = "") -> object:
    """Removes credentials from a value of metadata: from its texts, and from lists and objects of these.

    A text that is secret only by its shape becomes a digest, the same in every row, so that rows can still be
    joined by it. A text without spaces that has `?name=` may be a path with parameters.

    Args:
        value: a value of JSON.
        name: its column, or its name in an object: the value of `password` is a secret whatever it is, except
            true, false, null and what is empty.
    """
    if _SECRET_COLUMN.fullmatch(name) and not isinstance(value, bool) and value not in (None, "", [], {}):
        return HIDDEN
    match value:
        case str():
            return _redacted_value(value, name)
        case list():
            return [redact_value(one, name) for one in value]
        case dict():
            return {key: redact_value(one, key) for key, one in value.items()}
    return value


def _redacted_value(text: str, name: str) -> str:
    if _SPACE.search(text):
        return redact_text(text)
    if _SECRET_NAME.fullmatch(name) and _is_random(text):
        return _digest(text)
    if _NAMED_PARAMETER.search(text) and not text.startswith("/"):
        return _redacted(text)
    return redact_text(text)


def _in_urls(text: str, depth: int = 0) -> str:
    return _URL.sub(lambda url: _redacted(url[0], depth), text)


def _redacted(text: str, depth: int = 0) -> str:
    for pattern, replacement in (
        (_USER_INFO, lambda match: ""),
        (_PATH_PARAMETER, partial(_with_masked_path_parameter, depth=depth)),
        (_PARAMETERS, partial(_with_masked_parameters, depth=depth)),
        (_TOKEN, lambda match: _mask(match[0], match)),
    ):
        text = pattern.sub(replacement, text)
    return text


def _with_hidden_value(header: re.Match[str]) -> str:
    """Hides the value of a header; in a URL, by a digest, because it may be the only difference."""
    if _MASK.match(header[3]):
        return header[0]
    hidden = _mask(header[3], header) if "://" in _url_before(header) else HIDDEN
    return f"{header[1]}{header[2]}{hidden}"


def _with_masked_path_parameter(parameter: re.Match[str], depth: int) -> str:
    return f";{_masked(parameter[0][1:], partial(_mask, place=parameter), depth)}"


def _with_masked_parameters(parameters: re.Match[str], depth: int) -> str:
    shown = parameters[1].rstrip(_PUNCTUATION)
    parts = shown.split("&")
    signing = signing_names({_name(part) for part in parts})
    if signing and not _may_be_http(parameters):
        signing = set()
    mask = partial(_mask, place=parameters)
    kept = [_masked(part, mask, depth) for part in parts if _name(part) not in signing]
    if kept == parts:
        return parameters[0]
    rest = parameters[1][len(shown) :]
    return (parameters[0][0] + "&".join(kept) if kept else "") + rest


def _may_be_http(place: re.Match[str]) -> bool:
    """Whether parameters are those of an `http(s)` URL: only of these `audio_id_of` leaves out signatures."""
    url = _url_before(place).lower()
    return "://" not in url or url.startswith(("http://", "https://"))


def _url_before(place: re.Match[str]) -> str:
    """Returns the URL before a match, or its last part."""
    before = place.string[max(0, place.start() - _MAX_URL) : place.start()]
    return before[1 + max(map(before.rfind, _BEFORE_URL)) :]


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].lower()


def _masked(parameter: str, mask: Callable[[str], str], depth: int) -> str:
    """Returns a parameter with its value hidden if it is secret; one without a name is a value."""
    name, separator, value = parameter.partition("=")
    if not separator:
        name, value = "", parameter
    if not value or _MASK.fullmatch(value):
        return parameter
    is_secret = _is_secret(unquote(name), unquote(value), depth) or (not separator and _is_random(value))
    return f"{name}{separator}{mask(value)}" if is_secret else parameter


def _is_secret(name: str, value: str, depth: int) -> bool:
    """Whether a value is secret: by its name, by its shape if a secret may have the name, or by a URL."""
    if _SECRET_NAME.fullmatch(name) or _SECRET_PARAMETER.fullmatch(name):
        return True
    if _AMBIGUOUS_NAME.fullmatch(name) and _is_random(value):
        return True
    return "://" in value and _has_credentials(value, depth + 1)


def _has_credentials(text: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return True
    if text.startswith("/"):
        return _in_urls(text, depth) != text
    return _HEADER.search(text) is not None or _redacted(text, depth) != text


def _is_random(value: str) -> bool:
    """Whether a value looks like a random key: a long run in which kinds of characters alternate.

    If it has small and large letters, its words (`Line`, `Part2`) have less than 4 characters on average; if
    it has letters of one case, digits and letters alternate at a fifth of its characters.

    >>> _is_random("c2VjcmV0a2V5MTIz4xQ"), _is_random("interview-2024-recording-0001")
    (True, False)
    """
    if _MASK.fullmatch(value):
        return False
    if _UUID.fullmatch(value) or _TOKEN.fullmatch(value):
        return True
    return any(map(_has_short_words, _RUN.findall(value)))


def _has_short_words(run: str) -> bool:
    joined = run.replace("-", "").replace("_", "")
    if _MIXED.match(joined) and 4 * len(_WORD.findall(joined)) > len(joined):
        return True
    return any(5 * _n_changes(part) >= len(part) for part in _RUN_OF_ONE_CASE.findall(run))


def _n_changes(text: str) -> int:
    """Returns how often a digit follows a letter or a letter a digit."""
    return sum(one.isdigit() != other.isdigit() for one, other in pairwise(text))


def _mask(secret: str, place: re.Match[str]) -> str:
    """Returns the digest of a secret, salted with its URL, so that no table of digests of secrets has it."""
    return _digest(f"{_url_before(place)} {secret}")


def _digest(text: str) -> str:
    """Returns a digest of a text as long as an `audio_id`.

    It hides random keys, and every secret from readers who do not search for it. A password that can be
    guessed is found by whoever tries words, because all else that makes the digest is known. A random salt
    would prevent that, but two runs would give one recording two URIs.
    """
    return f"hidden-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
