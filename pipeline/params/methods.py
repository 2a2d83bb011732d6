"""The allowed values of each switch in `params.yaml`."""

from __future__ import annotations

from functools import cache

from pipeline.core.code import modules
from pipeline.params.augments import Augments
from pipeline.params.gans import Generators
from pipeline.params.losses import Losses
from pipeline.params.models import Models
from pipeline.params.optimizers import Optimizers
from pipeline.params.types import Block

# The block of params.yaml with the settings of a switch's methods. It has the name of their folder.
BLOCKS = {
    "augment": "augments",
    "loss": "losses",
    "model": "models",
    "optimizer": "optimizers",
    "gan": "gans",
}
_SETTINGS: dict[str, type[Block]] = {
    "augment": Augments,
    "loss": Losses,
    "model": Models,
    "optimizer": Optimizers,
    "gan": Generators,
}
_ROOMS = {"dataset": "datasets", "detector": "faces/detectors"}


@cache
def choices(switch: str) -> tuple[str, ...]:
    """Return the allowed values of a switch, sorted.

    Methods are allowed if they have a settings class, data sets and detectors if they have a module.
    """
    if switch in _ROOMS:
        return modules(_ROOMS[switch])
    return tuple(sorted(_SETTINGS[switch].model_fields))
