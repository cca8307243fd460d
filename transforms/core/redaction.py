"""Removes credentials from URLs, headers, messages and metadata.

What is known to be no part of a recording's name is removed: `user:password@`, and the parameters of the
signing schemes of Amazon, Google and Azure, which `transforms.core.uris.audio_id_of` leaves out, too. Other
secrets are replaced by a digest, because they may be the only difference between two recordings. A secret is
known by its name (`token`, `api_key`), or by its shape (`key=`, `code=` with a long random value, a JSON web
token): `?key=call-0001` is the name of a recording.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from urllib.parse import unquote

HIDDEN = "[hidden]"

_URL = re.compile(r"[\w+.-]+://[^\s'\"<>]*")
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@]*@)+")
_PARAMETERS = re.compile(r"[?#]([^\s?#'\"<>]+)")
_PATH_PARAMETER = re.compile(r";([\w.-]+)=([^\s;/?#'\"<>]*)")
_PUNCTUATION = ".,:;)]}"  # after a URL, of the sentence that quotes it
_BEFORE_URL = " \t\r\n'\"<>("
_MAX_URL = 4096  # characters that are looked at before a secret

_SIGNING_NAME = re.compile(r"x-(?:amz|goog)-.+", re.IGNORECASE)
_AMAZON_SIGNATURE = {"signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy"}
_AZURE_SIGNATURE = {
    "sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "si", "sig", "skoid", "sktid", "skt", "ske",
    "sks", "skv", "sdd",
}  # fmt: skip

_SECRET_NAME = re.compile(
    r".*(token|signature|secret|passw|passphrase|credential|sess(ion)?[-_]?id|bearer"
    r"|(api|access|auth|account|private|subscription)[-_]?key).*"
    r"|sig|pwd|auth|authorization|jwt|sas|cookie|key-pair-id|googleaccessid|hdnea|hdnts",
    re.IGNORECASE,
)
_AMBIGUOUS_NAME = re.compile(r"key|code|sign|pass|policy|md5|hmac|ticket|session", re.IGNORECASE)
_SECRET_COLUMN = re.compile(
    r"(.*[-_. ])?(passw(or)?d|pwd|passphrase|(api|access|account|private|secret)[-_ ]?key|client[-_ ]?secret"
    r"|(access|auth|bearer|refresh)[-_ ]?token|authorization|cookies?)",
    re.IGNORECASE,
)

_MIN_RANDOM = 16  # characters
_RUN = re.compile(rf"[A-Za-z0-9]{{{_MIN_RANDOM},}}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TOKEN = re.compile(  # JSON web tokens, and those of well-known services, by the beginning that they have
    r"\beyJ[\w-]{10,}(?:\.[\w-]+)+"
    r"|\b(?:hf_|gh[opsur]_|github_pat_|glpat-|xox[abpr]-|AKIA|ASIA|AIza|ya29\.)[\w-]{16,}"
)
_MASK = re.compile(r"hidden-[0-9a-f]{16}")

_HEADER = re.compile(  # and no parameter of a URL, which is masked by itself
    r"(?<![?&;#=%\w-])((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key|secret)[\w-]*)"
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
    is_path = text.startswith("/")
    text = _in_urls(text)
    if not is_path:
        text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def redact_text(text: str) -> str:
    """Removes credentials from a text that people wrote, in which `authorization: mine` is no header."""
    return _SCHEME_HEADER.sub(rf"\1{HIDDEN}", _in_urls(text))


def redact_value(value: object, name: str = "") -> object:
    """Removes credentials from a value of metadata: from its texts, and from lists and objects of these.

    Args:
        value: a value of JSON.
        name: its column, or its name in an object: the value of `password` is a secret whatever it is.
    """
    match value:
        case str():
            is_secret = _SECRET_COLUMN.fullmatch(name) or (_SECRET_NAME.fullmatch(name) and _is_random(value))
            return HIDDEN if is_secret and value else redact_text(value)
        case list():
            return [redact_value(one, name) for one in value]
        case dict():
            return {key: redact_value(one, key) for key, one in value.items()}
    return value


def _in_urls(text: str) -> str:
    if text.startswith("/"):
        return _URL.sub(lambda url: _redacted(url[0]), text)
    return _redacted(text)


def _redacted(text: str) -> str:
    for pattern, replacement in (
        (_USER_INFO, lambda match: ""),
        (_PATH_PARAMETER, _with_masked_path_parameter),
        (_PARAMETERS, _with_masked_parameters),
        (_TOKEN, lambda match: _mask(match[0], match)),
    ):
        text = pattern.sub(replacement, text)
    return text


def _with_masked_path_parameter(parameter: re.Match[str]) -> str:
    return f";{_masked(f'{parameter[1]}={parameter[2]}', partial(_mask, place=parameter))}"


def _with_masked_parameters(parameters: re.Match[str]) -> str:
    shown = parameters[1].rstrip(_PUNCTUATION)
    parts = shown.split("&")
    signing = _signing_names({_name(part) for part in parts})
    if signing and not _may_be_http(parameters):
        signing = set()
    kept = [_masked(part, partial(_mask, place=parameters)) for part in parts if _name(part) not in signing]
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


def _signing_names(names: set[str]) -> set[str]:
    """Returns the names that belong to a signature, as in `transforms.core.uris.audio_id_of`."""
    signing = {name for name in names if _SIGNING_NAME.fullmatch(name)}
    if "signature" in names:
        signing |= _AMAZON_SIGNATURE
    if {"sig", "sv"} <= names:
        signing |= _AZURE_SIGNATURE
    return signing


def _masked(parameter: str, mask: Callable[[str], str]) -> str:
    """Returns a parameter with its value hidden if it is secret; one without a name is a value."""
    name, separator, value = parameter.partition("=")
    if not separator:
        name, value = "", parameter
    if not value or _MASK.fullmatch(value):
        return parameter
    is_secret = _is_secret(unquote(name), unquote(value)) or (not separator and _is_random(value))
    return f"{name}{separator}{mask(value)}" if is_secret else parameter


def _is_secret(name: str, value: str) -> bool:
    """Whether a value is secret: by its name, by its shape if a secret may have the name, or by a URL."""
    if _SECRET_NAME.fullmatch(name):
        return True
    if _AMBIGUOUS_NAME.fullmatch(name) and _is_random(value):
        return True
    return "://" in value and redact(value) != value


def _is_random(value: str) -> bool:
    """Whether a value looks like a random key: long, with small and large letters and digits that alternate.

    >>> _is_random("c2VjcmV0a2V5MTIz4xQ"), _is_random("interview-2024-recording-0001")
    (True, False)
    """
    if _MASK.fullmatch(value):
        return False
    if _UUID.fullmatch(value) or _TOKEN.fullmatch(value):
        return True
    return any(5 * _n_changes(run) >= len(run) for run in _RUN.findall(value))


def _n_changes(text: str) -> int:
    """Returns how often the kind of character changes: a digit, a small or large letter."""
    kinds = [(char.isdigit(), char.isupper()) for char in text]
    return sum(one != other for one, other in pairwise(kinds))


def _mask(secret: str, place: re.Match[str]) -> str:
    """Returns a digest of a secret as long as an `audio_id`, salted with its URL, so that no table has it."""
    digest = hashlib.sha256(f"{_url_before(place)} {secret}".encode("utf-8", "surrogatepass"))
    return f"hidden-{digest.hexdigest()[:16]}"
