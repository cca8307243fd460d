"""Node with OpenAI's client, which npm installs once into a folder of pytest's cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

OPENAI_VERSION = "6.49.0"
INSTALL_S = 120


def folder_with_openai(cache: pytest.Cache) -> Path:
    """Returns a folder in which scripts can import `openai`; skips the test where there can be none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folder = cache.mkdir(f"openai-node-{OPENAI_VERSION}")
    if not (folder / "node_modules" / "openai" / "index.mjs").exists():
        _install(folder)
    return folder


def run_script(folder: Path, script: str, cwd: Path, timeout_s: float = 60) -> str:
    """Runs an ES module in the folder `cwd`, and returns what it printed."""
    path = folder / "script.mjs"
    path.write_text(script, "utf-8")
    done = subprocess.run(
        ["node", str(path)], cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _install(folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]
    try:
        done = subprocess.run(
            [*command, "--prefix", str(folder), f"openai@{OPENAI_VERSION}"],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not install openai within {INSTALL_S} s")
    if done.returncode:
        pytest.skip(f"npm cannot install openai: {done.stderr.strip()[-500:]}")
