#!/usr/bin/env bash
# Runs every check, in .venv, which the first start sets up. Arguments go to pytest: ./run_tests.sh -k merge
set -euo pipefail

cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
bash scripts/setup.sh local test

python=.venv/bin/python
failed=()

check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
}

check "ruff check" "$python" -m ruff check
check "ruff format" "$python" -m ruff format --check
check "mypy" "$python" -m mypy
check "import-linter" "$python" .venv/bin/lint-imports
check "pytest" "$python" -m pytest "$@"

echo
if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "All checks passed."
