"""Stage `label`: turn votes into labels or distributions, filter classes, draw splits, find leaks between splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError, printable
from pipeline.core.files import replacing, replacing_folder, write_json
from pipeline.core.progress import in_words, say
from pipeline.faces import alignment
from pipeline.figures.labels import contact_sheet
from pipeline.figures.landmarks import landmark_scatter, mean_face
from pipeline.labels import exclusion
from pipeline.labels.decisions import (
    Decisions,
    absent,
    counts,
    decide,
    dropped,
    filled,
    followed,
    sample_table,
    too_small,
)
from pipeline.labels.images import read_images
from pipeline.params.model import Align, Labels, Params
from pipeline.tables.attributes import check_groups
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, METRICS, PLOTS
from pipeline.tables.store import BATCH_ROWS, Faces, fill, take_parquet
from pipeline.tables.unlisted import remove_unlisted


def run(p: Params) -> None:
    """Write `data/labels.parquet`, sorted by id, the metrics and the figures of the data sets in `params.yaml`.

    Duplicates and groups are counted over all images, also over those without a label.

    Raises:
        UserError: a data set was not ingested or aligned, `labels.exclude` cannot be read, no sample is left, or
            `evaluate.groups` names an attribute that no sample has.
    """
    ids = exclusion.read_ids(Path(p.labels.exclude)) if p.labels.exclude else []
    images = read_images(p.datasets, p.classes)
    excluded = exclusion.listed(ids, images.ids)
    rejected = {name: _rejected(name) for name in p.datasets}
    left = remove_unlisted(p.datasets)
    decisions = decide(images, excluded, p.classes, p.labels, p.seed)
    if not decisions.kept.any():
        reasons = in_words(dropped(decisions.reasons))
        raise UserError(f"{', '.join(p.datasets)}: found no sample to train on; dropped: {reasons}")
    # Only evaluate scores groups. A wrong name is refused here, before a training.
    check_groups(p.evaluate.groups, images.attributes.filter(pa.array(decisions.kept)))
    metrics = {"rule": p.labels.rule} | counts(decisions, p.classes, rejected)
    unknown = np.array(ids)[~exclusion.listed(images.ids, ids)].tolist()
    if p.labels.exclude:
        metrics["exclude"] = {"listed": len(ids), "unknown": len(unknown)}
    # The outputs of an earlier run are replaced only when all new ones are complete.
    with replacing(LABELS) as table, replacing_folder(PLOTS / "label") as folder:
        samples = sample_table(decisions, p.classes)
        fill(table, LABELS.suffix, samples.schema, samples.to_batches(BATCH_ROWS))
        for name in p.datasets:
            # The images and the tables of the data set are both sorted by id.
            rows = images.datasets == name
            labels = np.where(decisions.kept, decisions.labels, "")[rows]
            votes = images.votes[rows], images.vocabulary
            _plot(folder, name, labels, *votes, p.classes, p.align.of(name))
        write_json(METRICS / "label.json", metrics)
    _report(decisions, metrics, p.labels)
    if unknown:
        missing = f"{len(unknown):,} of {len(ids):,} ids not found in {', '.join(p.datasets)}"
        say(f"label: labels.exclude: {missing}, such as {printable(unknown[0][:80])}")
    if left := [path for path in left if METRICS not in path.parents]:  # git keeps the metrics
        names = ", ".join(map(str, left))
        say(f"label: left {names}: not of a data set in params.yaml, but in use or not in DVC's cache")


def _rejected(dataset: str) -> dict[str, int]:
    """Return the number of records that ingest rejected, by reason. They are in no table."""
    path = METRICS / "ingest" / f"{dataset}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["rejected"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the metrics of ingest; run the stage ingest@{dataset} again") from None


def _plot(
    folder: Path,
    dataset: str,
    labels: np.ndarray,
    votes: np.ndarray,
    vocabulary: Sequence[str],
    classes: list[str],
    align: Align,
) -> None:
    """Plot the faces and the landmarks of a data set.

    Args:
        folder: of the figures.
        dataset: its name.
        labels: [N] in file order; "" for images that are no samples.
        votes: [N, V] in file order.
        vocabulary: V names in the order of the votes.
        classes: names in label order.
        align: settings for this data set.
    """
    faces = Faces(ALIGNED / f"{dataset}.arrow")
    images = partial(take_parquet, INGESTED / f"{dataset}.parquet", "image")
    path = folder / f"{dataset}.png"
    contact_sheet(path, dataset, faces, labels, votes, vocabulary, classes, align.mode, images)
    landmarks = faces.table["landmarks"].combine_chunks()
    points = landmarks.drop_null().flatten().to_numpy().reshape(-1, 5, 2)
    rows = np.flatnonzero(landmarks.is_valid())
    # The landmarks of a face that is cut out by its box are not on the reference points.
    on_reference = align.mode == "five_point" and len(rows) > 0
    goal = alignment.reference(alignment.REFERENCE_SIZE, align.zoom, align.lift)
    landmark_scatter(
        folder / f"{dataset}-landmarks.png",
        dataset,
        alignment.carried(points, goal),
        goal,
        alignment.REFERENCE_SIZE,
        mean_face(faces, rows) if on_reference else None,
    )


def _report(decisions: Decisions, metrics: dict[str, Any], settings: Labels) -> None:
    """Print how many images were kept and dropped, and how many are in two splits."""
    kept, total = int(decisions.kept.sum()), len(decisions.kept)
    splits, reasons = in_words(metrics["kept"]), in_words(metrics["dropped"])
    say(f"label: kept {kept:,} of {total:,} images by {settings.rule} ({splits})")
    if reasons:
        say(f"label: dropped {total - kept:,} ({reasons})")
    for split, number, classes in too_small(decisions, settings):
        few = f"{split} has fewer than {number:,} of a class ({in_words(classes)})"
        say(f"label: {few}: people and copies stay together")
    if names := ", ".join(filled(decisions)):
        say(
            f"label: images of {names} fill a split that would be empty; they may go back to train when the data set "
            "grows"
        )
    for split, classes_of in absent(decisions, settings):
        none = f"{split} has no sample of {', '.join(classes_of)}"
        say(f"label: {none}: a share is drawn without regard to classes")
    if near := followed(decisions):
        say(f"label: drawn beyond the shares, as a near copy is: {in_words(near)}")
    leaks = {key: pairs for key, pairs in metrics["near_duplicates"].items() if isinstance(pairs, int)}
    if any(leaks.values()):
        choice = f"labels.duplicates: {settings.duplicates}"
        say(f"label: images in two splits ({in_words(leaks)}); {choice}")
