#!/usr/bin/env bash
# Train with several processes, one per GPU, or on the CPU (gloo) where there is no GPU:
#   bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# On several nodes call it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo 'usage: bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]' >&2
  exit 2
fi
config=$1 processes=$2
shift 2

source "$(dirname -- "${BASH_SOURCE[0]}")/launcher.sh"
distribute "$processes" "$root/tools/train.py" "$config" --launcher pytorch "$@"
