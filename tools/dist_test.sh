#!/usr/bin/env bash
# Test with several processes, one per GPU, or on the CPU (gloo) where there is no GPU:
#   bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# On several nodes call it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo 'usage: bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]' >&2
  exit 2
fi
config=$1 checkpoint=$2 processes=$3
shift 3

source "$(dirname -- "${BASH_SOURCE[0]}")/launcher.sh"
distribute "$processes" "$root/tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
