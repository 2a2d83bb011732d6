"""Python code that computes the probabilities of a face with an exported file, NumPy, OpenCV and onnxruntime alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.faces.alignment import CROP_MARGIN, MOST_SAMPLES

TEMPLATE = "usage.py.jinja"


def environment() -> Environment:
    """Return the environment of the templates in this package."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # Markdown and Python
    )


def usage(file: str, align: dict[str, Any]) -> str:
    """Return the code for a model.

    It does what `pipeline.faces.extraction.cut` does with the model's settings. Transforms are complex numbers, z to
    a z + b.

    Args:
        file: path of the exported file.
        align: the model's block `align`.
    """
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            file=json.dumps(file, ensure_ascii=False),
            align=align,
            size=align["face_size"],
            margins=1 + 2 * CROP_MARGIN,
            most_samples=MOST_SAMPLES,
        )
    )
