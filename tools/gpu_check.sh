#!/usr/bin/env bash
# What works on this machine's GPUs, in ten minutes: bash tools/gpu_check.sh
#   --dry-run        show what would be run, and the time of each part
#   --wheels FOLDER  install from the wheels in a folder, without a network
#   --minutes N      that it may take in all (10)
# The environment, .venv-gpu, is made once, with a CUDA build of torch and mmcv's CUDA operators
# compiled for this GPU alone; PYTHON and TORCH choose others than `make setup` does.
set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
fail() { echo "gpu_check: $*" >&2; exit 1; }

dry='' minutes=10
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=yes ;;
    --minutes) minutes=${2:-}; shift ;;
    --wheels)
      [ -d "${2:-}" ] || fail "--wheels: there is no folder ${2:-}"
      PIP_FIND_LINKS=$(realpath "$2"); export PIP_FIND_LINKS PIP_NO_INDEX=1; shift ;;
    *) fail "unknown option $1; see the head of tools/gpu_check.sh" ;;
  esac
  shift || fail 'an option lacks its value'
done

[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "--minutes: expected a whole number, got '$minutes'"
torch=${TORCH:-$(sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements.txt)}
if [ -n "$dry" ]; then
  echo "environment .venv-gpu: torch $torch, mmcv with CUDA operators (about 5 minutes on 16 cores)"
  exec "${PYTHON:-python3}" tools/gpu_check.py --dry-run
fi
nvidia-smi -L 2>/dev/null | grep -q GPU ||
  fail 'there is no NVIDIA GPU here (nvidia-smi lists none).'
command -v nvcc >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] ||
  fail "the CUDA toolkit (nvcc) is missing, which compiles mmcv's operators."

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u | paste -sd ';')
stamp=.venv-gpu/.setup-$(cat requirements.txt tools/setup.sh | cksum | cut -d ' ' -f 1)
if ! [ -f "$stamp" ]; then
  FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=$capability PIP_NO_CACHE_DIR=1 \
    bash tools/setup.sh .venv-gpu "$stamp" "$torch"
fi
exec .venv-gpu/bin/python tools/gpu_check.py --seconds $((60 * minutes - SECONDS))
