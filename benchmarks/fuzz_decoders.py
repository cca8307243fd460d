"""Fuzz test of the audio decoders: damages 53 small files of many formats at random and decodes them.

    python -m benchmarks.fuzz_decoders --minutes 10 --seed 0

Each file must be decoded to finite samples or be refused with an `AudioError`, within 5 s and 1 GB. Files are
read in a separate process, so that a crash or a hang of a decoder is detected and counted; the file is then
kept in `--keep`. Prints the number of files, their outcomes, and the slowest. The exit code is 1 if there are
findings.
"""

from __future__ import annotations

import sys

from benchmarks.support.fuzzing import fuzz
from tests.support.fuzzing import outcome, small_files


def decoded(name: str, data: bytes) -> str:
    """Decodes an audio file; see `tests.support.fuzzing.outcome`."""
    return outcome(data)


if __name__ == "__main__":
    sys.exit(fuzz(decoded, small_files(), __doc__))
