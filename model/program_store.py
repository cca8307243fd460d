"""Compiled programs on disk, so that the next run neither traces nor compiles them.

JAX's own cache keeps what XLA makes, but finds it by the program that was traced, and to trace takes as long
as to load. Here a program is found by what it is made of: this package, the network, the rules, the machine,
and the shapes of its arguments. So it can be loaded before anybody asks for it, too.
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

from model.cpu_features import cpu_features

logger = logging.getLogger(__name__)

Program = Callable[..., Any]

_MAX_FOLDERS = 16  # of models, settings and versions; some 10 MB each
_MAX_AHEAD = 32  # programs of a folder that are loaded before anybody asks for them
_LOADERS = 2  # threads; loading leaves Python to the others


class ProgramStore:
    """The programs of one network with one set of rules, on this machine.

    A program is code: the folder must be the user's own, and nobody else may write there. What cannot be
    read, or kept, is compiled, as if there were no store.

    Args:
        folder: where the programs of all networks are; made if there is none.
        made_of: all that shapes the programs, besides the machine and the versions of the software.
    """

    def __init__(self, folder: Path, made_of: str) -> None:
        told = "\n".join([made_of, _software(), _machine()])
        self._folder = folder / hashlib.sha256(told.encode()).hexdigest()[:32]
        self._ahead: dict[str, Future[Program | None]] = {}
        self._usable = _is_private(self._folder)
        if self._usable:
            with suppress(OSError):  # a cache that may be read alone
                os.utime(self._folder)
                _remove_oldest(folder)

    def load_ahead(self) -> None:
        """Begins to load what earlier runs needed, in the order in which they did, in other threads."""
        if not self._usable:
            return
        # Each run adds what it is the first to need: the order of their times is that of the need.
        paths = sorted(self._folder.glob("*.program"), key=_used_at)
        executor = ThreadPoolExecutor(_LOADERS, thread_name_prefix="programs")
        self._ahead = {path.stem: executor.submit(_load, path) for path in paths[:_MAX_AHEAD]}
        executor.shutdown(wait=False)

    def load(self, name: str, args: tuple[Any, ...]) -> Program | None:
        """The program of that name for arguments like these; None when there is none."""
        if not self._usable:
            return None
        key = _key(name, args)
        ahead = self._ahead.pop(key, None)
        if ahead is None or ahead.cancel():  # not begun: it would wait behind what is needed later
            return _load(self._path(key))
        return ahead.result()

    def keep(self, name: str, args: tuple[Any, ...], executable: Executable) -> None:
        """Writes a program that was compiled for arguments like these.

        What JAX's own cache gives is not kept: written again, it would load, and fail when it is run.
        """
        if not self._usable or jax_keeps_programs():
            return
        path = self._path(_key(name, args))
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                pickle.dump(serialize_executable.serialize(executable), file)
            os.replace(file.name, path)
        except Exception as error:  # whatever it is, the program itself works
            logger.warning("a compiled program cannot be kept: %s: %s", type(error).__name__, error)
            for left in self._folder.glob("tmp*"):
                left.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.program"


def jax_keeps_programs() -> bool:
    """Whether JAX has a cache of its own on disk, as the user or a mesh asked for."""
    return getattr(jax.config, "jax_compilation_cache_dir", None) is not None


def _load(path: Path) -> Program | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        program: Program = serialize_executable.deserialize_and_load(*pickle.loads(content))
    except Exception as error:  # whatever is wrong with the file, it can be compiled again
        logger.warning("a program that was kept cannot be used: %s: %s", type(error).__name__, error)
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
    return f"{backend.platform_version} {sorted(cpu_features())} {os.cpu_count()} {_n_usable_cpus()}"


def _n_usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_private(folder: Path) -> bool:
    """Makes the folder; whether it and the one above are the user's own, and nobody else may write there."""
    try:
        for made in (folder.parent, folder):  # of parents `mkdir` makes itself, others may write to
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = [path.stat() for path in (folder, folder.parent)]
    except OSError as error:
        logger.warning("compiled programs cannot be kept: %s", error)
        return False
    shared = stat.S_IWGRP | stat.S_IWOTH
    if any(one.st_mode & shared or (hasattr(os, "getuid") and one.st_uid != os.getuid()) for one in told):
        logger.warning("compiled programs are not kept: others may write to %s", folder.parent)
        return False
    return True


def _used_at(path: Path) -> int:
    """0 for what another process has just removed."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _remove_oldest(folder: Path) -> None:
    """Removes the programs that were not used for longest, such as those of earlier versions."""
    folders = sorted(folder.iterdir(), key=_used_at, reverse=True)
    for path in folders[_MAX_FOLDERS:]:
        shutil.rmtree(path, ignore_errors=True)
