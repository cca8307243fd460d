from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, threading, sys
from pipelines.process.memory import use_few_arenas
if sys.argv[1] == "few":
    use_few_arenas()
def work():
    held = [bytes(100) for _ in range(1000)]
    barrier.wait()
barrier = threading.Barrier(8)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


def arenas(how: str, **environment: str) -> int:
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={**{k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stderr.count("Arena")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_threads_share_two_arenas_unless_the_user_says_otherwise() -> None:
    many = arenas("many", MALLOC_ARENA_MAX="6")
    if many <= 2:
        pytest.skip("this C library has no arenas")
    assert arenas("few") <= 2
    assert arenas("few", MALLOC_ARENA_MAX="6") == many
