"""Parameters of signed URLs: the signing schemes of Amazon, Google and Azure."""

from __future__ import annotations

from collections.abc import Collection

_PREFIXES = ("x-amz-", "x-goog-")
_AMAZON_SIGNATURE = {"signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy"}
_AZURE_SIGNATURE = {
    "sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "si", "sig", "skoid", "sktid", "skt", "ske",
    "sks", "skv", "sdd",
}  # fmt: skip


def signing_names(names: Collection[str]) -> set[str]:
    """Returns those names of a URL's parameters that may belong to its signature; all in lower case.

    >>> sorted(signing_names({"id", "x-amz-date", "signature", "expires"}))
    ['expires', 'signature', 'x-amz-date']
    """
    signing = {name for name in names if name.startswith(_PREFIXES)}
    if "signature" in names:
        signing |= _AMAZON_SIGNATURE & set(names)
    if {"sig", "sv"} <= set(names):
        signing |= _AZURE_SIGNATURE & set(names)
    return signing
