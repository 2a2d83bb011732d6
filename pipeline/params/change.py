"""Change single settings in `params.yaml`, and keep its comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core import yaml
from pipeline.core.errors import UserError
from pipeline.core.files import rewriting
from pipeline.params.load import load, validated
from pipeline.params.rewrite import with_values


def set_values(values: dict[str, Any], path: Path) -> None:
    """Set values of `params.yaml` by dotted key. Nothing changes if a value is not allowed.

    Raises:
        UserError: the file is not valid, before or after the change.
    """
    load(path)
    document = yaml.read(path)
    for key, value in values.items():
        *blocks, last = key.split(".")
        block = document
        for name in blocks:
            block = block[name]
        block[last] = value
    validated(document, path)
    with rewriting(path) as temporary:
        temporary.write_text(rewritten(path, document), encoding="utf-8", newline="")


def rewritten(path: Path, document: dict[str, Any]) -> str:
    """Return the text of a YAML file with other values, and with its comments and line ends.

    Raises:
        UserError: the file cannot be changed in place.
    """
    try:
        text = with_values(path.read_text(encoding="utf-8-sig"), document)
    except ValueError as error:
        hint = "replace each alias (`*name`) by its value, and write each text of several lines on one line"
        raise UserError(f"{path}: {error}; {hint}") from None
    data = path.read_bytes()
    return text.replace("\n", "\r\n") if 2 * data.count(b"\r\n") > data.count(b"\n") else text
