from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from model import program_store
from model.compiled import Compiled
from model.program_store import ProgramStore


class Traced:
    """A function that counts how often it is traced."""

    def __init__(self) -> None:
        self.n = 0

    def function(self) -> Callable[..., Any]:
        """A new function object with the same code: `jax.jit` caches traces per object."""

        def function(x: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
            self.n += 1
            return x * n, jnp.flip(jnp.sin(x))

        return function


@pytest.fixture(autouse=True)
def require_no_jax_cache() -> None:
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        pytest.skip("JAX_COMPILATION_CACHE_DIR is set: JAX keeps the programs")


def compiled(traced: Traced, store: ProgramStore, name: str = "name") -> Compiled:
    return Compiled(traced.function(), name, store, static=1)


def programs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.program"))


@pytest.mark.parametrize("ahead", [False, True])
def test_a_stored_program_is_neither_traced_nor_compiled(tmp_path: Path, ahead: bool) -> None:
    traced, x = Traced(), jnp.arange(5.0)
    first = compiled(traced, ProgramStore(tmp_path, "net"))(x, 3)
    assert traced.n == 1
    store = ProgramStore(tmp_path, "net")
    if ahead:
        store.load_ahead()
    again = compiled(traced, store)
    for result in (again(x, 3), again(x, 3)):
        assert [part.tolist() for part in result] == [part.tolist() for part in first]
    assert traced.n == 1


def test_each_shape_dtype_static_number_and_name_has_its_own_program(tmp_path: Path) -> None:
    def run(x: jax.Array, n: int, name: str = "name") -> object:
        return compiled(Traced(), ProgramStore(tmp_path, "net"), name)(x, n)[0].tolist()

    assert run(jnp.arange(3.0), 2) == [0, 2, 4]
    assert run(jnp.arange(3.0), 5) == [0, 5, 10]
    assert run(jnp.arange(4.0), 5) == [0, 5, 10, 15]
    assert run(jnp.arange(3), 5) == [0, 5, 10]
    assert run(jnp.arange(3.0), 5, "other") == [0, 5, 10]
    assert len(programs(tmp_path)) == 5


@pytest.mark.parametrize("change", ["network", "software", "machine", "environment"])
def test_a_program_of_another_network_or_environment_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    traced = Traced()
    compiled(traced, ProgramStore(tmp_path, "net"))(jnp.arange(3.0), 2)
    if change == "software":
        monkeypatch.setattr(program_store, "version", lambda name: "0.0.1")
    elif change == "machine":
        monkeypatch.setattr(program_store, "cpu_features", lambda: frozenset({"mmx"}))
    elif change == "environment":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    store = ProgramStore(tmp_path, "other" if change == "network" else "net")
    store.load_ahead()
    compiled(traced, store)(jnp.arange(3.0), 2)
    assert traced.n == 2


def test_a_donated_buffer_is_written_in_place(tmp_path: Path) -> None:
    for _ in range(2):
        state = jnp.ones((64, 64))
        add = Compiled(lambda x, n: x + n, "add", ProgramStore(tmp_path, "net"), static=1, donate_argnums=0)
        place = state.unsafe_buffer_pointer()
        after = add(state, 1)
        assert state.is_deleted()
        assert after.unsafe_buffer_pointer() == place
    assert len(programs(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04K\x01."])
def test_a_damaged_program_is_compiled_again(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    traced, x = Traced(), jnp.arange(3.0)
    compiled(traced, ProgramStore(tmp_path, "net"))(x, 2)
    (path,) = programs(tmp_path)
    path.write_bytes(content)
    compiled(traced, ProgramStore(tmp_path, "net"))(x, 2)
    assert traced.n == 2
    assert "cannot be used" in caplog.text
    compiled(traced, ProgramStore(tmp_path, "net"))(x, 2)
    assert traced.n == 2


def test_a_folder_writable_by_others_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    traced, x, folder = Traced(), jnp.arange(3.0), tmp_path / "shared"
    compiled(traced, ProgramStore(folder, "net"))(x, 2)
    folder.chmod(0o777)
    store = ProgramStore(folder, "net")
    store.load_ahead()
    compiled(traced, store)(x, 2)
    assert traced.n == 2
    assert "other users may write" in caplog.text


def test_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o002)
    try:
        compiled(Traced(), ProgramStore(tmp_path / "cache" / "programs", "net"))(jnp.arange(3.0), 2)
    finally:
        os.umask(umask)
    assert len(programs(tmp_path / "cache" / "programs")) == 1


def test_without_a_writable_folder_programs_are_compiled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    result = compiled(Traced(), ProgramStore(tmp_path / "file", "net"))(jnp.arange(3.0), 2)
    assert result[0].tolist() == [0, 2, 4]
    assert "cannot be cached" in caplog.text


def test_the_least_recently_used_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_store, "_MAX_FOLDERS", 2)
    for number, name in enumerate(["a", "b", "c"]):
        ProgramStore(tmp_path, name)
        for path in tmp_path.iterdir():
            if path.stat().st_mtime > time.time() - 3600:
                os.utime(path, (1, number + 1))
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == 2
    ProgramStore(tmp_path, "b")
    assert {path.name for path in tmp_path.iterdir()} == kept
    ProgramStore(tmp_path, "a")
    assert len(list(tmp_path.iterdir())) == 2
    assert {path.name for path in tmp_path.iterdir()} != kept


def test_programs_from_the_cache_of_jax_are_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a program would load, and fail when it is run."""
    monkeypatch.setattr(program_store, "jax_keeps_programs", lambda: True)
    compiled(Traced(), ProgramStore(tmp_path, "net"))(jnp.arange(3.0), 2)
    assert programs(tmp_path) == []


class InterruptedExecutor(ThreadPoolExecutor):
    """Is interrupted after its first task."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401  # of an executor
        if self._threads:
            raise KeyboardInterrupt
        return super().submit(*arguments, **named)


def test_an_interrupt_while_programs_are_loaded_leaves_no_thread_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (1, 2):
        compiled(Traced(), ProgramStore(tmp_path, "net"), f"name{n}")(jnp.arange(5.0), n)
    monkeypatch.setattr(program_store, "ThreadPoolExecutor", InterruptedExecutor)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt) as interrupt:
        ProgramStore(tmp_path, "net").load_ahead()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
    assert interrupt.tb is not None  # what the traceback refers to still exists
