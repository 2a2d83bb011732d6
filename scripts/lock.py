"""Write requirements.lock and requirements-cuda.lock from pyproject.toml: names, versions and hashes only.

requirements.lock is what every machine installs. requirements-cuda.lock holds what the CUDA build of torch needs
besides; scripts/install.sh adds it where that is the build that was installed. One package provides `cv2`:
opencv-python, which insightface names, is left out.

Usage: python scripts/lock.py [WHEEL ...]   (needs uv; a WHEEL is a CPU build of torch whose hash is allowed too)
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The torch and torchvision that the figures in the documentation were measured with.
OVERRIDES = """\
opencv-python; sys_platform == 'never'
opencv-python-headless
torch==2.13.0
torchvision==0.28.0
"""
CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton)")

with tempfile.TemporaryDirectory() as folder:
    overrides = Path(folder, "overrides.txt")
    overrides.write_text(OVERRIDES)
    command = "uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes"
    quiet = ["--no-annotate", "--no-header", "--quiet", "--overrides", str(overrides)]
    text = subprocess.run([*command.split(), *quiet], check=True, capture_output=True, text=True).stdout

entries = re.split(r"\n(?=\S)", text.strip())
entries = [entry for entry in entries if "sys_platform == 'never'" not in entry]
for wheel in map(Path, sys.argv[1:]):
    extra = f" \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    entries = [e + extra if e.startswith(f"{wheel.name.split('-')[0]}==") else e for e in entries]
Path("requirements.lock").write_text("\n".join(e for e in entries if not CUDA.match(e)) + "\n")
Path("requirements-cuda.lock").write_text("\n".join(e for e in entries if CUDA.match(e)) + "\n")
