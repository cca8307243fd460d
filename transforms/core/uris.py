"""Identifiers of recordings: absolute paths for local files, URLs for all others."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from unicodedata import normalize
from urllib.parse import unquote, urljoin

from transforms.core.signed_urls import signing_names
from transforms.core.types import AudioSource

_URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")


def is_url(uri: str) -> bool:
    """Whether a URI is a URL (`s3://...`, `simplecache::https://...`), not a local path."""
    return _URL.match(uri) is not None


def is_http(uri: str) -> bool:
    """Whether a URI is an `http(s)` URL."""
    return uri.lower().startswith(("http://", "https://"))


def plain(uri: str) -> str:
    """Returns the path of a `file://` URL (RFC 8089); any other URI unchanged."""
    return unquote(uri[len("file://") :]) if uri.lower().startswith("file://") else uri


def suffix(uri: str) -> str:
    """Returns the extension in lower case, with its dot; of an `http(s)` URL, that of its path."""
    return posixpath.splitext(_split_http(uri)[0] if is_http(uri) else uri)[1].lower()


def join(base: str, name: str) -> str:
    """Resolves a name that the file `base` lists: relative to the folder of `base`, unless it is absolute.

    The name of a local file may be stored in another form; see `existing_path`.
    """
    if is_url(name):
        path = plain(name)
        return path if is_url(path) else existing_path(path)
    if is_http(base):
        return urljoin(base, name)
    if os.path.isabs(name):
        return existing_path(name)
    scheme, separator, path = base.rpartition("://")
    joined = scheme + separator + posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    return joined if is_url(base) else existing_path(joined)


def existing_path(path: str) -> str:
    """Returns the path of a local file as its name is stored; one that is found in no form is unchanged.

    Where no file has that very name, its characters may be composed or decomposed (Unicode NFC and NFD: file
    systems store either, and lists come from others), and its backslashes are slashes (lists from Windows).
    """
    if (path.isascii() and "\\" not in path) or os.path.lexists(path):
        return path
    found = _stored_name(path)
    if found is None and "\\" in path:
        found = _stored_name(posixpath.normpath(path.replace("\\", "/")))
    return path if found is None else found


def _stored_name(path: str) -> str | None:
    """Returns a path with each component composed or decomposed as it exists; None if one does not."""
    found = "/" if path.startswith("/") else ""
    for part in filter(None, path.split("/")):
        forms = dict.fromkeys((part, normalize("NFC", part), normalize("NFD", part)))
        named = (posixpath.join(found, form) for form in forms)
        existing = next(filter(os.path.lexists, named), None)
        if existing is None:
            return None
        found = existing
    return found


def audio_source(uri: str, payload: bytes | None = None, reference: str | None = None) -> AudioSource:
    """Returns a recording with the id of its URI."""
    return AudioSource(audio_id_of(uri), uri, payload, reference)


def audio_id_of(uri: str, part: str = "") -> str:
    """Returns the id of a URI, or a part of it: 16 hexadecimal digits of its SHA-256, without credentials.

    A URL that was signed again is the same recording: `user:password@` and the parameters of the signing
    schemes of Amazon, Google and Azure are left out. Other parameters are kept, also those that look like a
    secret, because they may be the only difference between two recordings.

    Args:
        uri: URI of a file.
        part: suffix that identifies a part of the file: `//MEMBER` of an archive, `#t=START,END`.
    """
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if separator:
        uri = scheme + separator + authority.rpartition("@")[2] + slash + path
    if is_http(uri):
        location, query = _split_http(uri)
        kept = _unsigned(query)
        uri = f"{location}?{kept}" if kept else location
    return hashlib.sha256((uri + part).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _split_http(url: str) -> tuple[str, str]:
    """Splits off the query and drops the fragment; unlike `urlsplit`, accepts any text."""
    location, _, query = url.partition("#")[0].partition("?")
    return location, query


def _unsigned(query: str) -> str:
    parameters = [(part.partition("=")[0].lower(), part) for part in query.split("&")]
    signing = signing_names({name for name, _ in parameters})
    return "&".join(part for name, part in parameters if name not in signing)


def file_stamp(uri: str) -> str | None:
    """Returns size and modification time of a local file, to detect changes; None if it does not exist."""
    try:
        status = os.stat(uri)
    except (OSError, ValueError):
        return None
    return f"{status.st_size} {status.st_mtime_ns}"
