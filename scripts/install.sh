#!/usr/bin/env bash
# Install the locked environment and this package into a virtual environment.
# Usage: scripts/install.sh FOLDER [PYTHON]
set -euo pipefail
folder=$1
python=${2:-python3}

"$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
"$python" -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
# --no-deps: the lock is complete, and pip would otherwise add a second provider of `cv2`.
"${pip[@]}" --require-hashes -r requirements.lock
if "$folder/bin/python" -c 'from importlib.metadata import requires; exit(not any("nvidia" in r for r in requires("torch") or []))'; then
  "${pip[@]}" --require-hashes -r requirements-cuda.lock
fi
"${pip[@]}" --no-build-isolation --editable .
