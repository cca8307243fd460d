"""Store of compiled programs on disk, so that the next run neither traces nor compiles them.

JAX's own cache also keeps compiled programs, but its key is the traced program, and tracing takes as long as
loading. Here the key is a hash of the inputs of tracing: this package, the network, the decoding rules, the
machine, and the shapes of the arguments. So programs can also be loaded ahead of their first call.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.stages import Compiled as Executable

from model.cpu_features import cpu_features, n_usable_cpus

logger = logging.getLogger(__name__)

Program = Callable[..., Any]

_MAX_FOLDERS = 16  # one per model, settings and version; some 10 MB each
_MAX_AHEAD = 32  # programs of a folder that are loaded ahead of their first call
_N_LOADERS = 2  # threads; loading releases the GIL


class ProgramStore:
    """The compiled programs of one network with one set of decoding rules, on this machine.

    A program is code: the folder must belong to the user, and other users must not be able to write to it.
    Programs that cannot be read or written are compiled as if there were no store.

    Args:
        folder: folder of the programs of all networks; created if it does not exist.
        identity: text of everything that determines the programs, except machine and software versions.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        key = "\n".join([identity, _software(), _machine()])
        self._folder = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
        self._ahead: dict[str, Future[Program | None]] = {}
        self._usable = _is_private(self._folder)
        if self._usable:
            with suppress(OSError):  # a read-only cache
                os.utime(self._folder)
                _remove_oldest(folder)

    def load_ahead(self) -> None:
        """Starts to load the programs of earlier runs in background threads, in order of first use."""
        if not self._usable:
            return
        # A program is written at its first use, so modification times are in that order.
        paths = sorted(self._folder.glob("*.program"), key=_used_at)
        executor = ThreadPoolExecutor(_N_LOADERS, thread_name_prefix="programs")
        try:
            self._ahead = {path.stem: executor.submit(_load, path) for path in paths[:_MAX_AHEAD]}
        finally:  # also after an interrupt: its threads would keep the process from its end
            executor.shutdown(wait=False)

    def load(self, name: str, args: tuple[Any, ...]) -> Program | None:
        """Returns the program of that name for arguments of these shapes; None if the store has none."""
        if not self._usable:
            return None
        key = _key(name, args)
        ahead = self._ahead.pop(key, None)
        if ahead is None or ahead.cancel():  # not started: programs needed later would come first
            return _load(self._path(key))
        return ahead.result()

    def save(self, name: str, args: tuple[Any, ...], executable: Executable) -> None:
        """Writes a program that was compiled for arguments of these shapes.

        Programs from JAX's own cache are not written: they would load, and fail when they are run.
        """
        if not self._usable or jax_keeps_programs():
            return
        path = self._path(_key(name, args))
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                pickle.dump(serialize_executable.serialize(executable), file)
            os.replace(file.name, path)
        except Exception as error:  # whatever went wrong, the program itself works
            logger.warning(
                "a compiled program cannot be written to the cache: %s: %s", type(error).__name__, error
            )
            for leftover in self._folder.glob("tmp*"):
                leftover.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.program"


def jax_keeps_programs() -> bool:
    """Whether JAX's own compilation cache on disk is enabled, by the user or for a mesh."""
    return getattr(jax.config, "jax_compilation_cache_dir", None) is not None


def _load(path: Path) -> Program | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        program: Program = serialize_executable.deserialize_and_load(*pickle.loads(content))
    except Exception as error:  # whatever is wrong with the file, the program can be compiled again
        logger.warning("a compiled program in the cache cannot be used: %s: %s", type(error).__name__, error)
        with suppress(OSError):
            path.unlink()
        return None
    return program


def _key(name: str, args: tuple[Any, ...]) -> str:
    leaves, tree = jax.tree.flatten(args)
    kinds = [(leaf.shape, str(leaf.dtype)) if hasattr(leaf, "shape") else leaf for leaf in leaves]
    return hashlib.sha256(f"{name}\n{kinds}\n{tree}".encode()).hexdigest()[:32]


def _software() -> str:
    own = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        own.update(path.read_bytes())
    settings = sorted(item for item in os.environ.items() if item[0].startswith(("JAX_", "XLA_")))
    return f"{own.hexdigest()} {version('jax')} {version('jaxlib')} {settings}"


def _machine() -> str:
    backend = jax.local_devices()[0].client
    return f"{backend.platform_version} {sorted(cpu_features())} {os.cpu_count()} {n_usable_cpus()}"


def _is_private(folder: Path) -> bool:
    """Creates the folder; returns whether only the user may write to it and to its parent."""
    try:
        for path in (folder.parent, folder):  # `mkdir` would create missing parents without this mode
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        stats = [path.stat() for path in (folder, folder.parent)]
    except OSError as error:
        logger.warning("compiled programs cannot be cached: %s", error)
        return False
    shared = stat.S_IWGRP | stat.S_IWOTH
    if any(s.st_mode & shared or (hasattr(os, "getuid") and s.st_uid != os.getuid()) for s in stats):
        logger.warning("compiled programs are not cached: other users may write to %s", folder.parent)
        return False
    return True


def _used_at(path: Path) -> int:
    """Modification time in ns; 0 if another process has just removed the file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _remove_oldest(folder: Path) -> None:
    """Removes the least recently used folders, such as those of earlier versions."""
    folders = sorted(folder.iterdir(), key=_used_at, reverse=True)
    for path in folders[_MAX_FOLDERS:]:
        shutil.rmtree(path, ignore_errors=True)
