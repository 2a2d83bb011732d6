"""Stage `align`: find the face and its five landmarks in every image and cut it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.code import sources
from pipeline.core.files import fingerprint, replacing, write_json
from pipeline.core.locks import in_use
from pipeline.core.parallel import chunks, ordered
from pipeline.core.progress import bar, say
from pipeline.faces.alignment import quarters
from pipeline.faces.detectors import load_detector
from pipeline.faces.extraction import GIVEN, Extraction
from pipeline.faces.weights import Weights
from pipeline.intake.image import LARGEST, cost
from pipeline.params.model import Align, Params
from pipeline.tables.journal import journaled
from pipeline.tables.paths import ALIGNED, INGESTED, INTERRUPTED, METRICS
from pipeline.tables.schema import aligned, channels
from pipeline.tables.storage import local_copy, upload
from pipeline.tables.store import count_parquet, fill, stream_parquet

# Images in a batch of a worker. Half as many are 2 to 12 % slower, because the batches of the network get small. A
# batch ends earlier if its images would take more memory than the largest image that is allowed: 64 images of a
# megapixel do not.
CHUNK = 64


def run(p: Params, dataset: str, source: str | Path = INGESTED, output: str | Path = ALIGNED) -> None:
    """Write `data/aligned/<dataset>.arrow` and the metrics. A killed run resumes after its last whole batch.

    Args:
        p: all of `params.yaml`.
        dataset: name of the data set.
        source: folder or `s3://` address of the ingested table.
        output: folder or `s3://` address of the result. If it is not the default, the metrics go there too.

    Raises:
        UserError: the table or the weights of the detector cannot be fetched, or an image cannot be decoded.
    """
    with local_copy(source, f"{dataset}.parquet") as table, in_use(table):
        counts = _align(p, dataset, table, output)
    if counts["found_rate"] is None:
        say(f"{dataset}: {counts['images']} images, used whole: mode {counts['mode']} looks for no face")
        return
    say(
        f"{dataset}: {counts['images']} images, faces found in {counts['found']} ({counts['found_rate']:.2%}), "
        f"given by the data set {counts['given']}, box or whole image instead {counts['fallback']}, "
        f"dropped {counts['missing']}"
    )
    if turned := sum(counts.get("turned", {}).values()):
        say(
            f"{dataset}: {turned} faces lay on their side or head and are cut out upright"
            if p.align.turn
            else f"{dataset}: {turned} faces seem to lie on their side or head; `align.turn: true` looks for such faces"
        )


def _align(p: Params, dataset: str, table: Path, output: str | Path) -> dict[str, Any]:
    """Write the faces of the images in `table`, and the metrics; return the metrics."""
    settings = p.align.of(dataset)
    images = count_parquet(table)
    weights = _weights(settings)
    extraction = Extraction(settings, weights.path.read_bytes() if weights else None)
    columns = ["id", "image", *(GIVEN if settings.landmarks == "given" else ("box",))]
    status: Counter[str] = Counter()
    turned: Counter[int] = Counter()

    def batches(done: int) -> Iterator[pa.RecordBatch]:
        rows = _batches(table, columns)
        first = sum(map(len, islice(rows, done))) + 1
        if 1 < first <= images:
            say(f"align {dataset}: going on with an interrupted run at image {first:,}")
        return ordered(extraction, rows, p.engine, p.workers, p.memory, lambda batch: sum(_costs(batch)))

    schema = aligned(settings.face_size, channels(settings.colour))

    def counted(found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with bar(images, desc=f"align {dataset}", unit="images") as shown:
            for batch in found:
                status.update(batch["status"].to_pylist())
                without_score = pc.is_null(batch["score"])
                status["given"] += pc.and_(pc.equal(batch["status"], "found"), without_score).true_count
                turned.update(_quarters(batch))
                shown.update(len(batch))
                yield batch

    unfinished = INTERRUPTED / f"align-{dataset}-{_key(settings, weights, table)}"
    # Both outputs are whole before the first one replaces that of an earlier run.
    with (
        journaled(unfinished, schema, batches) as done,
        upload(output) as folder,
        replacing(folder / f"{dataset}.arrow") as faces,
    ):
        fill(faces, faces.suffix, schema, counted(done))
        counts: dict[str, Any] = {
            "images": images,
            "found": status["found"],
            "found_rate": status["found"] / images if images and weights else None,
            "given": status["given"],
            "fallback": status["whole"],
            "missing": status["missing"],
            "mode": settings.mode,
        }
        if weights:
            counts |= {"detector": settings.detector, "weights_sha256": weights.sha256}
        degrees = {str(90 * quarter): turned[quarter] for quarter in (1, 2, 3)}
        if (weights and settings.turn) or any(degrees.values()):
            counts["turned"] = degrees
        metrics = METRICS / "align" if Path(output) == ALIGNED else folder
        write_json(metrics / f"{dataset}.json", counts)
    return counts


def _batches(table: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the images of a table in batches that a worker can hold."""
    for images in stream_parquet(table, [*columns, "width", "height"], CHUNK):
        for rows in chunks(range(len(images)), CHUNK, _costs(images).__getitem__, LARGEST):
            # `take` copies. A slice would be sent to a worker with all images around it.
            yield images if len(rows) == len(images) else images.take(pa.array(rows))


def _costs(images: pa.RecordBatch) -> list[int]:
    """Return the bytes that each image takes."""
    sizes = (images["width"], images["height"], pc.binary_length(images["image"]))
    return [cost(*size) for size in zip(*(column.to_pylist() for column in sizes), strict=True)]


def _quarters(faces: pa.RecordBatch) -> list[int]:
    """Return the quarter turns of the faces that have landmarks."""
    landmarks = faces["landmarks"].drop_null().flatten().to_numpy(zero_copy_only=False)
    return quarters(landmarks.reshape(-1, 5, 2)).tolist()


def _weights(settings: Align) -> Weights | None:
    """Return the weights of the detector, or None for `mode: none`."""
    if settings.mode == "none":
        return None
    # Loaded here to refuse a wrong file before the work begins.
    _, weights = load_detector(settings.detector, settings.weights, settings.threshold)
    say(f"weights: {weights.path} ({weights.origin}). Licence: {weights.licence}.")
    return weights


def _key(settings: Align, weights: Weights | None, table: Path) -> str:
    """Return a hash of everything that decides the result: settings, weights, images and code."""
    words = (settings.model_dump_json(), weights.sha256 if weights else "")
    return fingerprint(words, [table, *sources("core", "tables", "intake", "faces", "stages/align.py")])
