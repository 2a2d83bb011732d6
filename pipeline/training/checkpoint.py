"""Checkpoints: everything the next step depends on, in one safetensors file, which loads without pickle.

The file is written under a temporary name, synced and renamed. A run that is killed while it writes keeps the previous
checkpoint. A checksum tells if a byte of it has changed since.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.core.progress import note

# Packages whose code decides the outcome of a training run.
CODE = ("core", "tables", "params", "methods", "inference", "training")


def store(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors, and `about` as JSON. The same values give the same bytes: the metadata has a single key."""
    tensors, text = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, json.dumps(about)
    data = save(tensors, {_checksum(tensors, text): text})
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())  # hours of work survive a crash of the machine


def restore(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `store` wrote; None if the file is absent or damaged. Print a line if it is damaged.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            [(checksum, text)] = file.metadata().items()
        if _checksum(tensors, text) != checksum:
            raise ValueError("a byte has changed")
        return tensors, json.loads(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # the kind depends on the damaged byte
        note(f"{path}: damaged, so its training starts again")
        return None


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 of contiguous tensors on the CPU, with their names, types and shapes, and of a text."""
    digest = sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def keep_newest(folder: Path, count: int) -> None:
    """Delete all checkpoints in a folder but those that were written or touched last."""
    files = {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*.safetensors")}
    for path in sorted(files, key=lambda path: files[path], reverse=True)[count:]:
        path.unlink(missing_ok=True)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix.` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors stored by `prefixed`, without the prefix."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors.

    Some optimisers count their steps in the parameter groups; these counts are included. The other settings of the
    groups follow from params.yaml and the step.
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
    """Load what `optimizer_tensors` returned.

    A tensor with the same shape as its parameter also gets that parameter's memory layout, because arithmetic in
    another layout may round differently.
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
