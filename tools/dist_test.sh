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

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ] && [ -x "$root/.venv/bin/python" ]; then PYTHON=$root/.venv/bin/python; fi

if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
  rendezvous=(--standalone) # on a free port
else
  rendezvous=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$processes" \
  "$root/tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
