#!/usr/bin/env bash
# Transcribes on this machine. The first start sets everything up in .venv; needs Python 3.11 to 3.13.
#
#     ./run_local.sh                                            the samples, into ./out
#     ./run_local.sh --input 'talks/**/*.mp3' --output out      your own; --help lists the options
set -euo pipefail

root=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
bash "$root/scripts/setup.sh" local

if [[ $# == 0 ]]; then
  set -- --input "$root/samples/manifest.jsonl" --output out --model openai/whisper-base
fi
# The caller's folder stays off the import path: a `model/` there must not be taken for ours.
export PYTHONSAFEPATH=1
exec "$root/.venv/bin/python" -m pipelines.transcribe "$@"
