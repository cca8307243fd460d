#!/usr/bin/env bash
# Makes what a run needs, once: .venv with the project and the extras named, and ./samples.
#
#     scripts/setup.sh EXTRA...        (local, test, dev, bench: see setup.py)
#
# PYTHON names the interpreter to make .venv with. An existing .venv is used as it is, unless its set-up was
# broken off: then it is made anew.
set -euo pipefail

root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
incomplete=$venv/.set-up-incomplete

die() {
  printf 'whisper-beam: %s\n' "$1" >&2
  exit 1
}

# What an installation depends on. Each extra keeps a copy in .venv, written last; same copy, nothing to do.
fingerprint() {
  printf '%s\n' "$root"
  cat "$root/setup.py" "$root/pyproject.toml" "$root/constraints.txt"
}

installed() {
  local extra
  [[ ! -e $incomplete ]] || return 1
  for extra in "$@"; do
    fingerprint | cmp -s - "$venv/.set-up-$extra" || return 1
  done
}

supported() {
  "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    supported "$PYTHON" || die "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13 with the venv module."
    printf '%s' "$PYTHON"
    return
  fi
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if supported "$candidate"; then
      printf '%s' "$candidate"
      return
    fi
  done
  die "needs Python 3.11, 3.12 or 3.13 with the venv module (on Debian: apt install python3-venv);\
 if it is not on the PATH, name it: PYTHON=/path/to/python3.11."
}

# Runs a command, and shows what it printed only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  [[ $status == 0 ]] || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

make_venv() {
  local base
  base=$(find_python)
  echo "Making .venv with $("$base" --version)"
  quietly "$base" -m venv --clear "$venv" || die "$base could not make $venv; its reason is above."
}

install() {
  local extras extra
  extras=$(IFS=,; printf '%s' "$*")
  if [[ -e $incomplete ]] || ! "$python" -m pip --version >/dev/null 2>&1; then
    make_venv
  fi
  touch "$incomplete"
  echo "Installing whisper-beam with its dependencies for: $* (once; some minutes)"
  quietly "$python" -m pip install --disable-pip-version-check --quiet \
    --editable "$root[$extras]" --constraint "$root/constraints.txt" ||
    die "pip could not install the dependencies; its reason is above. Mend it and give the command again."
  for extra in "$@"; do
    fingerprint >"$venv/.set-up-$extra"
  done
  rm "$incomplete"
}

fetched() {
  [[ -e $root/samples/manifest.jsonl ]] # written last
}

if installed "$@" && fetched; then
  exit
fi
# Two first starts at once take turns. macOS has no flock; there it is for the person to wait.
if command -v flock >/dev/null; then
  exec 9<"$root/setup.py"
  flock -n 9 || { echo "Waiting for another set-up to end" && flock 9; }
fi
installed "$@" || install "$@"
if ! fetched; then
  echo "Fetching the sample recordings into samples/"
  "$python" "$root/scripts/fetch_samples.py" "$root/samples"
fi
