"""Checkpoints: everything the next step depends on, in one file that is whole or not there.

The file is written under a temporary name, synced and renamed, so a run killed while writing keeps the one
before. It is a safetensors file and loads without pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from pipeline.core import files
from pipeline.core.code import sources
from pipeline.params.model import Params

# Rooms whose code decides how a training run goes.
CODE = ("core", "tables", "params", "methods", "inference", "training")
# Parameters of training that only say how it is carried out: a run may go on with others.
UNNAMED = {"checkpoint_seconds", "workers", "torchrun"}


def fingerprint(params: Params, inputs: Iterable[Path]) -> str:
    """Return a hash of all that decides how a run goes: its parameters, its input files and the code behind it.

    A checkpoint is named by it, so a run never resumes from one that belongs to other settings.
    """
    relevant = params.model_dump(exclude={"evaluate": True, "train": UNNAMED})
    words = (json.dumps(relevant, sort_keys=True), torch.__version__)
    return files.fingerprint(words, [*inputs, *sources(*CODE, "stages/train.py")])


def store(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON-serialisable description of the rest."""
    data = save({k: v.detach().contiguous() for k, v in tensors.items()}, {"about": json.dumps(about)})
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())  # hours of work, even where the machine itself goes down


def restore(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `store` wrote; None if there is nothing, or nothing readable."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, json.loads(file.metadata()["about"])
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under `prefix.`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors stored by `prefixed`, without the prefix."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors; its settings follow from the parameters and the step.

    The steps done, which some optimisers count in the groups of parameters, are state as well.
    """
    stored = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in stored["state"].items()
        for name, value in values.items()
        if value is not None
    }
    steps = {
        f"group.{index}": torch.as_tensor(group["step"])
        for index, group in enumerate(stored["param_groups"])
        if "step" in group
    }
    return tensors | steps


def restore_optimizer(optimizer: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned.

    A tensor of a parameter's shape gets that parameter's layout in memory: arithmetic on another one may take
    another path, which rounds differently.
    """
    stored = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        if index == "group":
            stored["param_groups"][int(name)]["step"] = int(tensor)
            continue
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor.detach()
    optimizer.load_state_dict({**stored, "state": state})


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
