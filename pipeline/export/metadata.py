"""The metadata of an exported file."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pipeline.export import lineage
from pipeline.export.onnx import OPSET
from pipeline.faces.alignment import reference
from pipeline.inference.model_file import TrainedModel

# Libraries whose versions decide the exported bytes.
LIBRARIES = ("fer-pipeline", "torch", "onnx", "onnxscript", "onnxruntime")


def metadata(classifier: TrainedModel, model_md5: str, data: dict[str, str]) -> dict[str, Any]:
    """Return what a user of the file must know: classes, alignment, crop, and the model's origin.

    Args:
        classifier: the model.
        model_md5: MD5 of the model file.
        data: MD5 of the data behind the model, by path.
    """
    commit, dirty = lineage.commit()
    result = {
        "model": classifier.model,
        "classes": classifier.classes,
        "align": classifier.align.model_dump(),
        "crop": classifier.crop,
        "labels": classifier.labels,
        "datasets": classifier.datasets,
        "gan_datasets": classifier.gan_datasets,
        "opset": OPSET,
        "precision": "float32",
        "provenance": {"commit": commit, "dirty": dirty, "model_md5": model_md5, "data": data},
        "versions": {name: version(name) for name in LIBRARIES},
    }
    if classifier.align.mode == "five_point":
        align = classifier.align
        points = reference(align.face_size, align.zoom, align.lift)
        result["reference"] = [[round(float(value), 4) for value in point] for point in points]
    return result
