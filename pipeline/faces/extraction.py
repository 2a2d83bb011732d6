"""From a table of encoded pictures to a table of faces, on all cores and in the order of the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from pipeline.errors import UserError
from pipeline.faces.alignment import box_square, similarity, warp, whole_square
from pipeline.faces.detection import Detection, FaceDetector
from pipeline.parallel import ordered
from pipeline.params import Align

# Pictures that one thread decodes, detects and warps at a time: one call of the network at the coarsest look.
CHUNK = 16

Pictures = list[tuple[str, bytes]]  # id, encoded image


def faces(
    chunks: Iterable[Pictures], settings: Align, detector: FaceDetector | None, threads: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one row of `schema.aligned` per picture, in order; what is in it does not depend on the threads.

    Args:
        chunks: ids and encoded images.
        settings: the block `align` of `params.yaml`.
        detector: finds the faces; None with `mode: none`.
        threads: how many work at a time; None: one per core.

    Raises:
        UserError: an image cannot be decoded.
    """
    cv2.setNumThreads(1)  # one picture per thread beats many threads on one picture
    for rows in ordered(lambda chunk: _rows(chunk, settings, detector), chunks, threads):
        yield from rows


def decode(name: str, image: bytes) -> np.ndarray:
    """Return an encoded image as BGR, uint8, H x W x 3, turned as its EXIF data says.

    Raises:
        UserError: the bytes are no image.
    """
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR) if image else None
    if picture is None:
        raise UserError(f"{name}: {len(image)} bytes that are no image; run ingest again")
    return picture


def cut(picture: np.ndarray, face: Detection | None, settings: Align) -> np.ndarray:
    """Return the face cut out, or the picture's central square without one: uint8, size x size x channels."""
    size = settings.size
    if face is None:
        transform = whole_square(picture, size)
    elif settings.mode == "crop":
        transform = box_square(face.box, size)
    else:
        transform = similarity(face.landmarks, size)
    pixels = warp(picture, transform, size)
    if settings.colour:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]


def _rows(chunk: Pictures, settings: Align, detector: FaceDetector | None) -> list[dict[str, Any]]:
    pictures = [decode(name, image) for name, image in chunk]
    found = detector.detect(pictures) if detector else [None] * len(pictures)
    return [
        _row(name, picture, face, settings)
        for (name, _), picture, face in zip(chunk, pictures, found, strict=True)
    ]


def _row(name: str, picture: np.ndarray, face: Detection | None, settings: Align) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name, "box": None, "landmarks": None, "score": None}
    if face is None and settings.mode != "none" and settings.missing == "drop":
        channels = 3 if settings.colour else 1
        return row | {"status": "missing", "face": bytes(settings.size**2 * channels)}
    row["face"] = cut(picture, face, settings).tobytes()
    if face is None:
        return row | {"status": "whole"}
    return row | {
        "status": "found",
        "box": face.box.tolist(),
        "landmarks": face.landmarks.reshape(10).tolist(),
        "score": face.score,
    }
