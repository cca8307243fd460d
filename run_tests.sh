#!/usr/bin/env bash
# Runs every check, in .venv, which the first start sets up. Arguments go to pytest: ./run_tests.sh -k merge
#
#     ./run_tests.sh prism      runs on Prism, which is built with Go
#     ./run_tests.sh flink      runs on Flink, whose job server Maven downloads
set -euo pipefail

cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
bash scripts/setup.sh local test

python=.venv/bin/python
failed=()
# For the many processes that the tests start, too.
unset PYTHONDONTWRITEBYTECODE
# Tests wait a good part of their time, so there is a process more than there are processors. Each takes up to
# 3.5 GB. The tests of a file stay together, as they share servers and models.
processes=$(($(getconf _NPROCESSORS_ONLN) + 1))
export PYTEST_XDIST_AUTO_NUM_WORKERS=${PYTEST_XDIST_AUTO_NUM_WORKERS:-$((processes < 3 ? processes : 3))}
parallel=(-n auto --dist loadfile --no-loadscope-reorder)

check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
}

# Tests that are skipped, where the runner is not available, have not passed.
on_runner() {
  local name=$1 output status=0
  shift
  printf '\n== pytest on %s\n' "$name"
  output=$("$python" -m pytest -rs "tests/runners/test_$name.py" "$@" 2>&1) || status=$?
  printf '%s\n' "$output"
  if ((status == 0)) && ! grep -qE '[0-9]+ passed' <<<"$output"; then
    echo "SKIPPED: the runs on $name (see above why)"
  fi
  exit "$status"
}

# Tests that need a program which is not installed are skipped, too.
report_skipped() {
  if [[ -z $(type -P chromium chromium-browser google-chrome) ]]; then
    echo "SKIPPED: the server's page in a browser (no chromium or google-chrome is installed)"
  fi
  type -P node npm >/dev/null ||
    echo "SKIPPED: the server with OpenAI's client in JavaScript (node or npm is not installed)"
  type -P curl >/dev/null ||
    echo "SKIPPED: the server with the commands of docs/server.md (curl is not installed)"
}

case ${1:-} in
prism | flink) on_runner "$@" ;;
esac

check "ruff check" "$python" -m ruff check
check "ruff format" "$python" -m ruff format --check
check "mypy" "$python" -m mypy
check "import-linter" "$python" .venv/bin/lint-imports
check "pytest" "$python" -m pytest "${parallel[@]}" "$@"

echo
report_skipped
if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "All checks passed."
