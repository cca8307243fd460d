"""The cache folder on disk, for compiled programs and job servers."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `WHISPER_BEAM_CACHE` of the environment, or else `whisper-beam` in the user's cache folder."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper-beam"
    return Path(os.environ.get("WHISPER_BEAM_CACHE") or caches)
