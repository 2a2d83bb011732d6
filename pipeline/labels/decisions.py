"""Decide the label and the split of every image and whether it is a sample, and count the decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError
from pipeline.core.progress import in_yaml
from pipeline.labels import agreement, duplicates, folds, voting
from pipeline.labels.images import Images, use_published_valid
from pipeline.labels.quota import TooFewImages
from pipeline.labels.splits import Draw, draw, hashes_of
from pipeline.params.model import Labels
from pipeline.tables import schema
from pipeline.tables.columns import encoded, numbers
from pipeline.tables.vocabulary import DRAWN, SPLITS


@dataclass(frozen=True)
class Decisions:
    """The decisions about N images.

    Attributes:
        images: the images.
        clusters: number of the cluster of each image, int [N].
        drawn: the split of each image; `drop` for a published valid image that is left out.
        labels: class names, [N]; to be ignored for dropped images.
        targets: float32 [N, K]; to be ignored for dropped images.
        reasons: why an image is dropped, [N]; "" for a sample.
    """

    images: Images
    clusters: np.ndarray
    drawn: Draw
    labels: np.ndarray
    targets: np.ndarray
    reasons: np.ndarray

    @property
    def splits(self) -> np.ndarray:
        """Return the split of each image, [N]."""
        return self.drawn.splits

    @property
    def kept(self) -> np.ndarray:
        """Return whether each image is a sample, bool [N]."""
        return self.reasons == ""


def decide(
    images: Images, excluded: np.ndarray, classes: Sequence[str], settings: Labels, seed: int
) -> Decisions:
    """Return the decisions about images.

    A share is drawn from all images, so the split of an image does not depend on `excluded`, `classes`,
    `labels.min_votes` and `labels.min_share`, unless a split would have no sample. Numbers of each class are numbers of
    samples, so it does.

    Args:
        images: of all data sets.
        excluded: whether `labels.exclude` lists each image, bool [N].
        classes: names in label order, K.
        settings: the block `labels` of `params.yaml`.
        seed: of drawn splits.

    Raises:
        UserError: a data set publishes no valid split to use, or has too few images of a class for a drawn split.
    """
    images = use_published_valid(images, settings.published_valid)
    clusters = duplicates.clusters(images.pixels, images.low, images.signs)
    winners, targets, reasons = voting.decide(
        images.votes, images.single, classes, settings, images.vocabulary
    )
    left_out = images.published == "drop"
    reasons = np.select(
        [excluded, left_out, images.missing], ["excluded", "published_valid", "missing_face"], reasons
    ).astype(object)
    drawn = _draw(images, clusters, winners, reasons == "", settings, seed)
    usable = np.flatnonzero(reasons == "")
    leaking = duplicates.leaking(settings.duplicates, drawn.splits[usable], clusters[usable])
    reasons[usable[leaking]] = "duplicate"
    labels = np.array(images.vocabulary, object)[winners]
    return Decisions(images, clusters, drawn, labels, targets, reasons)


def _draw(
    images: Images,
    clusters: np.ndarray,
    winners: np.ndarray,
    samples: np.ndarray,
    settings: Labels,
    seed: int,
) -> Draw:
    """Return the split of every image. What is left out holds no other image back."""
    names, datasets = encoded(images.datasets)
    left_out = images.published == "drop"
    together = [duplicates.links(np.where(left_out, -1, keys)) for keys in (clusters, numbers(images.groups))]
    kinds = len(images.vocabulary) + 1  # the first one: no majority
    try:
        return draw(
            splits=images.published,
            drawable=images.drawable,
            datasets=datasets,
            strata=datasets * kinds + winners + 1,
            groups=duplicates.connected(len(clusters), together),
            hashes=hashes_of(
                pc.coalesce(images.groups, images.pixels), folds.SEED if settings.fold else seed
            ),
            samples=samples,
            sizes=[settings.size(split) for split in DRAWN],
            fold=settings.fold,
        )
    except folds.TooManyParts as error:
        allowed = (
            f"null, or at most {error.groups:,} parts: the people or images that have no published test split"
        )
        raise UserError.of("params.yaml: labels.fold", in_yaml(settings.fold), allowed) from None
    except TooFewImages as error:
        dataset, winner = divmod(error.stratum, kinds)
        raise UserError.of(
            "params.yaml: labels.valid + labels.test",
            f"{error.wanted:,} images of {images.vocabulary[winner - 1]} in {names[dataset]}",
            f"fewer than {error.found:,}, those that can be drawn; the rest is train",
        ) from None


def sample_table(decisions: Decisions, classes: Sequence[str]) -> pa.Table:
    """Return `data/labels.parquet`. `duplicate_of` and `cluster` name rows of this table."""
    images, rows = decisions.images, np.flatnonzero(decisions.kept)
    ids, splits, targets = images.ids.take(rows), decisions.splits[rows], decisions.targets[rows]
    first = duplicates.first_ids(ids, splits, images.pixels.take(rows))
    columns = (
        ids,
        images.datasets[rows],
        splits.astype(object),
        decisions.labels[rows],
        pa.ListArray.from_arrays(
            np.arange(len(rows) + 1, dtype=np.int32) * targets.shape[1], targets.ravel()
        ),
        pc.if_else(pc.equal(first, ids), None, first),
        duplicates.first_ids(ids, splits, decisions.clusters[rows]),
        images.attributes.take(rows),
    )
    fields = schema.labels(classes)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, fields, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=fields)


def counts(
    decisions: Decisions, classes: Sequence[str], rejected: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Return the counts over all data sets, the repeated images and, for several data sets, the counts of each.

    Args:
        decisions: about the images of all data sets.
        classes: names in label order.
        rejected: number of records of each data set that ingest rejected, by reason.
    """
    images, splits, clusters = decisions.images, decisions.splits, decisions.clusters
    repeats: dict[str, Any] = duplicates.between_splits(splits, clusters)
    repeats["within"] = duplicates.within_splits(splits, clusters)
    metrics = {
        **_counts(decisions, classes, np.ones(len(splits), bool)),
        "not_read": rejected,
        "duplicates": duplicates.between_splits(splits, images.pixels),
        "near_duplicates": repeats,
        "groups": _of_people(splits, images.groups),
    }
    if len(rejected) > 1:
        repeats["datasets"] = duplicates.between_datasets(images.datasets, clusters)
        metrics["datasets"] = {
            name: _counts(decisions, classes, images.datasets == name) for name in rejected
        }
    return metrics


def too_small(decisions: Decisions, settings: Labels) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield the name of each split that is drawn by number, the number, and the classes that have fewer samples."""
    for split, counts_in_split in _of_drawn_classes(decisions):
        number = settings.size(split)
        if isinstance(number, int) and number:
            short = {name: count for name, count in counts_in_split.items() if count < number}
            if short:
                yield split, number, short


def absent(decisions: Decisions, settings: Labels) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each split that is drawn by share, and the classes of which it has no sample."""
    for split, counts_in_split in _of_drawn_classes(decisions):
        share = settings.size(split)
        without = [name for name, count in counts_in_split.items() if not count]
        if isinstance(share, float) and share and without:
            yield split, without


def followed(decisions: Decisions) -> dict[str, int]:
    """Return the number of samples in each drawn split that are there only because an image of their group is."""
    return _by_name(DRAWN, decisions.splits[decisions.kept & decisions.drawn.followed])


def filled(decisions: Decisions) -> list[str]:
    """Return the data sets of which samples changed their split so that no split is empty."""
    return sorted(set(decisions.images.datasets[decisions.kept & decisions.drawn.filled].tolist()))


def _of_drawn_classes(decisions: Decisions) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the name of each drawn split, and its number of samples of each class of the data sets that draw it."""
    images, kept = decisions.images, decisions.kept
    (names, labels), (datasets, sources) = encoded(decisions.labels), encoded(images.datasets)
    pairs = labels * len(datasets) + sources

    def number(rows: np.ndarray) -> dict[str, int]:
        counts = np.bincount(pairs[kept & rows], minlength=len(names) * len(datasets)).tolist()
        return dict(
            zip((f"{name} of {dataset}" for name in names for dataset in datasets), counts, strict=True)
        )

    for column, split in enumerate(DRAWN):
        of_split, drawable = number(decisions.splits == split), number(images.drawable[:, column])
        yield split, {name: of_split[name] for name in sorted(drawable) if drawable[name]}


def dropped(reasons: np.ndarray) -> dict[str, int]:
    """Return the number of dropped images by reason."""
    return dict(sorted(Counter(reasons[reasons != ""].tolist()).items()))


def _counts(decisions: Decisions, classes: Sequence[str], rows: np.ndarray) -> dict[str, Any]:
    """Return the counts of samples, of dropped images, of leaks among samples, and the agreement, of `rows`, bool [N].

    Splits without images are left out, unless another data set has images in them.
    """
    splits, samples, images = decisions.splits, rows & decisions.kept, decisions.images
    published = np.where(images.published == "", "train", images.published)
    existing = [split for split in SPLITS if (splits == split).any()]
    labels = {split: decisions.labels[samples & (splits == split)] for split in existing}
    return {
        "kept": {split: len(of_split) for split, of_split in labels.items()},
        "drawn": _by_name(DRAWN, splits[samples & (splits != published)]),
        "classes": {
            split: {name: int((of_split == name).sum()) for name in classes}
            for split, of_split in labels.items()
        },
        "dropped": dropped(decisions.reasons[rows]),
        "leaks": {
            "near_duplicates": duplicates.between_splits(splits[samples], decisions.clusters[samples]),
            "groups": _of_people(splits[samples], images.groups.filter(pa.array(samples))),
        },
        "agreement": agreement.summary(images.votes[rows & images.votes.any(axis=1)], images.vocabulary),
    }


def _of_people(splits: np.ndarray, groups: pa.Array) -> dict[str, int]:
    """Return the leaks of people between splits; none if no image names its person."""
    return duplicates.between_splits(splits, groups) if groups.null_count < len(groups) else {}


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, int]:
    """Return the number of rows with each name, without the names that no row has."""
    found = {name: int((values == name).sum()) for name in names}
    return {name: number for name, number in found.items() if number}
