import json
import statistics
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from pipeline.evaluation.metrics import confident_mistakes, scores
from pipeline.tables.vocabulary import CLASSES


def one_hot(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


def confusable(truth: str, prediction: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return labels, one-hot probabilities and classes of two annotators written as strings of letters."""
    classes = sorted(set(truth + prediction))
    labels, predicted = (np.array([classes.index(c) for c in text]) for text in (truth, prediction))
    return labels, one_hot(predicted, len(classes)), classes


@pytest.mark.parametrize(
    ("first", "second", "alpha"),
    # Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), examples A and B.
    [("0100000010", "1110010000", 0.095), ("aabbdcccedda", "babbbccceddd", 0.692)],
)
def test_alpha_of_krippendorffs_own_examples(first: str, second: str, alpha: float) -> None:
    assert scores(*confusable(first, second))["alpha"] == pytest.approx(alpha, abs=5e-4)


def test_kappa_of_the_textbook_table() -> None:
    # 50 grant proposals: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no. Observed 0.7, by chance 0.5.
    assert scores(*confusable("y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15))[
        "kappa"
    ] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("accuracy", "kappa"),  # weighted-cluster paper, table 5: 500 images of each of 8 classes
    [(50.65, 43.60), (46.07, 38.37), (52.22, 45.40), (47.08, 39.51), (59.72, 53.97), (60.70, 55.09)],
)
def test_kappa_is_the_one_that_the_weighted_cluster_paper_prints(accuracy: float, kappa: float) -> None:
    labels = np.repeat(np.arange(8), 500)
    predicted = labels.copy()
    wrong = np.random.default_rng(0).permutation(4000)[round(40 * accuracy) :]
    predicted[wrong] = (labels[wrong] + 1 + wrong % 7 % 3) % 8

    found = scores(labels, one_hot(predicted, 8), list(CLASSES))

    assert 100 * found["kappa"] == pytest.approx(kappa, abs=0.02)


def test_per_class_scores_are_those_of_the_mixaugment_paper() -> None:
    # Table 5, vanilla, on RAF-DB's 3,068 test images: correct, predicted and true images of each class follow
    # from the printed precision, recall and number of samples; the classes of the errors do not matter.
    table = {
        "surprise": (263, 315, 329, 83.49, 79.94, 81.68),
        "fear": (38, 55, 74, 69.09, 51.35, 58.91),
        "disgust": (82, 131, 160, 62.60, 51.25, 56.36),
        "happiness": (1108, 1200, 1185, 92.33, 93.50, 92.91),
        "sadness": (384, 474, 478, 81.01, 80.33, 80.67),
        "anger": (120, 151, 162, 79.47, 74.07, 76.68),
        "neutral": (581, 742, 680, 78.30, 85.44, 81.72),
    }
    right, said, true = np.array([row[:3] for row in table.values()]).T
    codes = np.arange(7)
    missed, intruding = np.repeat(codes, true - right), np.repeat(codes, said - right)
    # 161 of the 492 errors are predicted as neutral: shifted by 200 positions no error lands on its own class.
    intruding = np.roll(intruding, 200)
    assert (missed != intruding).all()
    labels = np.concatenate([np.repeat(codes, right), missed])
    predicted = np.concatenate([np.repeat(codes, right), intruding])

    found = scores(labels, one_hot(predicted, 7), list(table))

    assert found["images"] == 3068
    for name, (*_, precision, recall, f1) in table.items():
        row = found["per_class"][name]
        assert [round(100 * row[key], 2) for key in ("precision", "recall", "f1")] == pytest.approx(
            [precision, recall, f1], abs=0.011
        )


def test_confidence_is_the_probability_of_the_predicted_class() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.75, 0.25], [0.2, 0.8]])

    found = scores(np.array([0, 0, 0, 0]), probabilities, ["fear", "anger"])["confidence"]

    assert found == {
        "correct": {"mean": pytest.approx(0.75), "median": 0.75},
        "wrong": {"mean": 0.8, "median": 0.8},
    }


def test_a_class_that_the_split_lacks_is_left_out_of_the_means() -> None:
    # Four images: neutral, neutral, anger, anger; one anger is predicted as contempt, which the split lacks.
    predicted = np.array([0, 0, 1, 2])

    found = scores(np.array([0, 0, 1, 1]), one_hot(predicted, 4), ["neutral", "anger", "contempt", "fear"])

    assert found["macro_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["auc"] == pytest.approx((1 + 3 / 4) / 2)
    undefined = {"recall": None, "support": 0, "auc": None, "auc_pr": None}
    assert found["per_class"]["contempt"] == {"precision": 0, "f1": 0, **undefined}
    assert found["per_class"]["fear"] == {"precision": None, "f1": None, **undefined}


def test_what_one_class_alone_leaves_undefined_is_null() -> None:
    found = scores(np.array([1]), np.array([[0.1, 0.9]], np.float32), ["neutral", "fear"])

    assert (found["accuracy"], found["macro_recall"], found["macro_f1"]) == (1, 1, 1)
    assert [found[key] for key in ("kappa", "alpha", "auc", "auc_pr")] == [None] * 4
    assert found["confidence"]["wrong"] == {"mean": None, "median": None}


def area_under_roc(truth: np.ndarray, score: np.ndarray) -> float:
    """Return how often an image of the class scores above one of the others (Mann-Whitney); a tie counts half."""
    mine, others = score[truth][:, None], score[~truth][None]
    return float(((mine > others) + (mine == others) / 2).mean())


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the sum over thresholds of the precision there times the recall gained there."""
    area, before = 0.0, 0
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = truth[score >= threshold]
        area += taken.mean() * (taken.sum() - before) / truth.sum()
        before = taken.sum()
    return float(area)


def agreement(table: np.ndarray) -> tuple[float | None, float | None]:
    """Return Cohen's kappa and Krippendorff's nominal alpha of two annotators, from their table."""
    n, both = table.sum(), table.sum(axis=0) + table.sum(axis=1)
    if both.max() == 2 * n:
        return None, None
    observed = np.trace(table) / n
    by_chance = table.sum(axis=0) @ table.sum(axis=1) / n**2
    pooled = both @ (both - 1) / (2 * n * (2 * n - 1))
    return (observed - by_chance) / (1 - by_chance), 1 - (1 - observed) / (1 - pooled)


def mean_or_none(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def by_definition(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Return every score without a library: counted in a table, summed over pairs, thresholds and bins."""
    probabilities = probabilities.astype(np.float64)
    predicted = np.array([row.index(max(row)) for row in probabilities.tolist()])
    table = np.zeros((len(classes), len(classes)))
    for pair in zip(labels, predicted, strict=True):
        table[pair] += 1
    per_class: dict[str, Any] = {}
    for k, name in enumerate(classes):
        hits, said, true = table[k, k], table[:, k].sum(), table[k].sum()
        curve = (labels == k, probabilities[:, k]) if 0 < true < len(labels) else None
        per_class[name] = {
            "precision": hits / said if said else None,
            "recall": hits / true if true else None,
            "f1": 2 * hits / (said + true) if said + true else None,
            "support": true,
            "auc": area_under_roc(*curve) if curve else None,
            "auc_pr": average_precision(*curve) if curve else None,
        }
    occurring = [row for row in per_class.values() if row["support"]]
    right, confidence = predicted == labels, probabilities.max(axis=1)
    ece = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    kappa, alpha = agreement(table)
    return {
        "images": len(labels),
        "accuracy": right.mean(),
        "macro_recall": mean_or_none([row["recall"] for row in occurring]),
        "macro_f1": mean_or_none([row["f1"] for row in occurring]),
        "classes": len(occurring),
        "kappa": kappa,
        "alpha": alpha,
        "auc": mean_or_none([row["auc"] for row in occurring]),
        "auc_pr": mean_or_none([row["auc_pr"] for row in occurring]),
        "ece": ece,
        "per_class": per_class,
        "confidence": {
            name: {"mean": mean_or_none(part), "median": statistics.median(part) if part else None}
            for name, part in (
                ("correct", confidence[right].tolist()),
                ("wrong", confidence[~right].tolist()),
            )
        },
    }


def flat(report: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    rows = {}
    for key, value in report.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return rows


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw few distinct probabilities, so that ties are common, and few images, so that classes are absent."""
    count, classes = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    row = st.lists(st.integers(1, 4), min_size=classes, max_size=classes)
    weights = np.array(draw(st.lists(row, min_size=count, max_size=count)), np.float64)
    return np.array(labels), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@given(predictions())
def test_every_score_of_a_few_images_equals_its_definition(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = drawn
    classes = list(CLASSES[: probabilities.shape[1]])

    found = scores(labels, probabilities, classes)

    assert flat(found) == pytest.approx(flat(by_definition(labels, probabilities, classes)), abs=1e-12)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return labels, probabilities and classes of 1 to 120 images, some classes absent from one or both."""
    rng = np.random.default_rng(seed)
    count, classes = int(120 ** rng.random()), int(rng.integers(2, 9))
    occurring, predictable = (rng.permutation(classes)[: rng.integers(1, classes + 1)] for _ in range(2))
    labels = rng.choice(occurring, count)
    weights = np.full((count, classes), 1e-3)
    weights[:, predictable] += rng.gamma(rng.choice([0.3, 1, 5]), size=(count, len(predictable)))
    weights[np.arange(count), labels] += rng.random(count) * rng.choice([0, 1, 5])
    if seed % 2:  # many ties, and confidences on the edges of bins
        weights = np.round(weights) + (weights.max(axis=1, keepdims=True) < 0.5)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return labels, probabilities.astype(rng.choice([np.float32, np.float64])), list(CLASSES[:classes])


def test_every_score_of_random_cases_equals_its_definition() -> None:
    absent = dict.fromkeys(("truth", "prediction", "both"), 0)
    undefined = single = 0
    for seed in range(120):
        labels, probabilities, classes = random_case(seed)

        found = scores(labels, probabilities, classes)

        expected = by_definition(labels, probabilities, classes)
        assert flat(found) == pytest.approx(flat(expected), abs=1e-12), seed
        rows = found["per_class"].values()
        absent["truth"] += any(not row["support"] and row["precision"] is not None for row in rows)
        absent["prediction"] += any(row["support"] and row["precision"] is None for row in rows)
        absent["both"] += any(not row["support"] and row["precision"] is None for row in rows)
        undefined += found["kappa"] is None
        single += len(labels) == 1
    # The cases contain what they should.
    assert min(*absent.values(), undefined, single) >= 4


def test_the_scores_are_those_of_plain_library_calls() -> None:
    # With all classes present, none of our conventions applies.
    compared = 0
    for seed in range(400):
        labels, probabilities, classes = random_case(seed)
        if len(set(labels)) < len(classes) or len(classes) == 2:
            continue
        predicted = probabilities.argmax(axis=1)
        truth = np.eye(len(classes))[labels]

        found = scores(labels, probabilities, classes)

        assert {key: found[key] for key in ("accuracy", "macro_recall", "macro_f1", "kappa", "alpha")} == {
            "accuracy": pytest.approx(metrics.accuracy_score(labels, predicted)),
            "macro_recall": pytest.approx(metrics.recall_score(labels, predicted, average="macro")),
            "macro_f1": pytest.approx(metrics.f1_score(labels, predicted, average="macro")),
            "kappa": pytest.approx(metrics.cohen_kappa_score(labels, predicted)),
            "alpha": pytest.approx(krippendorff.alpha([labels, predicted], level_of_measurement="nominal")),
        }
        wide = probabilities.astype(np.float64)
        assert found["auc"] == pytest.approx(metrics.roc_auc_score(truth, wide))
        assert found["auc_pr"] == pytest.approx(metrics.average_precision_score(truth, wide))
        compared += 1
    assert compared > 40


def test_the_most_confident_mistakes_come_first() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.9, 0.1], [0.1, 0.9]])
    labels = np.array([1, 0, 0, 0, 0])  # all wrong except the fourth

    assert confident_mistakes(labels, probabilities, 3).tolist() == [1, 4, 2]
    assert confident_mistakes(labels, probabilities, 40).tolist() == [1, 4, 2, 0]
    assert scores(labels, probabilities, ["fear", "anger"])["accuracy"] == 0.2
