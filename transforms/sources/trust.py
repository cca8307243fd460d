"""Restricts the URIs in manifests and datasets, which may be written by another person than the user."""

from __future__ import annotations

from transforms.core.errors import AudioError
from transforms.core.uris import is_http, is_url, join

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "hf"})
"""Schemes of object stores, whose URLs give no access to anything else."""


def check_listed(uri: str, base: str, allowed: bool) -> None:
    """Refuses URIs that give a list access to the machine or the network of the worker that reads it.

    Allowed are `http(s)` URLs, URLs of object stores, and names relative to the list. A list that is a local
    file may contain paths of local files. Not allowed are `file://` URLs, chained URLs (`zip://...::...`) and
    URLs of other file systems, except for files beside the list.

    Args:
        uri: the URI as listed, not yet joined with `base`.
        base: the path or URL of the list.
        allowed: whether the user trusts the list with any URI (`--trust_manifests`).

    Raises:
        AudioError: with stage `list` and kind `forbidden_uri`.
    """
    if allowed:
        return
    found = join(base, uri)
    if uri.lower().startswith("file://"):
        refused = "a file:// URL"
    elif not is_url(found):
        if not is_url(base):
            return
        refused = "a file of the machine that reads it, in a list from elsewhere"
    elif is_http(found):
        return
    elif "::" in uri:
        refused = "a chained URL"
    elif _scheme(found) in OBJECT_STORES or _is_beside(uri, found, base):
        return
    else:
        refused = f"a {_scheme(found)}:// URL"
    message = f"{uri} is {refused}; a list may name it only with --trust_manifests"
    raise AudioError("list", "forbidden_uri", message)


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _is_beside(uri: str, found: str, base: str) -> bool:
    """Whether a URI is relative to the list, or on the same file system and host or bucket."""
    if not is_url(base) or _scheme(found) != _scheme(base):
        return False
    return not is_url(uri) or _host(found) == _host(base)


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]
