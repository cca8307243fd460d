#!/usr/bin/env bash
# Writes constraints.txt anew: what a clean resolve of every extra but bench gives today, on Python 3.11.
set -euo pipefail
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
# A copy, so that the build leaves nothing behind in the tree.
mkdir "$scratch/source"
cp -R setup.py pyproject.toml MANIFEST.in LICENSE model pipelines transforms "$scratch/source"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$scratch/source[local,dev,dataflow]"
{
  echo "# Versions that were resolved and tested together, for a set-up that can be repeated."
  echo "# Written by scripts/lock.sh; change setup.py and run it again rather than editing this file."
  # pip itself is left out of a freeze, and with --all setuptools, a direct requirement, is in it.
  "$scratch/venv/bin/python" -m pip freeze --all | grep -v -i -E '^(pip|wheel|whisper-beam)[ =]|^-'
} >"$scratch/constraints.txt"
mv "$scratch/constraints.txt" constraints.txt
