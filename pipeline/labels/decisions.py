"""Decide the label and the split of every picture and whether it is a sample, and count the decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.labels import agreement, duplicates, voting
from pipeline.labels.pictures import Pictures, use_published_valid
from pipeline.labels.quota import TooFewPictures
from pipeline.labels.splits import Draw, draw, hashes_of
from pipeline.params.model import Labels
from pipeline.tables import schema
from pipeline.tables.vocabulary import DRAWN, SPLITS


@dataclass(frozen=True)
class Decisions:
    """The decisions about N pictures.

    Attributes:
        pictures: the pictures.
        clusters: number of the cluster of each picture, int [N].
        drawn: the split of each picture; `drop` for a published valid picture that is left out.
        labels: class names, [N]; to be ignored for dropped pictures.
        targets: float32 [N, K]; to be ignored for dropped pictures.
        reasons: why a picture is dropped, [N]; "" for a sample.
    """

    pictures: Pictures
    clusters: np.ndarray
    drawn: Draw
    labels: np.ndarray
    targets: np.ndarray
    reasons: np.ndarray

    @property
    def splits(self) -> np.ndarray:
        """Return the split of each picture, [N]."""
        return self.drawn.splits

    @property
    def kept(self) -> np.ndarray:
        """Return whether each picture is a sample, bool [N]."""
        return self.reasons == ""


def decide(
    pictures: Pictures, excluded: np.ndarray, classes: Sequence[str], settings: Labels, seed: int
) -> Decisions:
    """Return the decisions about pictures.

    A share is drawn from all pictures, so the split of a picture does not depend on `excluded`, `classes`,
    `labels.min_votes` and `labels.min_share`, unless a split would have no sample. Numbers of each class are numbers of
    samples, so it does.

    Args:
        pictures: of all data sets.
        excluded: whether `labels.exclude` lists each picture, bool [N].
        classes: names in label order, K.
        settings: the block `labels` of `params.yaml`.
        seed: of drawn splits.

    Raises:
        UserError: a data set publishes no valid split to use, or has too few pictures of a class for a drawn split.
    """
    pictures = use_published_valid(pictures, settings.published_valid)
    clusters = duplicates.clusters(pictures.pixels, pictures.low, pictures.signs)
    winners, targets, reasons = voting.decide(
        pictures.votes, pictures.single, classes, settings, pictures.vocabulary
    )
    left_out = pictures.published == "drop"
    reasons = np.select(
        [excluded, left_out, pictures.missing], ["excluded", "published_valid", "missing_face"], reasons
    ).astype(object)
    drawn = _draw(pictures, clusters, winners, reasons == "", settings, seed)
    usable = np.flatnonzero(reasons == "")
    leaking = duplicates.leaking(settings.duplicates, drawn.splits[usable], clusters[usable])
    reasons[usable[leaking]] = "duplicate"
    return Decisions(pictures, clusters, drawn, np.array(pictures.vocabulary)[winners], targets, reasons)


def _draw(
    pictures: Pictures,
    clusters: np.ndarray,
    winners: np.ndarray,
    samples: np.ndarray,
    settings: Labels,
    seed: int,
) -> Draw:
    """Return the split of every picture. What is left out holds no other picture back."""
    names, datasets = np.unique(pictures.datasets, return_inverse=True)
    left_out = pictures.published == "drop"
    together = [
        duplicates.links([None if out else key for out, key in zip(left_out, keys, strict=True)])
        for keys in (clusters.tolist(), pictures.groups)
    ]
    keys = [
        pixels if group is None else "\0".join(group)
        for group, pixels in zip(pictures.groups, pictures.pixels, strict=True)
    ]
    kinds = len(pictures.vocabulary) + 1  # the first one: no majority
    try:
        return draw(
            splits=pictures.published,
            drawable=pictures.drawable,
            datasets=datasets,
            strata=datasets * kinds + winners + 1,
            groups=duplicates.connected(len(clusters), together),
            hashes=hashes_of(keys, seed),
            samples=samples,
            sizes=(settings.valid, settings.test),
        )
    except TooFewPictures as error:
        dataset, winner = divmod(error.stratum, kinds)
        raise UserError.of(
            "params.yaml: labels.valid + labels.test",
            f"{error.wanted:,} pictures of {pictures.vocabulary[winner - 1]} in {names[dataset]}",
            f"fewer than {error.found:,}, those that can be drawn; the rest is train",
        ) from None


def sample_rows(decisions: Decisions) -> Iterator[dict[str, Any]]:
    """Yield the rows of `data/labels.parquet`. `duplicate_of` and `cluster` name rows of this table."""
    pictures, rows = decisions.pictures, np.flatnonzero(decisions.kept)
    ids, pixels = ([column[row] for row in rows] for column in (pictures.ids, pictures.pixels))
    splits = decisions.splits[rows]
    first = duplicates.first_ids(ids, splits, pixels)
    columns = (
        ids,
        pictures.datasets[rows].tolist(),
        splits.tolist(),
        decisions.labels[rows].tolist(),
        decisions.targets[rows],
        [None if name == id_ else name for name, id_ in zip(first, ids, strict=True)],
        duplicates.first_ids(ids, splits, decisions.clusters[rows].tolist()),
        [pictures.attributes[row] for row in rows],
    )
    for row in zip(*columns, strict=True):
        yield dict(zip(schema.labels(()).names, row, strict=True))


def counts(
    decisions: Decisions, classes: Sequence[str], rejected: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Return the counts over all data sets, the repeated pictures and, for several data sets, the counts of each.

    Args:
        decisions: about the pictures of all data sets.
        classes: names in label order.
        rejected: number of records of each data set that ingest rejected, by reason.
    """
    pictures, splits, clusters = decisions.pictures, decisions.splits, decisions.clusters
    repeats: dict[str, Any] = duplicates.between_splits(splits, clusters)
    repeats["within"] = duplicates.within_splits(splits, clusters)
    metrics = {
        **_counts(decisions, classes, np.ones(len(splits), bool)),
        "not_read": rejected,
        "duplicates": duplicates.between_splits(splits, pictures.pixels),
        "near_duplicates": repeats,
        "groups": duplicates.between_splits(splits, pictures.groups) if any(pictures.groups) else {},
    }
    if len(rejected) > 1:
        repeats["datasets"] = duplicates.between_datasets(pictures.datasets, clusters)
        metrics["datasets"] = {
            name: _counts(decisions, classes, pictures.datasets == name) for name in rejected
        }
    return metrics


def too_small(decisions: Decisions, settings: Labels) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield the name of each split that is drawn by number, the number, and the classes that have fewer samples."""
    for split, counts_in_split in _of_drawn_classes(decisions):
        number = getattr(settings, split)
        if isinstance(number, int) and number:
            short = {name: count for name, count in counts_in_split.items() if count < number}
            if short:
                yield split, number, short


def absent(decisions: Decisions, settings: Labels) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each split that is drawn by share, and the classes of which it has no sample."""
    for split, counts_in_split in _of_drawn_classes(decisions):
        share = getattr(settings, split)
        without = [name for name, count in counts_in_split.items() if not count]
        if isinstance(share, float) and share and without:
            yield split, without


def followed(decisions: Decisions) -> dict[str, int]:
    """Return the number of samples in each drawn split that are there only because a picture of their group is."""
    splits = decisions.splits[decisions.kept & decisions.drawn.followed].tolist()
    return {split: splits.count(split) for split in DRAWN if split in splits}


def filled(decisions: Decisions) -> list[str]:
    """Return the data sets of which samples changed their split so that no split is empty."""
    return sorted(set(decisions.pictures.datasets[decisions.kept & decisions.drawn.filled].tolist()))


def _of_drawn_classes(decisions: Decisions) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the name of each drawn split, and its number of samples of each class of the data sets that draw it."""
    pictures, kept = decisions.pictures, decisions.kept
    sources = np.char.add(np.char.add(decisions.labels, " of "), pictures.datasets.astype(str))
    for column, split in enumerate(DRAWN):
        of_split = Counter(sources[kept & (decisions.splits == split)].tolist())
        drawn = sorted(set(sources[kept & pictures.drawable[:, column]].tolist()))
        yield split, {name: of_split[name] for name in drawn}


def dropped(reasons: np.ndarray) -> dict[str, int]:
    """Return the number of dropped pictures by reason."""
    return dict(sorted(Counter(reasons[reasons != ""].tolist()).items()))


def _counts(decisions: Decisions, classes: Sequence[str], rows: np.ndarray) -> dict[str, Any]:
    """Return the counts of samples, of dropped pictures and the agreement among `rows`, bool [N].

    Splits without pictures are left out, unless another data set has pictures in them.
    """
    splits, samples, pictures = decisions.splits, rows & decisions.kept, decisions.pictures
    published = np.where(pictures.published == "", "train", pictures.published)
    moved = splits[samples & (splits != published)].tolist()
    existing = [split for split in SPLITS if split in splits]
    labels = {split: decisions.labels[samples & (splits == split)].tolist() for split in existing}
    return {
        "kept": {split: len(of_split) for split, of_split in labels.items()},
        "drawn": {split: moved.count(split) for split in DRAWN if split in moved},
        "classes": {
            split: {name: of_split.count(name) for name in classes} for split, of_split in labels.items()
        },
        "dropped": dropped(decisions.reasons[rows]),
        "agreement": agreement.summary(
            pictures.votes[rows & pictures.votes.any(axis=1)], pictures.vocabulary
        ),
    }
