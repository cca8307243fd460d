"""Names of recordings: plain absolute paths for local files, URLs for everything else."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from urllib.parse import unquote, urljoin

from transforms.core.types import AudioSource

_URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")
_AMAZON_SIGNATURE = {"signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy"}
_AZURE_SIGNATURE = {
    "sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "si", "sig", "skoid", "sktid", "skt", "ske",
    "sks", "skv", "sdd",
}  # fmt: skip


def is_url(uri: str) -> bool:
    """Whether this is a URL (`s3://...`, `simplecache::https://...`), and not a local path."""
    return _URL.match(uri) is not None


def is_http(uri: str) -> bool:
    """Whether this is an `http(s)` URL."""
    return uri.lower().startswith(("http://", "https://"))


def plain(uri: str) -> str:
    """A `file://` URL as the path it stands for (RFC 8089); anything else as it is."""
    return unquote(uri[len("file://") :]) if uri.lower().startswith("file://") else uri


def suffix(uri: str) -> str:
    """The extension, lower case with its dot; for `http(s)` that of the path, without the query."""
    return posixpath.splitext(_split_http(uri)[0] if is_http(uri) else uri)[1].lower()


def join(base: str, name: str) -> str:
    """A name that the file `base` lists: as it is when absolute, else relative to the folder of `base`."""
    if is_url(name):
        return plain(name)
    if is_http(base):
        return urljoin(base, name)
    if os.path.isabs(name):
        return name
    scheme, separator, path = base.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(posixpath.dirname(path), name))


def audio_source(uri: str, payload: bytes | None = None, reference: str | None = None) -> AudioSource:
    """A recording, with the id that its URI gives it."""
    return AudioSource(audio_id_of(uri), uri, payload, reference)


def audio_id_of(uri: str, part: str = "") -> str:
    """The first 16 hexadecimal digits of SHA-256 of the URI without its credentials, and of a part of it.

    A URL that was signed again is the same recording: `user:password@` and the parameters of the signing
    schemes of Amazon, Google and Azure do not count. Other parameters do, those that look like a secret
    too, for they may be all that tells two recordings apart.

    Args:
        uri: of a file.
        part: what tells this part of the file from others: `//MEMBER` of an archive, `#t=START,END`.
    """
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if separator:
        uri = scheme + separator + authority.rpartition("@")[2] + slash + path
    if is_http(uri):
        place, query = _split_http(uri)
        kept = _unsigned(query)
        uri = f"{place}?{kept}" if kept else place
    return hashlib.sha256((uri + part).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _split_http(url: str) -> tuple[str, str]:
    """Splits off the query and drops the fragment; unlike `urlsplit` it takes any text."""
    place, _, query = url.partition("#")[0].partition("?")
    return place, query


def _unsigned(query: str) -> str:
    parameters = [(part.partition("=")[0].lower(), part) for part in query.split("&")]
    names = {name for name, _ in parameters}
    signing: set[str] = set()
    if "signature" in names:
        signing |= _AMAZON_SIGNATURE
    if {"sig", "sv"} <= names:
        signing |= _AZURE_SIGNATURE
    return "&".join(
        part
        for name, part in parameters
        if name not in signing and not name.startswith(("x-amz-", "x-goog-"))
    )


def stamp_of_file(uri: str) -> str | None:
    """Bytes and time of a local file, by which a change is seen; None elsewhere, or if it is not there."""
    try:
        status = os.stat(uri)
    except (OSError, ValueError):
        return None
    return f"{status.st_size} {status.st_mtime_ns}"
