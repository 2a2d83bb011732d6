"""The JSON files of DVC and of its queue: find damaged ones and put them aside.

DVC's workers exchange messages in files. Before a worker writes a file, it empties the file and then locks it. If
another worker reads the file in between, it finds the file empty and ends with `Unrecoverable error: JSONDecodeError`.
A kill or a full disk leaves files that are cut off. They end every later worker, and many of DVC's commands, with the
same error.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

FOLDER = Path(".dvc/tmp")
MOMENT = 0.5  # seconds in which a file that is being written becomes whole
PATTERNS = (
    "rwlock",  # which command of DVC reads or writes which path
    "exps/celery/broker/*/*",  # messages to workers, messages that they have taken, and which worker reads what
    "exps/celery/result/celery-task-meta-*",  # which runs have ended
    "exps/run/*/*.json",  # exit codes
    "exps/run/*/*.run",  # where the copy of the project is
)


def damaged(folder: Path = FOLDER) -> list[Path]:
    """Return the files in DVC's folder `tmp` that are not whole, and are not being written."""
    files = [file for pattern in PATTERNS for file in folder.glob(pattern) if not _is_whole(file)]
    if files:
        time.sleep(MOMENT)
    return [file for file in files if not _is_whole(file)]


def put_damaged_files_aside(folder: Path) -> None:
    """Move the damaged files in DVC's folder `tmp` into the folder `exps/damaged`, and say so on standard error."""
    for file in damaged(folder):
        target = folder / "exps/damaged" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        print(f"DVC: found a damaged file, moved it to {target}", file=sys.stderr)


def _is_whole(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_bytes()), dict | list)
    except FileNotFoundError:  # a worker has just taken it
        return True
    except ValueError:
        return False
