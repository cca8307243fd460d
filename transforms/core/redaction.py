"""Credentials taken out of text: of URLs, headers and messages."""

from __future__ import annotations

import re
from urllib.parse import unquote

_URL = re.compile(r"[\w+.-]+://[^\s'\"<>]*")


_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@]*@)+")


_PARAMETERS = re.compile(r"[?#]([^\s?#'\"<>]+)")


_PATH_PARAMETER = re.compile(r";([\w.-]+)=[^\s;/?#'\"<>]*")


_PUNCTUATION = ".,:;)]}"  # behind a URL, of the sentence that quotes it


_SECRET_NAME = re.compile(
    r"x-(amz|goog)-.+"
    r"|.*(token|signature|secret|passw|passphrase|credential|session|sessid|bearer|(api|access)[-_]?key).*"
    r"|sig|sign|key|pwd|pass|auth|authorization|policy|expires|jwt|sas|hmac|md5|code|ticket|cookie|key-pair-id"
    r"|googleaccessid|hdnea|hdnts",
    re.IGNORECASE,
)


_LONE_SECRET = re.compile(
    r"(?=.*\d)(?=.*[A-Za-z])[\w.~%+/-]{20,}"
)  # a parameter that is a value without a name


_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key|secret)[\w-]*)"
    r"(['\"]?\s*[:=]\s*|['\"],\s*)(b?'[^'\n]*'|b?\"[^\"\n]*\"|(?:(?:basic|bearer|digest)\s+)?[^\s'\",]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Takes credentials out of a URI, or out of a message that quotes some, so that it may be written.

    What goes: `user:password@`, the parameters of signed URLs and others named like a secret, and headers
    that authorize. A name of a file that is no valid Unicode comes back escaped, since no output format could
    hold it. The path of a local file has no parameters: what looks like some, as wget leaves it, is its name,
    so a text that begins with a path is changed only where it quotes a URL.
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
    given = re.split("[&;]", shown)
    kept = [part for part in given if not _is_secret(part)]
    if len(kept) == len(given):
        return parameters[0]
    rest = parameters[1][len(shown) :]
    return (parameters[0][0] + "&".join(kept) if kept else "") + rest


def _is_secret(parameter: str) -> bool:
    """By its name; by its value, where it has no name; or because its value is a URL with a secret."""
    name, separator, value = parameter.partition("=")
    if not separator:
        return _LONE_SECRET.fullmatch(name) is not None
    quoted = unquote(value)
    return _SECRET_NAME.fullmatch(unquote(name)) is not None or ("://" in quoted and redact(quoted) != quoted)
