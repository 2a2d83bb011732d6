"""The metadata of an exported file."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import Any

import cv2

from pipeline.core.errors import UserError
from pipeline.export import lineage
from pipeline.export.onnx import OPSET
from pipeline.faces.alignment import CROP_MARGIN, MOST_SAMPLES, reference
from pipeline.faces.detectors import detector_module
from pipeline.inference.model_file import TrainedModel
from pipeline.params.model import Align
from pipeline.tables.paths import METRICS

# Libraries whose versions decide the exported bytes.
LIBRARIES = ("fer-pipeline", "torch", "onnx", "onnxscript", "onnxruntime")


def metadata(classifier: TrainedModel, model_md5: str, run: lineage.Lineage) -> dict[str, Any]:
    """Return what a user of the file must know: classes, alignment, crop, and the model's origin.

    Args:
        classifier: the model.
        model_md5: MD5 of the model file.
        run: the model's run.
    """
    commit, dirty = lineage.commit()
    align = classifier.align
    return {
        "model": classifier.model,
        "classes": classifier.classes,
        "align": align.model_dump(),
        "detector": _detector(classifier, run),
        **_cut(align),
        "crop": classifier.crop,
        "labels": classifier.labels,
        "datasets": classifier.datasets,
        "gan_datasets": classifier.gan_datasets,
        "opset": OPSET,
        "precision": "float32",
        "provenance": {"commit": commit, "dirty": dirty, "model_md5": model_md5, "data": run.data()},
        # Several packages provide cv2. OpenCV 4 and 5 cut out slightly different faces.
        "versions": {name: version(name) for name in LIBRARIES} | {"opencv": cv2.__version__},
    }


def _detector(classifier: TrainedModel, run: lineage.Lineage) -> dict[str, Any] | None:
    """Return name and SHA-256 of the detector's weights file; None if the model's images are used whole.

    The hash is the one that `align` recorded for the faces that the model learned from. If the run is not known, it is
    that of the package's weights, and None for another file.
    """
    align = classifier.align
    if align.mode == "none":
        return None
    metrics = (run.metrics(METRICS / "align" / f"{name}.json") for name in classifier.learned)
    recorded = {counts["weights_sha256"] for counts in metrics if "weights_sha256" in counts}
    if not recorded and align.weights == "package":
        with suppress(UserError):  # dlib is optional
            recorded = {detector_module(align.detector).PACKAGED.sha256}
    return {"name": align.detector, "weights_sha256": recorded.pop() if len(recorded) == 1 else None}


def _cut(align: Align) -> dict[str, Any]:
    """Return how `pipeline.faces.extraction.cut` turns an image into a face."""
    about: dict[str, Any] = {
        "interpolation": "bilinear",
        "border": "replicate",
        "oversampling": f"max(1, round(1 / max(scale, {align.face_size} / {MOST_SAMPLES})))",
    }
    if not align.colour:
        about["grey"] = {"red": 0.299, "green": 0.587, "blue": 0.114}
    if align.mode == "crop":
        about["margin"] = CROP_MARGIN
    if align.mode == "five_point" or (align.mode == "crop" and align.turn):
        about["reference"] = reference(align.face_size, align.zoom, align.lift).tolist()
    return about
