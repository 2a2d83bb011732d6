"""Write the three locks from pyproject.toml: names, versions and hashes only.

requirements.lock is what every installation needs. requirements-dev.lock holds what the extra `dev` adds for tests and
documentation. requirements-cuda.lock holds what the CUDA build of torch needs besides; scripts/install.sh adds it where
that is the build that was installed.
Versions that are locked already stay, with the hashes allowed for them; without the locks the newest are taken.

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
torch==2.13.0
torchvision==0.28.0
"""
CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton)")
COMMAND = "uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header"

RUNTIME, DEV, GPU = LOCKS = [Path(f"requirements{of}.lock") for of in ("", "-dev", "-cuda")]


def entries(text: str) -> list[str]:
    """Return the entries of a lock: a package with its hashes each."""
    return [entry for entry in re.split(r"\n(?=\S)", text.strip()) if "sys_platform == 'never'" not in entry]


def resolved(folder: Path, locked: str, *options: str) -> str:
    """Return what uv locks; it keeps the versions and hashes in `locked`."""
    overrides, output = folder / "overrides.txt", folder / "requirements.txt"
    overrides.write_text(OVERRIDES)
    output.write_text(locked)
    quiet = ["--quiet", "--overrides", str(overrides), "-o", str(output)]
    if subprocess.run([*COMMAND.split(), *options, *quiet], check=False).returncode:
        sys.exit("lock.py: uv found no versions that fit together; the locks are as they were")
    return output.read_text()


def lock_of(entry: str, runtime: set[str]) -> Path:
    """Return the lock that holds an entry; `runtime` has the packages that every installation needs."""
    if CUDA.match(entry):
        return GPU
    return RUNTIME if entry.partition("==")[0] in runtime else DEV


earlier = "".join(path.read_text() for path in LOCKS if path.exists())
with tempfile.TemporaryDirectory() as scratch:
    everything = resolved(Path(scratch), earlier, "--extra", "dev")
    runtime = {entry.partition("==")[0] for entry in entries(resolved(Path(scratch), everything))}

found = entries(everything)
for wheel in map(Path, sys.argv[1:]):
    extra = f" \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    found = [e + extra if e.startswith(f"{wheel.name.split('-')[0]}==") else e for e in found]
for path in LOCKS:
    path.write_text("\n".join(entry for entry in found if lock_of(entry, runtime) == path) + "\n")
