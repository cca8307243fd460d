"""Removes credentials from URLs, headers and messages."""

from __future__ import annotations

import re
from urllib.parse import unquote

_URL = re.compile(r"[\w+.-]+://[^\s'\"<>]*")
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@]*@)+")
_PARAMETERS = re.compile(r"[?#]([^\s?#'\"<>]+)")
_PATH_PARAMETER = re.compile(r";([\w.-]+)=[^\s;/?#'\"<>]*")
_PUNCTUATION = ".,:;)]}"  # after a URL, of the sentence that quotes it
_SECRET_NAME = re.compile(
    r"x-(amz|goog)-.+"
    r"|.*(token|signature|secret|passw|passphrase|credential|session|sessid|bearer|(api|access)[-_]?key).*"
    r"|sig|sign|key|pwd|pass|auth|authorization|policy|expires|jwt|sas|hmac|md5|code|ticket|cookie|key-pair-id"
    r"|googleaccessid|hdnea|hdnts",
    re.IGNORECASE,
)
_LONE_SECRET = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~%+/-]{20,}")  # a parameter without a name
_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key|secret)[\w-]*)"
    r"(['\"]?\s*[:=]\s*|['\"],\s*)(b?'[^'\n]*'|b?\"[^\"\n]*\"|(?:(?:basic|bearer|digest)\s+)?[^\s'\",]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Removes credentials from a URI, or from a message that quotes URIs, so that it may be written.

    Removed are `user:password@`, the parameters of signed URLs and others with the name of a secret, and the
    values of headers that authorize. File names that are invalid Unicode are escaped, because no output
    format can store them. Paths of local files have no parameters, but may contain `?` (wget writes such
    names), so in a text that begins with a path only quoted URLs are changed.
    """
    if text.startswith("/"):
        text = _URL.sub(lambda url: _redacted(url[0]), text)
    else:
        text = _HEADER.sub(r"\1\2[hidden]", _redacted(text))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _redacted(text: str) -> str:
    text = _PATH_PARAMETER.sub(_without_secret, _USER_INFO.sub("", text))
    return _PARAMETERS.sub(_without_secrets, text)


def _without_secret(parameter: re.Match[str]) -> str:
    return "" if _SECRET_NAME.fullmatch(parameter[1]) else parameter[0]


def _without_secrets(parameters: re.Match[str]) -> str:
    shown = parameters[1].rstrip(_PUNCTUATION)
    parts = re.split("[&;]", shown)
    kept = [part for part in parts if not _is_secret(part)]
    if len(kept) == len(parts):
        return parameters[0]
    rest = parameters[1][len(shown) :]
    return (parameters[0][0] + "&".join(kept) if kept else "") + rest


def _is_secret(parameter: str) -> bool:
    """Whether a parameter is secret: by its name; by its value, if it has no name; or by a URL in it."""
    name, separator, value = parameter.partition("=")
    if not separator:
        return _LONE_SECRET.fullmatch(name) is not None
    quoted = unquote(value)
    return _SECRET_NAME.fullmatch(unquote(name)) is not None or ("://" in quoted and redact(quoted) != quoted)
