"""Python code that computes the probabilities of a face with an exported file, NumPy, OpenCV and onnxruntime alone."""

from __future__ import annotations

import json
from typing import Any

from pipeline.export.templates import environment
from pipeline.faces.alignment import CROP_MARGIN, MOST_SAMPLES

TEMPLATE = "usage.py.jinja"


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
