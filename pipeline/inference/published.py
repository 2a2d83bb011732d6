"""Models that come with the project, by name."""

from __future__ import annotations

from pathlib import Path

from pipeline.tables.paths import MODELS

FOLDER = Path(__file__).parents[2] / MODELS / "published"


def names() -> list[str]:
    """Return the names of the models that come with the project, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def located(model: str | Path) -> Path:
    """Return the file of a model that comes with the project, if `model` is its name and no file; else `model`."""
    path = Path(model)
    return FOLDER / f"{model}.safetensors" if not path.is_file() and str(model) in names() else path
