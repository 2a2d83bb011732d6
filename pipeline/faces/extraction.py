"""Turn a table of encoded images into a table of faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pipeline.core.scratch import temporary_folder
from pipeline.faces.alignment import box_square, quarters, similarity, warp, whole_square
from pipeline.faces.boxed import face_in_box
from pipeline.faces.detection import Detection, FaceDetector
from pipeline.faces.detectors import detector_module
from pipeline.intake.image import decode_ingested
from pipeline.params.model import Align
from pipeline.tables.schema import aligned, channels

# Columns with the faces that a data set gives itself.
GIVEN = ("box", "landmarks")


@dataclass(frozen=True)
class Extraction:
    """Find and cut out the face of every image. Can be pickled, so any process can do it.

    Args:
        settings: the block `align` of `params.yaml`.
        weights: contents of the detector's file of weights; None with `mode: none`.
    """

    settings: Align
    weights: bytes | None

    def __call__(self, images: pa.RecordBatch) -> pa.RecordBatch:
        """Return one row of `schema.aligned` for each image, in order.

        Args:
            images: columns `id` and `image` (the encoded file), and as in `schema.ingested` `box`, if the data set
                may give boxes, and with `landmarks: given` also `landmarks`.

        Raises:
            UserError: an image cannot be decoded, or the weights do not fit the detector.
        """
        names, settings = images["id"].to_pylist(), self.settings
        decoded = [
            decode_ingested(name, image)
            for name, image in zip(names, images["image"].to_pylist(), strict=True)
        ]
        found: list[Detection | None] = [None] * len(decoded)
        boxes: list[list[float] | None] = [None] * len(decoded)
        if self.weights:
            if "box" in images.schema.names:
                boxes = images["box"].to_pylist()
            if settings.landmarks == "given":
                found = [_given(row, settings.mode) for row in images.select(GIVEN).to_pylist()]
            rows = [row for row, face in enumerate(found) if face is None]
            if rows:
                detector = _detector(settings.detector, self.weights, settings.threshold)
                detected = detector.detect([decoded[row] for row in rows], settings.turn)
                for row, face in zip(rows, detected, strict=True):
                    found[row] = face
                for row in rows:
                    if box := boxes[row]:
                        found[row] = face_in_box(detector, decoded[row], box, found[row], settings.turn)
        faces = [
            _row(name, pixels, face, box, settings)
            for name, pixels, face, box in zip(names, decoded, found, boxes, strict=True)
        ]
        return pa.RecordBatch.from_pylist(faces, aligned(settings.face_size, channels(settings.colour)))


@cache
def _detector(name: str, weights: bytes, threshold: float) -> FaceDetector:
    """Return a detector. Each process loads it once, from bytes, because the file may be on another machine."""
    with temporary_folder() as folder:
        path = folder / "detector.onnx"
        path.write_bytes(weights)
        return detector_module(name).Detector(path, threshold)


def cut(
    image: np.ndarray, face: Detection | None, settings: Align, box: list[float] | None = None
) -> np.ndarray:
    """Return the aligned face: uint8, size x size x channels.

    Without a face, return the square of the box that the data set gives, or the central square of the image.
    """
    size = settings.face_size
    if face is None:
        transform = whole_square(image, size) if box is None else box_square(np.array(box), size)
    elif settings.mode == "crop":
        transform = box_square(face.box, size)
    else:
        transform = similarity(face.landmarks, size, settings.zoom, settings.lift)
    pixels = warp(image, transform, size)
    if face is not None and settings.mode == "crop" and settings.turn and np.isfinite(face.landmarks).all():
        pixels = np.ascontiguousarray(np.rot90(pixels, quarters(face.landmarks[None])[0]))
    if settings.colour:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]


def _given(row: dict[str, list[float] | None], mode: str) -> Detection | None:
    """Return the face that the data set gives, or None if the mode needs values that are missing."""
    if row["box" if mode == "crop" else "landmarks"] is None:
        return None
    box, landmarks = (
        np.full(size, np.nan, np.float32) if row[name] is None else np.array(row[name], np.float32)
        for name, size in (("box", 4), ("landmarks", 10))
    )
    return Detection(box, landmarks.reshape(5, 2), np.nan)


def _row(
    name: str, image: np.ndarray, face: Detection | None, box: list[float] | None, settings: Align
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name, "box": None, "landmarks": None, "score": None}
    if face is None and settings.mode != "none" and settings.missing == "drop":
        return row | {"status": "missing", "face": bytes(settings.face_size**2 * channels(settings.colour))}
    row["face"] = cut(image, face, settings, box).tobytes()
    if face is None:
        return row | {"status": "whole"}
    values = {"box": face.box.tolist(), "landmarks": face.landmarks.reshape(10).tolist(), "score": face.score}
    return row | {"status": "found"} | {key: None if np.isnan(v).any() else v for key, v in values.items()}
