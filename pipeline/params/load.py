"""Read and validate `params.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.core.errors import UserError, one_line
from pipeline.params.combinations import check
from pipeline.params.model import Params
from pipeline.params.refusal import Conflict, wording

PARAMS_FILE = Path("params.yaml")


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and validate `params.yaml`.

    Raises:
        UserError: one line with the file, the key, the value found and the allowed values.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run this in the folder that holds params.yaml and dvc.yaml"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: {line}not valid YAML: {one_line(error.problem)}") from None
    except (YAMLError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
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
