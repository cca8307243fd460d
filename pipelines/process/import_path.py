"""The import path of a program: without the working directory, which may hold modules of the same names."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def leave_out_working_directory() -> None:
    """Removes the working directory from the import path, unless this package itself is in it.

    `python -m` puts it first, and a `model.py` or `transforms/` there would be imported instead of ours.
    Worker processes that are started later leave it out, too (PYTHONSAFEPATH).
    """
    working_directory = os.getcwd()
    if Path(__file__).parents[2] == Path(working_directory):
        return
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    if not sys.flags.safe_path and sys.path[:1] in ([""], [working_directory]):
        del sys.path[0]
