"""Names of the tagged outputs of the DoFns, and failures as tagged elements."""

from __future__ import annotations

from apache_beam.pvalue import TaggedOutput

from transforms.core.progress import PROGRESS
from transforms.core.types import Failure
from transforms.dofns.counters import BEAM_METRICS

FAILURES = "failures"
LISTED = "listed"
ORIGINS = "origins"
PARTS = "parts"
SECOND_PASS = "second_pass"
SHARED = "shared"
SPANS = "spans"
UNFINISHED = "unfinished"
UNITS = "units"
WINDOWS = "windows"


def failed(failure: Failure) -> TaggedOutput[str, Failure]:
    """Counts a failure and returns it for its tagged output."""
    BEAM_METRICS.count("failures")
    PROGRESS.add(failures=1)
    return TaggedOutput(FAILURES, failure)
