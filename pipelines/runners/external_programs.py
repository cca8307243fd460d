"""Programs of this machine that runners need: how they are run, and how what they create is kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from transforms.core.redaction import redact

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAX_OUTPUT = 400  # characters of a command's output in an error message


class RunnerError(RuntimeError):
    """A requirement of a runner is missing on this machine, or its job server was lost."""


@contextmanager
def created_once(path: Path, verb: str) -> Iterator[Path | None]:
    """Yields a folder in which to create a file or folder, which is then moved to its path.

    None where the path exists already, also if another process has just created it.

    Args:
        path: the path.
        verb: such as `Fetching`, for the message on standard error.

    Raises:
        RunnerError: nothing of that name was created.
    """
    if path.exists():
        yield None
        return
    print(f"{verb} {path.name} into {path.parent}, once; this may take minutes", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial") as folder:
        yield Path(folder)
        made = Path(folder, path.name)
        if not made.exists():
            raise RunnerError(f"{path.name} was not created, although the command succeeded")
        try:
            made.replace(path)
        except OSError:  # a folder that another process has just created
            if not path.exists():
                raise


def run_command(command: Sequence[str], limit_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command; returns its output in one line.

    Raises:
        RunnerError: it cannot be run, failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunnerError(redact(f"{command[0]} does not work: {error}")) from error
    lines = _COLOURS.sub("", done.stdout.decode(errors="replace")).splitlines()
    words = " ".join(line for line in lines if not line.startswith("go: downloading")).split()
    output = redact(" ".join(words))[:_MAX_OUTPUT]
    if done.returncode:
        raise RunnerError(f"{command[0]} failed: {output}")
    return output
