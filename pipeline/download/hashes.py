"""Hashes of downloaded files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256(text: str) -> bool:
    """Return whether text is a SHA-256 in lower case."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None
