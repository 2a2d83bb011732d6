"""Stage `align`: find the face and its five landmarks in every picture and cut it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from pipeline.faces.detection import FaceDetector
from pipeline.faces.extraction import CHUNK, Pictures, faces
from pipeline.faces.weights import resolve
from pipeline.params import Align, Params
from pipeline.paths import ALIGNED, INGESTED, METRICS
from pipeline.progress import track
from pipeline.schema import aligned, count_parquet, stream_parquet, write_arrow, write_json


def run(p: Params, dataset: str) -> None:
    """Write `data/aligned/<dataset>.arrow` and count what was found."""
    table = INGESTED / f"{dataset}.parquet"
    images = count_parquet(table)
    detector, used = _detector(p.align)
    status: Counter[str] = Counter()

    def counted() -> Iterator[dict[str, Any]]:
        rows = faces(_chunks(table), p.align, detector)
        for row in track(rows, total=images, desc=f"align {dataset}", unit="pictures"):
            status[row["status"]] += 1
            yield row

    schema = aligned(p.align.size, 3 if p.align.colour else 1)
    write_arrow(ALIGNED / f"{dataset}.arrow", schema, counted())
    counts = {
        "images": images,
        "found": status["found"],
        "found_rate": status["found"] / images if images else 0.0,
        "fallback": status["whole"],
        "missing": status["missing"],
    }
    write_json(METRICS / "align" / f"{dataset}.json", counts | {"mode": p.align.mode} | used)
    typer.echo(
        f"{dataset}: {images} pictures, faces found in {status['found']} ({counts['found_rate']:.2%}), "
        f"whole picture instead {status['whole']}, dropped {status['missing']}"
    )


def _detector(settings: Align) -> tuple[FaceDetector | None, dict[str, str]]:
    """Return the detector and what the metrics say about it; nothing is loaded with `mode: none`."""
    if settings.mode == "none":
        return None, {}
    module = import_module(f"pipeline.faces.detectors.{settings.detector}")
    weights = resolve(settings.weights, module.PACKAGED)
    typer.echo(f"weights: {weights.path} ({weights.origin}). Licence: {weights.licence}.")
    used = {
        "detector": settings.detector,
        "weights_sha256": weights.sha256,
        "weights_licence": weights.licence,
    }
    return module.Detector(weights.path, settings.threshold), used


def _chunks(table: Path) -> Iterator[Pictures]:
    for batch in stream_parquet(table, ["id", "image"], CHUNK):
        yield list(zip(batch.column("id").to_pylist(), batch.column("image").to_pylist(), strict=True))
