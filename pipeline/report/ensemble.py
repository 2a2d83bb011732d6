"""Average the probabilities of several runs, and compare the average with the single runs.

Averaging the outputs of networks that differ only by chance lowers their variance (Hansen and Salamon 1990, "Neural
Network Ensembles").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import UserError
from pipeline.evaluation import metrics
from pipeline.experiments.scores import HEADLINE
from pipeline.experiments.significance import Answers, bootstrap_interval, resampled_scores
from pipeline.report.cells import Difference
from pipeline.report.predictions import SplitPredictions
from pipeline.report.run import FinishedRun
from pipeline.tables.columns import places


class SplitEnsemble(NamedTuple):
    """The runs and their average on a split. The scores are accuracy, macro recall and macro F1, by `HEADLINE`'s keys.

    Attributes:
        split: name of the split.
        faces: number of its faces.
        runs: scores of each run.
        average: scores of the averaged probabilities.
        over_best: the average's score minus that of the run with the highest score, by score.
        over_mean: the average's score minus the mean of the runs' scores, by score.
    """

    split: str
    faces: int
    runs: list[dict[str, float]]
    average: dict[str, float]
    over_best: dict[str, Difference]
    over_mean: dict[str, Difference]


def ensembles(
    runs: Sequence[FinishedRun], predictions: Sequence[dict[str, SplitPredictions]]
) -> Iterator[SplitEnsemble]:
    """Yield the average of runs on each split.

    The gains have 95 % intervals of a paired bootstrap. In a resample, all runs and their average have the same faces.

    Args:
        runs: at least two.
        predictions: those of each run, by split.

    Raises:
        UserError: the runs have other classes, splits, faces or labels.
    """
    for run, own in zip(runs[1:], predictions[1:], strict=True):
        _check_alike(runs[0], predictions[0], run, own)
    for split, first in predictions[0].items():
        classes = runs[0].classes(split)
        probabilities = [
            own[split].probabilities[places(first.ids, own[split].ids)].astype(np.float64)
            for own in predictions
        ]
        answers = [
            Answers(first.labels, each.argmax(axis=1))
            for each in (*probabilities, np.mean(probabilities, axis=0))
        ]
        yield _compared(split, answers, classes)


def _compared(split: str, answers: Sequence[Answers], classes: list[str]) -> SplitEnsemble:
    """Compare the answers of an average, the last ones, with those of its runs."""
    scores = [
        {key: metrics.headline(each.labels, each.predicted, classes)[key] for key in HEADLINE}
        for each in answers
    ]
    resampled = resampled_scores(answers, classes)
    *runs, average = scores
    over_best, over_mean = {}, {}
    for key in HEADLINE:
        values = [run[key] for run in runs]
        *singles, averaged = (each[key] for each in resampled)
        best, mean = int(np.argmax(values)), float(np.mean(values))
        over_best[key] = _gain(average[key] - values[best], averaged - singles[best])
        over_mean[key] = _gain(average[key] - mean, averaged - np.mean(singles, axis=0))
    return SplitEnsemble(split, len(answers[0].labels), runs, average, over_best, over_mean)


def _gain(value: float, resampled: np.ndarray) -> Difference:
    low, high = bootstrap_interval(resampled) or (None, None)
    return Difference(value, low, high)


def _check_alike(
    first: FinishedRun,
    of_first: dict[str, SplitPredictions],
    run: FinishedRun,
    own: dict[str, SplitPredictions],
) -> None:
    """Reject a run whose probabilities cannot be averaged with those of the first.

    Raises:
        UserError: it has other splits, classes, faces or labels.
    """
    if own.keys() != of_first.keys():
        raise UserError.of(
            run.name, f"the splits {', '.join(own)}", f"those of {first.name}: {', '.join(of_first)}"
        )
    for split, theirs in of_first.items():
        ours, classes = own[split], first.classes(split)
        if run.classes(split) != classes:
            raise UserError.of(
                run.name,
                f"the classes {', '.join(run.classes(split))}",
                f"those of {first.name}: {', '.join(classes)}",
            )
        rows = places(theirs.ids, ours.ids)
        known = int((rows >= 0).sum())
        if known < max(len(ours.ids), len(theirs.ids)):
            raise UserError.of(
                f"{run.name}: {split}",
                f"{len(ours.ids)} faces, {known} of them in {first.name}",
                f"the {len(theirs.ids)} faces of {first.name}",
            )
        if differing := int((ours.labels[rows] != theirs.labels).sum()):
            raise UserError.of(
                f"{run.name}: {split}", f"other labels for {differing} faces", f"the labels of {first.name}"
            )
