"""Damages small files of 38 formats at random, and reads them, for as long as it is told.

    python -m benchmarks.fuzz_decoders --minutes 10 --seed 0

Each file must be decoded to finite samples or be refused as an `AudioError`, within 5 s and 1 GB. Each runs
in a process that is started once for many files, so that a crash or a hang of a decoder is seen and counted;
the file is then kept in `--keep`. Prints how many there were, what became of them, and the slowest. Ends with
1 if any did what none may.
"""

from __future__ import annotations

import sys

from benchmarks.support.fuzzing import fuzz
from tests.support.fuzzing import outcome, small_files


def decoded(name: str, data: bytes) -> str:
    """What became of a file of sound, see `tests.support.fuzzing.outcome`."""
    return outcome(data)


if __name__ == "__main__":
    sys.exit(fuzz(decoded, small_files(), __doc__))
