"""The settings of `params.yaml` as one flat mapping by dotted key, and which of them can change a result."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pipeline.params.methods import BLOCKS, choices
from pipeline.params.model import Params
from pipeline.params.types import Before, Block

# params.yaml as the project ships it, copied by `make pages`. The user's own file may have other values.
SHIPPED = Path(__file__).with_name("shipped.yaml")

# Settings of the machine: how fast a run is, not what it finds.
MACHINE = frozenset(
    {
        "engine",
        "gans.processes",
        "memory",
        "train.checkpoint_seconds",
        "train.compile",
        "train.device",
        "train.precision",
        "train.torchrun",
        "train.workers",
        "workers",
    }
)


def flat(document: dict[str, Any], model: type[Block] = Params) -> dict[str, Any]:
    """Return the settings of a parsed `params.yaml` by dotted key.

    A mapping that is a value and not a block, such as `labels.merge`, stays whole. So does an empty block.
    """
    settings: dict[str, Any] = {}
    blocks = _blocks(model)
    for name, value in document.items():
        if value and name in blocks and isinstance(value, dict):
            settings |= {f"{name}.{key}": inner for key, inner in flat(value, blocks[name]).items()}
        else:
            settings[name] = value
    return settings


def completed(content: dict[str, Any], model: type[Block]) -> dict[str, Any]:
    """Return settings that an earlier version wrote, with the keys that were added since (`Before`).

    What is no block stays as it is: validation refuses it.
    """
    added = {
        name: mark.value
        for name, field in model.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Before)
    }
    inner = {
        name: completed(content[name], block)
        for name, block in _blocks(model).items()
        if isinstance(content.get(name), dict)
    }
    return added | content | inner


@cache
def _blocks(model: type[Block]) -> dict[str, type[Block]]:
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in fields.items() if isinstance(kind, type) and issubclass(kind, Block)}


def in_use(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the blocks of methods that are not chosen, and that of the sample if it is not among the data sets."""
    unused = [
        f"{block}.{name}."
        for switch, block in BLOCKS.items()
        for name in choices(switch)
        if name != settings.get(switch)
    ]
    datasets = settings.get("datasets")
    if (
        not isinstance(datasets, list) or "sample" not in datasets
    ):  # a recipe may have a value that is not allowed
        unused.append("sample.")
    return {key: value for key, value in settings.items() if not key.startswith(tuple(unused))}
