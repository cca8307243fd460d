from __future__ import annotations

import pytest

from transforms.core.signed_urls import signing_names


@pytest.mark.parametrize(
    ("query", "signing"),
    [
        ("id part x-amz-signature x-goog-date", "x-amz-signature x-goog-date"),
        ("id signature expires policy", "signature expires policy"),  # of Amazon, version 2
        ("id sig sv se sp", "sig sv se sp"),  # of Azure
        ("expires policy sv se sig", "sv se sig"),
        ("expires policy se sig", ""),  # without a signature they may be anything
        ("", ""),
    ],
)
def test_names_that_belong_to_a_signature(query: str, signing: str) -> None:
    assert signing_names(set(query.split())) == set(signing.split())
