"""Which methods there are: a switch's value is the name of a file in a folder."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

# The rooms whose modules are the values of a switch, and the block of params.yaml that holds their settings.
BLOCKS = {
    "augment": "augments",
    "loss": "losses",
    "model": "models",
    "optimizer": "optimizers",
    "gan": "gans",
}
FOLDERS = {
    "augment": "augment",
    "loss": "losses",
    "model": "networks",
    "optimizer": "optimizers",
    "gan": "gan",
    "dataset": "datasets",
    "detector": "faces/detectors",
}


def modules(switch: str) -> dict[str, Path]:
    """Return the modules in the folder of a switch, by name."""
    folder = Path(__file__).parent / FOLDERS[switch]
    return {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}


@cache
def choices(switch: str) -> tuple[str, ...]:
    """Return the allowed values of a switch: the modules in its folder.

    Networks come in families: there the values are the public functions of the modules.
    """
    if switch == "model":
        return tuple(sorted(name for path in modules(switch).values() for name in _functions(path)))
    return tuple(modules(switch))


def network_module(name: str) -> str:
    """Return the module in `pipeline/networks` that builds the network `name`."""
    return next(module for module, path in modules("model").items() if name in _functions(path))


def _functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
