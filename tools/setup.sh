#!/usr/bin/env bash
# Make the virtual environment: tools/setup.sh VENV STAMP TORCH_VERSION (`make setup` calls it).
# STAMP is written last, and each step may be repeated: an interrupted set-up goes on where it was.
set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
venv=$1 stamp=$2 torch=$3

fail() { echo "make setup: $*" >&2; exit 1; }
supported='import sys; sys.exit(sys.version_info[:2] not in {(3, 10), (3, 11)})'
headers='import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))'

python=''
for name in ${PYTHON:-python3.11 python3.10 python3}; do
  if "$name" -c "$supported" 2>/dev/null; then python=$name; break; fi
done
[ -n "$python" ] || fail "Python 3.10 or 3.11 is needed, and none of ${PYTHON:-python3.11," \
  "python3.10, python3} is that; name one: make setup PYTHON=/path/to/python3.11"
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
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
install() { pip install --constraint "$venv/requirements.txt" "$@"; }

echo "[1/4] torch $torch"
install torch setuptools wheel ninja numpy
echo '[2/4] mmcv: compiled from source the first time, which takes about 11 minutes on 2 cores'
# pip's cache doesn't tell one torch from another: only the mmcv of the pinned torch belongs there.
cache=()
grep -q "^torch==$torch\\b" requirements.txt || cache=(--no-cache-dir)
install --no-build-isolation "${cache[@]}" mmcv
echo '[3/4] everything else: about 2 minutes'
install --no-build-isolation --requirement <(grep -v '^torchjd' "$venv/requirements.txt")
install --no-deps torchjd # it asks for torch 2.3, and runs on 2.1
echo '[4/4] opencv without libGL, and a first import of the compiled operators'
pip uninstall --yes opencv-python
install --force-reinstall --no-deps opencv-python-headless
# An mmcv that something else left in the cache, compiled against another torch: compile it anew.
"$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null ||
  install --force-reinstall --no-deps --no-build-isolation --no-cache-dir mmcv
"$venv/bin/python" -c 'import mmcv.ops'
touch "$stamp"
