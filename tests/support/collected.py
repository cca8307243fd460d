"""The elements of collections, kept in this process by pipelines of Beam's in-process runner."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

COLLECTED: defaultdict[str, list[Any]] = defaultdict(list)


def collect(collection: PCollection[Any], name: str) -> None:
    """Keeps the elements under a name; those of an earlier pipeline are forgotten."""
    COLLECTED.pop(name, None)
    _ = collection | f"Collect {name}" >> beam.Map(_keep, name)


def _keep(element: Any, name: str) -> None:  # noqa: ANN401  # of any collection
    COLLECTED[name].append(element)
