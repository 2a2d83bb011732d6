"""Whether two rows differ by more than other images would change: tests on the predictions of paired runs.

Runs of one seed are paired, and images are what is drawn: all predictions for one image, of all seeds, stay
together. Neither test covers what other seeds would change, which the spread over seeds shows; pictures of one person
or copies of one picture count as if each were by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.tables.store import read_parquet

RESAMPLES = 10_000
BATCH = 500  # resamples at a time: what is held in memory


class Answers(NamedTuple):
    """What one run said.

    Attributes:
        labels: true class of each image, [N] integers from 0; -1 where this run's split does not hold the image.
        predicted: the class it gave, the same.
    """

    labels: np.ndarray
    predicted: np.ndarray

    def right(self) -> np.ndarray:
        """Return 1 for each image whose class it found, else 0: [N]."""
        return ((self.labels == self.predicted) & (self.labels >= 0)).astype(np.int64)


def read(files: Sequence[Path], split: str) -> tuple[list[Answers], list[str]]:
    """Read what runs said of a split, over the images of all of them together, and the names of the classes.

    Args:
        files: tables of predictions, at least one.
        split: whose rows count.

    Raises:
        UserError: a file is no table of predictions.
    """
    tables = [read_parquet(file, ["id", "split", "label", "predicted"]).to_pandas() for file in files]
    tables = [table[table["split"] == split] for table in tables]
    images = np.unique(np.concatenate([table["id"].to_numpy(str) for table in tables]))
    words = [table[column].to_numpy(str) for table in tables for column in ("label", "predicted")]
    classes = np.unique(np.concatenate(words))
    found = []
    for table in tables:
        places = np.searchsorted(images, table["id"].to_numpy(str))
        answers = Answers(np.full(len(images), -1), np.full(len(images), -1))
        for numbers, column in ((answers.labels, "label"), (answers.predicted, "predicted")):
            numbers[places] = np.searchsorted(classes, table[column].to_numpy(str))
        found.append(answers)
    return found, classes.tolist()


def mcnemar(baseline: Sequence[Answers], row: Sequence[Answers]) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947), that both are right equally often.

    With one seed: of the images that one alone is right on, as many should be either's; binomial with 1/2.

    With several, predictions for one image are not independent, so that pairs must not be summed over seeds. An image
    counts by how many more seeds are right on it in the one than in the other, and under the hypothesis either sign is
    equally likely: the permutation test of paired samples (Fisher 1935), exact as well, and McNemar's for one seed.

    Args:
        baseline: of each seed.
        row: of the same seeds, over the same images.
    """
    from scipy.stats import binom

    more = sum(ours.right() - theirs.right() for theirs, ours in zip(baseline, row, strict=True))
    sizes, counts = np.unique(np.abs(more[more != 0]), return_counts=True)
    # Distribution of the sum over images of size * (0 or 1), from 0 to the sum of all sizes.
    chances = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        own = np.zeros(size * count + 1)
        own[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, own)
    lower = min(more[more > 0].sum(), -more[more < 0].sum())
    return float(min(2 * chances[: lower + 1].sum(), 1.0))


def resampled(
    runs: Sequence[Answers], classes: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> list[dict[str, np.ndarray]]:
    """Return scores of runs over resamples of the images, the same ones for all runs (Efron 1979).

    Args:
        runs: over the same images, [N] each.
        classes: names of the K classes, in the order of their numbers.
        seed: equal arguments give equal resamples.
        resamples: how many, B.

    Returns:
        Of each run `accuracy`, `macro_recall`, `macro_f1`, and `per_class.<class>.precision`, `.recall` and `.f1`, [B]
        each. A class of which a resample holds no image is NaN, and left out of the means.
    """
    images = len(runs[0].labels)
    generator = np.random.default_rng(seed)
    marks = [_marks(run, len(classes)) for run in runs]
    parts: list[list[np.ndarray]] = [[] for _ in runs]
    for start in range(0, resamples, BATCH):
        drawn = generator.multinomial(
            images, np.full(images, 1 / images), size=min(BATCH, resamples - start)
        ).astype(np.float32)
        for part, mark in zip(parts, marks, strict=True):
            part.append(drawn @ mark)  # whole numbers below 2^24: exact
    return [_scores(np.concatenate(part).astype(np.float64), classes) for part in parts]


def bootstrap(differences: np.ndarray) -> float:
    """Return the two-sided p-value of a difference from its resamples, [B]; NaN without any.

    Twice the share of resamples that lie at 0 or on its other side, so that p is below 0.05 where the 95 % interval of
    percentiles excludes 0. One is added to both counts: p is never 0, and at least 2 / (B + 1).
    """
    known = differences[~np.isnan(differences)]
    if not len(known):
        return float("nan")
    fewer = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(2 * (fewer + 1) / (len(known) + 1), 1.0))


def _marks(run: Answers, classes: int) -> np.ndarray:
    """Return for each image where it counts: found right, truly and predicted of each class, [N, 3K] of 0 and 1."""
    own = np.arange(classes)
    here = run.labels[:, None] >= 0
    true, said = run.labels[:, None] == own, (run.predicted[:, None] == own) & here
    return np.concatenate([true & said, true, said], axis=1).astype(np.float32)


def _scores(counts: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    right, true, said = np.split(counts, 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = right / true, np.where(true > 0, 2 * right / (true + said), np.nan)
        precision = right / said
        occurring = (true > 0).sum(axis=1)
        scores = {
            "accuracy": right.sum(axis=1) / true.sum(axis=1),
            "macro_recall": np.nansum(recall, axis=1) / occurring,
            "macro_f1": np.nansum(f1, axis=1) / occurring,
        }
    for number, name in enumerate(classes):
        scores |= {
            f"per_class.{name}.precision": precision[:, number],
            f"per_class.{name}.recall": recall[:, number],
            f"per_class.{name}.f1": f1[:, number],
        }
    return scores
