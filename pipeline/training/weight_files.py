"""Read the tensors of a weight file. No code in the file runs.

torch's own files are read by torch, which builds only tensors and containers. A plain pickle, such as VGGFace2's, is
read by an unpickler that knows the same few functions and those that rebuild NumPy's arrays.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.core.errors import UserError, one_line
from pipeline.inference.model_file import classes_in
from pipeline.inference.packed import unpacked
from pipeline.training.weights import SAFE

# Keys under which training scripts keep the tensors.
CONTAINERS = ("state_dict", "model_state_dict", "net", "model")
# What torch's files before version 1.6 begin with: its magic number as a pickle of protocol 2.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str] | None]:
    """Return the tensors of a weight file by name, and its classes if an earlier run wrote it.

    Raises:
        UserError: the file cannot be read, or holds anything but named tensors.
    """
    return _of_safetensors(path) if path.name.endswith(SAFE) else (_of_pickle(path), None)


def _of_safetensors(path: Path) -> tuple[dict[str, Tensor], list[str] | None]:
    try:
        classes = classes_in(path)
        with safe_open(path, "pt") as opened:
            tensors = unpacked({key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118
        if classes is not None:
            shapes = tensors["head.weight"].shape[:1], tensors["head.bias"].shape
            if shapes != ((len(classes),), (len(classes),)):
                raise ValueError(f"it names {len(classes)} classes, and its last layer has another number")
        return tensors, classes
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file of weights: {one_line(error)}") from None


def _of_pickle(path: Path) -> dict[str, Tensor]:
    try:
        named = _named(_content(path))
        if not named:
            raise TypeError
        tensors = {str(name).removeprefix("module."): _tensor(value) for name, value in named.items()}
    except TypeError:
        raise UserError.of(path, "content other than named tensors", "a state_dict") from None
    return tensors


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as opened:
            if zipfile.is_zipfile(opened) or _begins(opened, _LEGACY):
                with torch.serialization.safe_globals(_FOR_TORCH):
                    return torch.load(path, map_location="cpu", weights_only=True)
            opened.seek(0)
            return _TensorUnpickler(opened, encoding="latin1").load()  # Python 2 wrote strings of bytes
    except Exception as error:  # the kind depends on the damaged byte
        # So begin the refusals of torch and of `_TensorUnpickler`; most name what is not allowed.
        if isinstance(error, pickle.UnpicklingError) and re.match("Weights only|GLOBAL", str(error)):
            found = re.search(r"GLOBAL (\S+)", str(error))
            name = f" ({found[1].rstrip('.')[:80]})" if found else ""
            raise UserError(
                f"{path}: refused: it holds more than tensors{name} and could run code; if you trust it, save the "
                "network's state_dict() with torch.save, and name that file"
            ) from None
        raise UserError(f"{path}: not a file of weights: {one_line(error)}") from None


def _begins(opened: Any, mark: bytes) -> bool:
    opened.seek(0)
    return bool(opened.read(len(mark)) == mark)


def _named(content: Any) -> dict[Any, Any]:
    """Return the mapping that holds the tensors; it lies under at most four of `CONTAINERS`."""
    for _ in range(4):
        if not isinstance(content, dict):
            return {}
        inner = [content[key] for key in CONTAINERS if isinstance(content.get(key), dict)]
        if not inner:
            return content
        content = inner[0]
    return {}


def _tensor(value: object) -> Tensor:
    """Return a tensor that a network's tensor can be copied from.

    Raises:
        TypeError: the value is none.
    """
    if isinstance(value, np.ndarray | np.generic):
        return torch.tensor(value)
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise TypeError
    if value.is_quantized or value.device.type != "cpu":
        raise TypeError
    return value


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Return the bytes of an array, as Python 3 writes them in pickles of protocol 2."""
    if encoding != "latin1":
        raise ValueError(f"found encoding {encoding!r}, allowed: latin1")
    return text.encode(encoding)


def _storage(content: bytes) -> Any:
    """Return the storage of a tensor in a plain pickle, in place of torch's function, which runs code."""
    return torch.load(BytesIO(content), map_location="cpu", weights_only=True)


def _allowed() -> dict[str, Callable[..., Any]]:
    """Return what a file may name, by the name in the file. NumPy's modules were renamed in version 2."""
    array = np.zeros(1, np.float32)
    of_numpy = {
        "multiarray._reconstruct": array.__reduce__()[0],
        "multiarray.scalar": array[0].__reduce__()[0],
        "numeric._frombuffer": array.__reduce_ex__(5)[0],
    }
    return {
        **{
            f"numpy.{core}.{name}": rebuild
            for core in ("core", "_core")
            for name, rebuild in of_numpy.items()
        },
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": _encode,
    }


# torch also asks for the classes of NumPy's data types.
_NUMBERS = [type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]]
_FOR_TORCH: list[Any] = [
    *((function, name) for name, function in _allowed().items()),
    *dict.fromkeys(_NUMBERS),
]
_FOR_PICKLE = {
    **_allowed(),
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "torch.storage._load_from_bytes": _storage,
}


class _TensorUnpickler(pickle.Unpickler):
    """Reads arrays, tensors and containers."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what the file calls `module.name`, if it is allowed."""
        if f"{module}.{name}" not in _FOR_PICKLE:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return _FOR_PICKLE[f"{module}.{name}"]
