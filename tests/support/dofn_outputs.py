"""Outputs of DoFns by their tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apache_beam.pvalue import TaggedOutput

MAIN = "main"


def by_tag(outputs: Iterable[Any]) -> dict[str, list[Any]]:
    """The outputs of each tag, in order; those without a tag are `MAIN`, which is always there."""
    found: dict[str, list[Any]] = {MAIN: []}
    for output in outputs:
        if isinstance(output, TaggedOutput):
            found.setdefault(output.tag, []).append(output.value)
        else:
            found[MAIN].append(output)
    return found
