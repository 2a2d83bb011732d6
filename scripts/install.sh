#!/usr/bin/env bash
# Install the locked environment and this package into a virtual environment, with uv, or with pip if uv fails.
# Usage: scripts/install.sh FOLDER [PYTHON]         what the commands need
#        scripts/install.sh --dev FOLDER            what tests and documentation need besides
set -euo pipefail

installed() {  # print how many packages are there
  echo ": $(ls -d "$folder"/lib/python*/site-packages/*.dist-info 2>/dev/null | wc -l) packages"
}

ticking() {  # run a command, and say every ten seconds how long it has run and what the command `$1` prints
  local started=$SECONDS said=$1
  shift
  while sleep 10 &>/dev/null; do  # its output elsewhere, as it would hold a pipe open for ten seconds
    echo "  $((SECONDS - started)) s$($said)"
  done &
  ticker=$!  # not local: the trap runs outside the function
  trap 'kill $ticker' EXIT
  "$@"
  kill $ticker
  trap - EXIT
}

install() {  # install a lock
  echo "$1: installing up to $(grep -c '==' "$1") packages"
  ticking installed packages --require-hashes -r "$1"
}

compile() {  # keep the bytecode of what the stages import; to compile it takes longer than many a stage
  PYTHONDONTWRITEBYTECODE='' "$folder/bin/python" -c 'import torch._dynamo, pipeline.stages.evaluate, pipeline.stages.synthesize, pipeline.stages.train'
}

packages() {  # --no-deps: the lock is complete, and a resolver would add a second provider of `cv2`
  if [ -n "$uv" ]; then
    "$uv" pip install --quiet --python "$folder/bin/python" --no-deps "$@" && return
    echo "uv failed; pip installs instead, which takes longer"
    uv=
  fi
  # --no-compile: Python compiles a module when it is first imported; most never are.
  "${pip[@]}" --no-compile --no-deps "$@"
}

dev=false
if [ "$1" = --dev ]; then dev=true; shift; fi
folder=$1
python=${2:-python3}

if [ $dev = false ]; then
  "$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
  "$python" -m venv "$folder"
fi
pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check install)
if ! uv=$(command -v uv); then  # it takes a third of pip's time, so it comes first
  awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements-dev.lock >"$folder/uv.lock"
  if "${pip[@]}" --require-hashes -r "$folder/uv.lock"; then uv=$folder/bin/uv; fi
fi
# uv does not read pip's settings.
index=${PIP_INDEX_URL:-$("$folder/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
if [ $dev = true ]; then
  install requirements-dev.lock
  exit
fi
install requirements.lock
if "$folder/bin/python" -c 'from importlib.metadata import requires; exit(not any("nvidia" in r for r in requires("torch") or []))'; then
  install requirements-cuda.lock
fi
packages --no-build-isolation --editable .
echo "compiling what the stages import"
ticking true compile
