"""Write requirements.lock and requirements-cuda.lock from pyproject.toml: names, versions and hashes only.

requirements.lock is what every machine installs. requirements-cuda.lock holds what the CUDA build of torch needs
besides; scripts/install.sh adds it where that is the build that was installed. One package provides `cv2`:
opencv-python, which insightface names, is left out. Versions that are locked already stay, with the hashes allowed for
them; without requirements.lock the newest are taken.

Usage: python scripts/lock.py [WHEEL ...]   (a WHEEL is a CPU build of torch whose hash is allowed too)
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

LOCKS = Path("requirements.lock"), Path("requirements-cuda.lock")


def parted(text: str) -> list[str]:
    """Return the entries of a lock: a package with its hashes each."""
    return re.split(r"\n(?=\S)", text.strip())


earlier = "".join(path.read_text() for path in LOCKS if path.exists())
with tempfile.TemporaryDirectory() as folder:
    overrides, output = Path(folder, "overrides.txt"), Path(folder, "requirements.txt")
    overrides.write_text(OVERRIDES)
    output.write_text(earlier)  # uv keeps the versions and hashes that it finds there
    command = "uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes"
    quiet = ["--no-annotate", "--no-header", "--quiet", "--overrides", str(overrides), "-o", str(output)]
    if subprocess.run([*command.split(), *quiet], check=False).returncode:
        sys.exit("lock.py: uv found no versions that fit together; the locks are as they were")
    entries = parted(output.read_text())

entries = [entry for entry in entries if "sys_platform == 'never'" not in entry]
for wheel in map(Path, sys.argv[1:]):
    extra = f" \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    entries = [e + extra if e.startswith(f"{wheel.name.split('-')[0]}==") else e for e in entries]
for path, cuda in zip(LOCKS, (False, True), strict=True):
    path.write_text("\n".join(e for e in entries if bool(CUDA.match(e)) == cuda) + "\n")
