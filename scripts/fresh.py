"""Say whether dvc.lock is what a run of this commit would write; without any data, so that a pull request is checked.

`dvc repro --dry --allow-missing` answers in its text: its exit code is 0 where a stage would run and has its inputs
at hand. It passes over every file that is missing, data or not, so what git should hold is looked at besides. The stage
`check` does not count: it runs again after any edit of params.yaml, and always writes the same file.

Usage: python scripts/fresh.py   (`make fresh` calls it)
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

CHECK = "check"
NAMED = re.compile(r"Running stage '(.+?)'|Stage '(.+?)' is cached|failed to reproduce '(.+?)'")
MISSING = ("deleted", "not in cache")


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC, this interpreter's."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)


def is_data(path: str) -> bool:
    """Return whether git ignores a path, which may be a folder's: DVC or the user keeps it."""
    return subprocess.run(["git", "check-ignore", "--quiet", f"{path}/"]).returncode == 0


def locked() -> set[str]:
    """Return the stages that dvc.lock knows."""
    path = Path("dvc.lock")
    return set(YAML(typ="safe").load(path)["stages"]) if path.exists() else set()


def reasons(status: dict[str, list[str | dict]], known: set[str]) -> list[str]:
    """Return what has changed, a line for each stage, parameter, file or command that differs from dvc.lock."""
    lines = []
    for stage, entries in status.items():
        if stage not in known:
            lines.append(f"{stage}: is not in dvc.lock")
            continue
        for entry in entries:
            if isinstance(entry, str):
                lines.append(f"{stage}: {entry}")
                continue
            for kind, paths in entry.items():
                for path, state in paths.items():
                    if isinstance(state, dict):  # a file of parameters
                        lines += [f"{stage}: {path}: {key} is {what}" for key, what in state.items()]
                    elif state not in MISSING or not is_data(path):
                        lines.append(f"{stage}: {kind}: {path} is {state}")
    return lines


def main() -> str | int:
    """Return 0, or what is to be said about a lock that is stale."""
    dry, status = dvc("repro", "--dry", "--allow-missing"), dvc("status", "--json")
    if status.returncode:
        return status.stderr.strip()
    states = json.loads(status.stdout)
    states.pop(CHECK, None)
    found = reasons(states, locked())
    stages = ["".join(names) for names in NAMED.findall(dry.stdout + dry.stderr)]
    stages = [name for name in stages if name != CHECK]
    if dry.returncode == 0 and not stages and not found:
        print("dvc.lock is what a run of this commit would write.")
        return 0
    first = f"; first to run: {', '.join(stages)}" if stages else ""
    told = found or [dry.stdout.strip(), dry.stderr.strip()]
    return "\n".join(
        [
            f"dvc.lock is stale{first}",
            *told,
            "`dvc repro`, then commit dvc.lock and metrics/, and `dvc push`.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
