"""Names of the tagged outputs of the DoFns."""

from __future__ import annotations

from apache_beam.pvalue import TaggedOutput

from transforms.core.metrics import count
from transforms.core.progress import PROGRESS
from transforms.core.types import (
    Failure,
)

ORIGINS = "origins"


PARTS = "parts"


SHARED = "shared"


SPANS = "spans"


UNITS = "units"


WINDOWS = "windows"


FAILURES = "failures"


def failed(failure: Failure) -> TaggedOutput[str, Failure]:
    """Counts a failure and puts it on its output."""
    count("failures")
    PROGRESS.add(failures=1)
    return TaggedOutput(FAILURES, failure)


SECOND_LOOK = "second_look"
