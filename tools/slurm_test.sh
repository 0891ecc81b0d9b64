#!/usr/bin/env bash
# Test on a Slurm cluster:
#   bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# GPUS (in all, 8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and SRUN_ARGS (options in a shell's quotes)
# come from the environment.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo 'usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]' >&2
  exit 2
fi
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4

source "$(dirname -- "${BASH_SOURCE[0]}")/launcher.sh"
submit "$partition" "$job_name" "$root/tools/test.py" "$config" "$checkpoint" \
  --launcher slurm "$@"
