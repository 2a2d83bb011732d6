"""Stage `align`: find the face and its five landmarks in every picture and cut it out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path

import pyarrow as pa
import typer

from pipeline import faces
from pipeline.faces.extraction import Extraction
from pipeline.faces.weights import Weights, resolve
from pipeline.journal import journaled
from pipeline.parallel import ordered
from pipeline.params import Align, Params
from pipeline.paths import ALIGNED, INGESTED, INTERRUPTED, METRICS
from pipeline.progress import bar
from pipeline.schema import aligned, count_parquet, stream_parquet, write_batches, write_json

# Pictures that a worker takes at a time: enough to hide the hand-over, and four calls of the network.
CHUNK = 64


def run(p: Params, dataset: str) -> None:
    """Write `data/aligned/<dataset>.arrow` and count what was found; a run that was killed goes on."""
    table = INGESTED / f"{dataset}.parquet"
    images = count_parquet(table)
    weights = _weights(p.align)
    extraction = Extraction(p.align, weights.path if weights else None)
    schema = aligned(p.align.face_size, 3 if p.align.colour else 1)
    status: Counter[str] = Counter()

    def work(done: int) -> Iterator[pa.RecordBatch]:
        if done:
            typer.echo(f"align {dataset}: going on with an interrupted run at picture {done * CHUNK + 1:,}")
        chunks = islice(stream_parquet(table, ["id", "image"], CHUNK), done, None)
        return ordered(extraction, chunks, p.engine)

    def counted() -> Iterator[pa.RecordBatch]:
        unfinished = INTERRUPTED / f"align-{dataset}-{_key(p.align, weights, table)}"
        with bar(images, desc=f"align {dataset}", unit="pictures") as shown:
            for batch in journaled(unfinished, schema, work):
                status.update(batch["status"].to_pylist())
                shown.update(len(batch))
                yield batch

    write_batches(ALIGNED / f"{dataset}.arrow", schema, counted())
    counts = {
        "images": images,
        "found": status["found"],
        "found_rate": status["found"] / images if images else 0.0,
        "fallback": status["whole"],
        "missing": status["missing"],
    }
    used = (
        {
            "detector": p.align.detector,
            "weights_sha256": weights.sha256,
        }
        if weights
        else {}
    )
    write_json(METRICS / "align" / f"{dataset}.json", counts | {"mode": p.align.mode} | used)
    typer.echo(
        f"{dataset}: {images} pictures, faces found in {status['found']} ({counts['found_rate']:.2%}), "
        f"whole picture instead {status['whole']}, dropped {status['missing']}"
    )


def _weights(settings: Align) -> Weights | None:
    """Return the detector's weights; nothing is loaded with `mode: none`."""
    if settings.mode == "none":
        return None
    module = import_module(f"pipeline.faces.detectors.{settings.detector}")
    weights = resolve(settings.weights, module.PACKAGED)
    module.Detector(weights.path, settings.threshold)  # a wrong file is refused before the work begins
    typer.echo(f"weights: {weights.path} ({weights.origin}). Licence: {weights.licence}.")
    return weights


def _key(settings: Align, weights: Weights | None, table: Path) -> str:
    """Return a hash of all that decides what comes out: settings, weights, pictures and code."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    digest.update((weights.sha256 if weights else "").encode())
    for path in [table, *sorted(Path(faces.__file__).parent.rglob("*.py"))]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
