# shellcheck shell=bash
# What the launch scripts share; they source it. Gives root, the project's folder, and PYTHON.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python
  if [ -x "$root/.venv/bin/python" ]; then PYTHON=$root/.venv/bin/python; fi
fi

# number NAME VALUE [LEAST]: the value; stop where it is none in plain digits, or below LEAST (1).
number() {
  if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || [ "$2" -lt "${3:-1}" ]; then
    printf 'error: %s: expected a whole number from %s up, got %q\n' "$1" "${3:-1}" "$2" >&2
    exit 2
  fi
  printf '%s' "$2"
}

# distribute PROCESSES COMMAND...: run it by torchrun, on this node or the one that NNODES,
# NODE_RANK, MASTER_ADDR and PORT say.
distribute() {
  local processes nodes rank port
  processes=$(number PROCESSES "$1")
  nodes=$(number NNODES "${NNODES:-1}")
  rank=$(number NODE_RANK "${NODE_RANK:-0}" 0)
  port=$(number PORT "${PORT:-29500}")
  local rendezvous=(--standalone) # on a free port
  if [ "$nodes" -gt 1 ] || [ -n "${PORT:-}" ]; then
    rendezvous=(--nnodes="$nodes" --node_rank="$rank"
      --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port")
  fi
  exec "$PYTHON" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$processes" "${@:2}"
}

# submit PARTITION JOB_NAME COMMAND...: run it by srun. GPUS (in all, 8), GPUS_PER_NODE (8) and
# CPUS_PER_TASK (5) come from the environment, and SRUN_ARGS, options in a shell's quotes.
submit() {
  local gpus per_node cpus words options=()
  gpus=$(number GPUS "${GPUS:-8}")
  per_node=$(number GPUS_PER_NODE "${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}")
  cpus=$(number CPUS_PER_TASK "${CPUS_PER_TASK:-5}")
  words=$(xargs -r printf '%s\n' <<<"${SRUN_ARGS:-}") # reads quotes and runs nothing
  if [ -n "$words" ]; then mapfile -t options <<<"$words"; fi
  exec srun --partition="$1" --job-name="$2" --gres=gpu:"$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="$cpus" --kill-on-bad-exit=1 "${options[@]}" \
    "$PYTHON" -u "${@:3}"
}
