"""Read and validate `params.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.core import yaml
from pipeline.core.errors import UserError
from pipeline.params.combinations import check
from pipeline.params.model import Params
from pipeline.params.refusal import Conflict, wording

PARAMS_FILE = Path("params.yaml")


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and validate `params.yaml`.

    Raises:
        UserError: one line with the file, the key, the value found and the allowed values.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; run this in the folder that holds params.yaml and dvc.yaml")
    raw = yaml.read(path)
    if not isinstance(raw, dict):
        raise UserError.of(path, type(raw).__name__, "keys and values")
    return validated(raw, path)


def validated(raw: dict[str, Any], path: Path) -> Params:
    """Validate parameters that were read from `path`.

    Raises:
        UserError: as `load`.
    """
    try:
        p = Params.model_validate(raw)
        check(p)
    except ValidationError as error:
        raise UserError(f"{path}: {wording(error, Params)}") from None
    except Conflict as conflict:
        raise UserError(f"{path}: {conflict}") from None
    return p
