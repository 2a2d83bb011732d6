"""Time `make demo` in a fresh clone of the last commit, and the longest time in which it prints nothing.

python benchmarks/demo.py [BUSY]     (BUSY: loops that keep a core busy each beside it)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = ["make", "demo"]
LOOP = "while True: pass"


def main(busy: str = "0") -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(int(busy))]
        try:
            began = last = time.monotonic()
            silent, before, text = 0.0, "", ""
            # Not this interpreter's environment: the demo makes its own.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            process = subprocess.Popen(
                COMMAND, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
            )
            assert process.stdout is not None
            while chunk := os.read(process.stdout.fileno(), 65536):
                now = time.monotonic()
                if now - last > silent:
                    silent, before = now - last, text
                last, text = now, chunk.decode(errors="replace").strip()[-60:]
            if process.wait():
                raise SystemExit(f"{' '.join(COMMAND)} failed after: {text}")
            took = time.monotonic() - began
        finally:
            for loop in loops:
                loop.kill()
    print(f"{took:.0f} s beside {busy} busy loops; the longest silence was {silent:.1f} s, after: {before!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
