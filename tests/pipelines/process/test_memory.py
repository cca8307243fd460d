from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.process import memory
from pipelines.process.memory import return_free_memory, without_garbage_collection

PROGRAM = """
import ctypes, threading, sys
from pipelines.process.memory import limit_malloc_arenas
if sys.argv[1] == "few":
    limit_malloc_arenas()
def work():
    blocks = [bytes(100) for _ in range(1000)]
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


def memory_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024 / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc's malloc")
def test_threads_share_two_arenas_unless_the_environment_sets_another_number() -> None:
    many = arenas("many", MALLOC_ARENA_MAX="6")
    if many <= 2:
        pytest.skip("this C library has no arenas")
    assert arenas("few") <= 2
    assert arenas("few", MALLOC_ARENA_MAX="6") == many


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc's malloc")
def test_free_memory_between_blocks_in_use_is_returned() -> None:
    blocks = [bytearray(100_000) for _ in range(1000)]
    kept = blocks[::2]
    del blocks
    before = memory_mb()
    return_free_memory()
    assert memory_mb() < before - 40
    assert len(kept) == 500


def test_free_memory_is_returned_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Semaphore(0)
    monkeypatch.setattr(memory, "return_free_memory", returned.release)
    ended = memory.keep_returning_free_memory(0.01)
    assert all(returned.acquire(timeout=10) for _ in range(3))
    (thread,) = (one for one in threading.enumerate() if one.name == "return-memory")
    assert thread.daemon
    ended.set()
    thread.join(10)
    assert not thread.is_alive()


def test_free_memory_is_returned_until_the_end_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Semaphore(0)
    monkeypatch.setattr(memory, "return_free_memory", returned.release)
    with memory.returning_free_memory(0.01):
        assert all(returned.acquire(timeout=10) for _ in range(3))
    assert "return-memory" not in [thread.name for thread in threading.enumerate()]


def test_garbage_collection_is_off_inside_and_new_objects_are_frozen() -> None:
    before = gc.get_freeze_count()
    try:
        with without_garbage_collection():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_garbage_collection_is_restored_after_an_error_and_stays_off_where_it_was_off() -> None:
    try:
        with pytest.raises(ImportError), without_garbage_collection():
            raise ImportError
        assert gc.isenabled()
        gc.disable()
        with without_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_garbage_collection_is_off_until_the_last_of_overlapping_blocks_ends() -> None:
    first, second = without_garbage_collection(), without_garbage_collection()
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not gc.isenabled()
        second.__exit__(None, None, None)
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
