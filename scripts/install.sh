#!/usr/bin/env bash
# Install the locked environment and this package into a virtual environment, with uv if it is found, else with pip.
# Usage: scripts/install.sh FOLDER [PYTHON]         what the commands need
#        scripts/install.sh --dev FOLDER            what tests and documentation need besides
set -euo pipefail

installed() {  # print the number of packages
  ls -d "$folder"/lib/python*/site-packages/*.dist-info 2>/dev/null | wc -l
}

install() {  # install a lock, and say every ten seconds how far it is
  local lock=$1 locked started=$SECONDS total
  locked=$(grep -c '==' "$lock")
  total=$(($(installed) + locked))
  echo "$lock: installing up to $locked packages"
  while sleep 10 &>/dev/null; do  # its output elsewhere, as it would hold a pipe open for ten seconds
    echo "  $((SECONDS - started)) s: $(installed) of about $total packages"
  done &
  ticker=$!  # not local: the trap runs outside the function
  trap 'kill $ticker' EXIT
  # --no-deps: the lock is complete, and a resolver would add a second provider of `cv2`.
  "${installer[@]}" --no-deps --require-hashes -r "$lock"
  kill $ticker
  trap - EXIT
}

dev=false
if [ "$1" = --dev ]; then dev=true; shift; fi
folder=$1
python=${2:-python3}

if [ $dev = false ]; then
  "$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
  "$python" -m venv "$folder"
fi
if command -v uv >/dev/null; then
  installer=(uv pip install --quiet --python "$folder/bin/python")
else
  # --no-compile: Python compiles a module when it is first imported; most never are.
  installer=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile)
fi
if [ $dev = true ]; then
  install requirements-dev.lock
  exit
fi
install requirements.lock
if "$folder/bin/python" -c 'from importlib.metadata import requires; exit(not any("nvidia" in r for r in requires("torch") or []))'; then
  install requirements-cuda.lock
fi
"${installer[@]}" --no-deps --no-build-isolation --editable .
