"""Damages what this package parses itself, beside sound, at random, and reads it, for as long as it is told.

    python -m benchmarks.fuzz_parsers --minutes 10 --seed 0

Manifests, archives, Parquet shards, logs of commits, headers of sound, checkpoints of both formats with their
configs and tokenizers. Each must be read, or be refused with the error that its reader documents, within 5 s
and 1 GB; how it is told is as in `benchmarks.fuzz_decoders`.
"""

from __future__ import annotations

import sys

from benchmarks.support.fuzzing import fuzz
from tests.support.parsers import outcome, small_inputs

if __name__ == "__main__":
    sys.exit(fuzz(outcome, small_inputs(), __doc__))
