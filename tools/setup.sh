#!/usr/bin/env bash
# Make the virtual environment: tools/setup.sh VENV STAMP TORCH_VERSION (`make setup` calls it).
# STAMP is written last, and each step may be repeated: an interrupted set-up goes on where it was.
set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
venv=$1 stamp=$2 torch=$3

fail() { echo "make setup: $*" >&2; exit 1; }
supported='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
headers='import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))'

python=''
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3}; do
  if "$name" -c "$supported" 2>/dev/null; then python=$name; break; fi
done
[ -n "$python" ] || fail "Python 3.10 to 3.13 is needed, and none of ${PYTHON:-python3.11," \
  "python3.12, python3.13, python3.10, python3} is that; name one:" \
  'make setup PYTHON=/path/to/python3.11'
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python has no venv module; install it (Debian and Ubuntu: the package python3-venv)."
"$python" -c "$headers" 2>/dev/null || fail "$python has no C headers (Python.h), which compiling" \
  'mmcv takes; install them (Debian and Ubuntu: the package python3-dev).'
command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler (${CXX:-c++}), which compiling mmcv" \
  'takes; install one (Debian and Ubuntu: the package g++).'
there=$(du -sk "$venv" 2>/dev/null | cut -f1 || true)
free=$(df -Pk . | awk 'NR == 2 {print $4}')
[ $((free + ${there:-0})) -ge 6000000 ] || fail 'the installation takes up to 6 GB of disk,' \
  "and only $((free / 1000000)) GB are free here."

rm -f "$venv"/.setup-*
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv"
"$venv/bin/python" -c "$supported" || fail "$venv was made with another Python; remove it and repeat."
sed "s/^torch==[^ ]*/torch==$torch/" requirements.txt >"$venv/requirements.txt"
log=$venv/setup.log
: >"$log"

job=''
headers=$(mktemp -d)
trap '[ -z "$job" ] || kill -- "-$job" 2>/dev/null || true; rm -rf "$headers"' EXIT
trap 'exit 130' INT TERM

# step TEXT COMMAND...: run it, its output in the log; one line tells how long it has run.
step() {
  local text=$1 start=$SECONDS line=''
  shift
  set -m # in a process group of its own, so that all of it ends when this script does
  "$@" >>"$log" 2>&1 &
  job=$!
  set +m
  while kill -0 "$job" 2>/dev/null; do
    line="$text: $((SECONDS - start)) s$(compiled $((SECONDS - start)))"
    printf '\r%-79s' "$line"
    sleep 0.5
  done
  wait "$job" || { job=''; printf '\n'; fail "${text#* } failed; $log says why. Its last words:" \
    "$(tail -n 3 "$log")"; }
  job=''
  printf '\r%-79s\n' "$text: $((SECONDS - start)) s"
}

# compiled SECONDS: how many files of a running compilation are done, and the time that is left.
compiled() {
  local count ready all
  count=$(grep -aoE '^ *\[[0-9]+/[0-9]+\] ' "$log" | tail -n 1 | tr -d ' []')
  [ -n "$count" ] || return 0
  ready=${count%/*} all=${count#*/}
  [ "$ready" -eq "$all" ] || printf ', %s of %s files compiled, about %s s left' \
    "$ready" "$all" $(($1 * (all - ready) / ready))
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
install() { pip install --constraint "$venv/requirements.txt" "$@"; }

step "[1/5] torch $torch" install torch setuptools wheel ninja numpy
# pip's cache doesn't tell one torch from another: only the mmcv of the pinned torch belongs there.
cache=()
grep -q "^torch==$torch\b" requirements.txt || cache=(--no-cache-dir)
# CFLAGS replaces Python's own flags: these without information for debuggers, which doubles the time
# to compile. Each of mmcv's 77 files reads torch's headers; compiled once, they save the rest.
flags="-O3 -DNDEBUG -fwrapv -g0 ${CFLAGS:-}"
CFLAGS=$flags step "[2/5] torch's headers, compiled" \
  "$venv/bin/python" tools/mmcv_build/precompile_headers.py "$headers"
compile_mmcv() {
  CFLAGS="$flags -include $headers/torch.h" PYTHONPATH=$PWD/tools/mmcv_build \
    install --verbose --no-deps --no-build-isolation "$@" mmcv
}
step '[3/5] mmcv, compiled from source the first time' compile_mmcv "${cache[@]}"
# These ask for what is not wanted (a second opencv, an older torch or numpy): what they do need is
# in requirements.txt.
alone=(torchjd mmengine mmdet3d lyft_dataset_sdk nuscenes-devkit)
pattern=$(IFS='|'; echo "${alone[*]}")
: >"$log" # the lines that count files
step '[4/5] everything else' install --no-build-isolation \
  --requirement <(grep -vE "^($pattern|mmcv)\b" "$venv/requirements.txt")
step '[5/5] OpenMMLab' install --no-deps "${alone[@]}"
# An mmcv that something else left in the cache, compiled against another torch: compile it anew.
"$venv/bin/python" -c 'import mmcv.ops' >>"$log" 2>&1 ||
  step 'mmcv anew, against this torch' compile_mmcv --force-reinstall --no-cache-dir
"$venv/bin/python" -c 'import mmcv.ops' >>"$log" 2>&1 || fail "mmcv's operators cannot be loaded;" \
  "$log says why. Its last words: $(tail -n 1 "$log")"
touch "$stamp"
