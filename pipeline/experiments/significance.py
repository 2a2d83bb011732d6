"""Test whether the difference between two rows could be due to the choice of images.

The tests use the predictions of paired runs: runs with the same seed form a pair. The images are the independent units,
so the predictions of all seeds for one image stay together. Several images of one person, or copies of one image, also
count as independent. The tests say nothing about other seeds; the spread over seeds shows the effect of the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.tables.store import read_parquet

RESAMPLES = 10_000
BATCH = 500  # resamples in memory at a time


class Answers(NamedTuple):
    """Labels and predictions of one run.

    Attributes:
        labels: true classes, [N] integers from 0, of the N images that at least one of the compared runs has in its
            split; -1 for an image that this run has not.
        predicted: predicted class of each image, in the same form.
    """

    labels: np.ndarray
    predicted: np.ndarray

    def correct(self) -> np.ndarray:
        """Return 1 for each correctly classified image, else 0: [N]."""
        return ((self.labels == self.predicted) & (self.labels >= 0)).astype(np.int64)


def read_answers(files: Sequence[Path], split: str) -> tuple[list[Answers], list[str]]:
    """Return the answers of each run on a split, and the names of the classes.

    The arrays of all runs cover the same images: every image that any run has in the split.

    Args:
        files: tables of predictions, at least one.
        split: name of the split.

    Raises:
        UserError: a file is not a table of predictions.
    """
    tables = [read_parquet(file, ["id", "split", "label", "predicted"]).to_pandas() for file in files]
    tables = [table[table["split"] == split] for table in tables]
    images = np.unique(np.concatenate([table["id"].to_numpy(str) for table in tables]))
    names = [table[column].to_numpy(str) for table in tables for column in ("label", "predicted")]
    classes = np.unique(np.concatenate(names))
    runs = []
    for table in tables:
        rows = np.searchsorted(images, table["id"].to_numpy(str))
        answers = Answers(np.full(len(images), -1), np.full(len(images), -1))
        answers.labels[rows] = np.searchsorted(classes, table["label"].to_numpy(str))
        answers.predicted[rows] = np.searchsorted(classes, table["predicted"].to_numpy(str))
        runs.append(answers)
    return runs, classes.tolist()


def mcnemar_p(baseline: Sequence[Answers], row: Sequence[Answers]) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947). Hypothesis: both rows are equally accurate.

    With one seed, the test counts the images that only one of the two rows classifies correctly. Under the hypothesis,
    each row has the same chance, 1/2, to be the correct one.

    With several seeds, the predictions for one image are not independent and must not be pooled. Each image then has a
    gain: the number of seeds for which the row is correct, minus the number of seeds for which the baseline is. Under
    the hypothesis, either sign of a gain is equally likely. This is the exact permutation test of paired samples
    (Fisher 1935). With one seed it equals McNemar's test.

    Args:
        baseline: answers of the baseline for each seed.
        row: answers of the row for the same seeds and images.
    """
    from scipy.stats import binom

    gains = sum(ours.correct() - theirs.correct() for theirs, ours in zip(baseline, row, strict=True))
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    # Under the hypothesis, each image's gain is positive or negative with equal probability. So the sum of the positive
    # gains gets either |gain| or 0 from each image. `probabilities[k]` is the probability that this sum is k.
    probabilities = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        own = np.zeros(size * count + 1)
        own[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        probabilities = np.convolve(probabilities, own)
    lower = min(gains[gains > 0].sum(), -gains[gains < 0].sum())
    return float(min(2 * probabilities[: lower + 1].sum(), 1.0))


def resampled_scores(
    runs: Sequence[Answers], classes: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> list[dict[str, np.ndarray]]:
    """Return the scores of runs on resamples of the images (Efron 1979). All runs share the resamples.

    Args:
        runs: answers for the same N images.
        classes: names of the K classes, in the order of their numbers.
        seed: equal seeds give equal resamples.
        resamples: number of resamples, B.

    Returns:
        For each run: `accuracy`, `macro_recall`, `macro_f1`, and `per_class.<class>.precision`, `.recall` and `.f1`,
        each [B]. If a resample has no image of a class, the recall and F1 of that class are NaN and the means
        leave the class out. The precision of the class is then 0, or NaN if no image is predicted as the class.
    """
    images = len(runs[0].labels)
    generator = np.random.default_rng(seed)
    indicators = [_indicators(run, len(classes)) for run in runs]
    batches: list[list[np.ndarray]] = [[] for _ in runs]
    for start in range(0, resamples, BATCH):
        drawn = generator.multinomial(
            images, np.full(images, 1 / images), size=min(BATCH, resamples - start)
        ).astype(np.float32)
        for counts, indicator in zip(batches, indicators, strict=True):
            counts.append(drawn @ indicator)  # integers below 2^24, which float32 holds exactly
    return [_scores(np.concatenate(counts).astype(np.float64), classes) for counts in batches]


def bootstrap_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of a difference, computed from its values on B resamples, [B].

    The p-value is twice the fraction of resamples in which the difference is 0 or changes sign. It is below 0.05 if the
    95 % percentile interval excludes 0. One is added to numerator and denominator of the fraction, so the p-value is at
    least 2 / (B + 1) and never 0. It is NaN if all values are NaN.
    """
    known = differences[~np.isnan(differences)]
    if not len(known):
        return float("nan")
    fewer = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(2 * (fewer + 1) / (len(known) + 1), 1.0))


def bootstrap_interval(differences: np.ndarray) -> tuple[float, float] | None:
    """Return the ends of the 95 % percentile interval of a difference, computed from its values on B resamples, [B].

    None if all values are NaN.
    """
    known = differences[~np.isnan(differences)]
    if not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def _indicators(run: Answers, classes: int) -> np.ndarray:
    """Return [N, 3K] of 0 and 1, three blocks of one column per class.

    The first block marks the class of each image if it is predicted correctly, the second its label, the third its
    prediction.
    """
    own = np.arange(classes)
    labelled = run.labels[:, None] == own
    predicted = (run.predicted[:, None] == own) & (run.labels[:, None] >= 0)
    return np.concatenate([labelled & predicted, labelled, predicted], axis=1).astype(np.float32)


def _scores(counts: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    correct, labelled, predicted = np.split(counts, 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = correct / predicted, correct / labelled
        f1 = np.where(labelled > 0, 2 * correct / (labelled + predicted), np.nan)
        present = (labelled > 0).sum(axis=1)
        scores = {
            "accuracy": correct.sum(axis=1) / labelled.sum(axis=1),
            "macro_recall": np.nansum(recall, axis=1) / present,
            "macro_f1": np.nansum(f1, axis=1) / present,
        }
    for number, name in enumerate(classes):
        for score, values in {"precision": precision, "recall": recall, "f1": f1}.items():
            scores[f"per_class.{name}.{score}"] = values[:, number]
    return scores
