"""Fuzz test of this package's own parsers: damages their inputs at random and parses them.

    python -m benchmarks.fuzz_parsers --minutes 10 --seed 0

The inputs are manifests, archives, Parquet shards, commit logs, headers of audio files, and checkpoints of
all formats with their configs and tokenizers. Each must be read, or be refused with an error that its reader
documents, within 5 s and 1 GB. Results are reported as in `benchmarks.fuzz_decoders`.
"""

from __future__ import annotations

import sys

from benchmarks.support.fuzzing import fuzz
from tests.support.parsers import outcome, small_inputs

if __name__ == "__main__":
    sys.exit(fuzz(outcome, small_inputs(), __doc__))
