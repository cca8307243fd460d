#!/usr/bin/env bash
# Transcribes on this machine. The first start sets everything up in .venv; needs Python 3.11 to 3.13.
#
#     ./run_local.sh                                            the samples, into ./out
#     ./run_local.sh talks/*.mp3 -o out                         your own; --help lists the options
set -euo pipefail

root=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
bash "$root/scripts/setup.sh" local

if [[ $# == 0 ]]; then
  set -- "$root/samples/manifest.jsonl" -o out
fi
exec "$root/.venv/bin/whisper-beam" transcribe "$@"
