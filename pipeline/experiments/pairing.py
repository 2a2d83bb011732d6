"""Pair the predictions of two rows by seed and image, and test their difference."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.experiments import significance
from pipeline.experiments.scores import EvaluationBySeed, score_at

PredictionsBySeed = dict[int, Path | None]  # files of predictions of the runs of a row


def _scored_rule(evaluation: dict[str, Any]) -> Any:
    """Return the rule of the labels that the scores use: `distribution` has the labels of `plurality`."""
    rule = evaluation.get("rule")
    return "plurality" if rule == "distribution" else rule


class PairedTests:
    """Tests of each row against the baseline, over the seeds for which the predictions of both exist.

    `others` are rows whose settings of images or labels differ from the baseline's. They may still have the same images
    and labels, which only the predictions show. So if such a row's predictions cannot be paired with the
    baseline's, the row counts as scored on other images or labels (`unlike`).
    """

    def __init__(
        self,
        evaluations: dict[str, EvaluationBySeed],
        predictions: dict[str, PredictionsBySeed],
        baseline: str,
        split: str,
        others: set[str],
    ) -> None:
        self.evaluations, self.baseline, self.split = evaluations, baseline, split
        # Rows that are scored on other images or labels than the baseline.
        self.unlike = {row for row in evaluations if self._has_other_images(row, split)}
        self.images = 0
        # For each row: one pair per shared seed. A pair holds two positions in `answers`: that of the baseline's run
        # and that of the row's run.
        self.pairs: dict[str, list[tuple[int, int]]] = {}
        self.notes = [
            f"{row}: not tested for seeds {', '.join(map(str, lost))}, whose predictions are not in DVC's cache"
            for row, seeds in predictions.items()
            if (lost := [seed for seed, file in seeds.items() if not file])
        ]
        files = {
            (row, seed): file
            for row, seeds in predictions.items()
            for seed, file in seeds.items()
            if file and predictions[baseline].get(seed) and row not in self.unlike
        }
        if any(row != baseline for row, _ in files):
            self._pair(files)
        self.unlike |= others - self.pairs.keys()
        self.notes += [
            f"{row}: no difference and no p-values, because its images or labels differ from those of {baseline}"
            for row in evaluations
            if row in self.unlike
        ]

    def _pair(self, files: dict[tuple[str, int], Path]) -> None:
        """Read the predictions of runs and pair each row's with the baseline's."""
        self.answers, self.classes = significance.read_answers(list(files.values()), self.split)
        index = {run: number for number, run in enumerate(files)}
        for row in dict.fromkeys(name for name, _ in files if name != self.baseline):
            pairs = [
                (index[self.baseline, seed], number) for (name, seed), number in index.items() if name == row
            ]
            if all(np.array_equal(self.answers[a].labels, self.answers[b].labels) for a, b in pairs):
                self.pairs[row] = pairs
            else:
                self.unlike.add(row)
        if self.pairs:
            # Images that only other runs have say nothing about a pair.
            labels = [self.answers[number].labels for pairs in self.pairs.values() for _, number in pairs]
            known = (np.array(labels) >= 0).any(axis=0)
            self.answers = [significance.Answers(*(column[known] for column in run)) for run in self.answers]
            self.images = int(known.sum())

    def comparable(self, row: str, key: str) -> bool:
        """Return whether a row is scored on the same images and labels as the baseline, as far as is known.

        It is False for the baseline itself.
        """
        alike = row not in (self.baseline, *self.unlike)
        return alike and not self._has_other_images(row, key.partition(".")[0])

    def _has_other_images(self, row: str, split: str) -> bool:
        """Return whether a row is scored on other images or labels than the baseline, as far as the scores tell."""
        ours, theirs = self.evaluations[row], self.evaluations[self.baseline]
        return any(
            _scored_rule(ours[seed]) != _scored_rule(theirs[seed])
            or score_at(ours[seed], f"{split}.images") != score_at(theirs[seed], f"{split}.images")
            for seed in ours.keys() & theirs.keys()
        )

    def mcnemar_p(self, row: str) -> float | None:
        """Return the p-value of McNemar's test of a row; None if it cannot be tested."""
        pairs = self.pairs.get(row)
        if not pairs or not self.images:
            return None
        return significance.mcnemar_p(
            [self.answers[a] for a, _ in pairs], [self.answers[b] for _, b in pairs]
        )

    def bootstrap_p(self, row: str, key: str) -> float | None:
        """Return the bootstrap's p-value of a row and a score by its key; None if it cannot be tested."""
        differences = self._differences(row, key)
        p = math.nan if differences is None else significance.bootstrap_p(differences)
        return None if math.isnan(p) else p

    def bootstrap_interval(self, row: str, key: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a row's difference from the baseline over resamples of the images.

        None if the predictions of the row cannot be paired with the baseline's, or the score is none of theirs.
        """
        differences = self._differences(row, key)
        return None if differences is None else significance.bootstrap_interval(differences)

    def _differences(self, row: str, key: str) -> np.ndarray | None:
        """Return the row's score minus the baseline's on each resample, the mean over the pairs, [B]."""
        split, _, score = key.partition(".")
        pairs = self.pairs.get(row)
        if not pairs or not self.images or split != self.split or score not in self._resampled[0]:
            return None
        differences = [self._resampled[b][score] - self._resampled[a][score] for a, b in pairs]
        return np.mean(differences, axis=0)

    @cached_property
    def _resampled(self) -> list[dict[str, np.ndarray]]:
        return significance.resampled_scores(self.answers, self.classes)
