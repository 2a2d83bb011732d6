"""Read from `models.<name>.weights` which weights a network starts from. This module does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.tables.paths import CLASSIFIER

SAFE, PICKLED = (".safetensors",), (".pth", ".pth.tar", ".pkl", ".pt", ".bin")


def choices_by_part(settings: Any) -> dict[str, str]:
    """Return, for each part of a network, the chosen weights: the name of published weights, or a path.

    The part "" is the whole network. Parts with fresh weights are left out.
    """
    chosen = getattr(settings, "weights", None)
    by_part = chosen if isinstance(chosen, dict) else {"": chosen}
    return {part: choice for part, choice in by_part.items() if choice is not None}


def key_of(name: str, part: str) -> str:
    """Return the key in `params.yaml` that names the weights of a network or its part."""
    return f"params.yaml: models.{name}.weights.{part}".rstrip(".")


def is_file(choice: str) -> bool:
    """Return whether chosen weights are a file, not the name of published weights."""
    return choice.endswith(SAFE + PICKLED)


def files(settings: Any) -> list[Path]:
    """Return the weight files that a network's settings name."""
    return [Path(choice) for choice in choices_by_part(settings).values() if is_file(choice)]


def existing(choice: str, key: str) -> Path:
    """Return the path of a weight file.

    Raises:
        UserError: it does not exist, or DVC removes it before it is read.
    """
    path = Path(choice)
    if path.resolve() == CLASSIFIER.resolve():
        raise UserError.of(key, repr(choice), "a copy elsewhere: DVC removes this one before training")
    if not path.is_file():
        raise UserError.of(key, repr(choice), "a file that exists")
    return path
