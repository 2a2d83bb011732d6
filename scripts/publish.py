"""Put a trained model among those that come with the project, with packed weights.

    python -m scripts.publish models/classifier.safetensors ferplus

Write its card, models/published/<name>.md, by hand.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import typer

from pipeline.inference.model_file import load, save
from pipeline.inference.published import FOLDER


def main(model: Path, name: str) -> None:
    """Write models/published/<name>.safetensors, and print its size and hash."""
    path = FOLDER / f"{name}.safetensors"
    save(path, load(model, torch.device("cpu")), small=True)
    typer.echo(
        f"{path}: {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    typer.run(main)
