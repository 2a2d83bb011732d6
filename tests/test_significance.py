"""McNemar's test against scipy's binomial and permutation tests; the bootstrap against scikit-learn in a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, recall_score

from pipeline.experiments import significance
from pipeline.experiments.significance import Answers, bootstrap_p, mcnemar_p, resampled_scores

ANSWERS = st.lists(st.tuples(*[st.integers(0, 2)] * 5), min_size=1, max_size=9)


def answers(labels, predicted) -> Answers:
    return Answers(np.array(labels), np.array(predicted))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_of_one_seed_it_is_the_binomial_test_of_the_discordant_pairs(first, second, alike):
    # Label 1 everywhere: `first` images that the baseline alone finds, `second` that the row alone finds.
    labels = [1] * (first + second + alike)
    baseline = answers(labels, [1] * first + [0] * second + [1] * alike)
    row = answers(labels, [0] * first + [1] * second + [1] * alike)

    found = mcnemar_p([baseline], [row])

    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_textbooks_figure() -> None:
    # 1 against 9 discordant pairs, by hand: 2 * (C(10, 0) + C(10, 1)) / 2^10.
    baseline, row = answers([1] * 10, [1] + [0] * 9), answers([1] * 10, [0] + [1] * 9)
    assert mcnemar_p([baseline], [row]) == pytest.approx(22 / 1024)


@given(ANSWERS)
def test_of_several_seeds_it_is_the_permutation_test_of_paired_samples(images):
    labels, *said = np.array(images).T
    baseline, row = [answers(labels, one) for one in said[:2]], [answers(labels, one) for one in said[2:]]
    theirs, ours = (sum(one.correct() for one in some) for some in (baseline, row))

    found = mcnemar_p(baseline, row)

    # Every way to swap the two of each image; twice the smaller tail.
    def statistic(x, y, axis):
        return (y - x).sum(axis=axis)

    if len(labels) == 1:
        expected = 1.0  # scipy wants two; one image and its mirror are both as likely
    else:
        test = stats.permutation_test(
            (theirs, ours), statistic, permutation_type="samples", vectorized=True, n_resamples=np.inf
        )
        expected = min(test.pvalue, 1.0)
    assert found == pytest.approx(expected, abs=1e-9)


def test_predictions_of_one_image_are_not_counted_as_images_of_their_own() -> None:
    # Three seeds that say the same tell no more than one.
    baseline, row = answers([1] * 10, [1] + [0] * 9), answers([1] * 10, [0] + [1] * 9)
    assert mcnemar_p([baseline] * 3, [row] * 3) == pytest.approx(mcnemar_p([baseline], [row]))


def test_where_nothing_differs_p_is_one() -> None:
    one = answers([0, 1, 2], [0, 1, 1])
    assert mcnemar_p([one], [one]) == 1
    scores = resampled_scores([one, one], "abc", resamples=50)
    assert bootstrap_p(scores[1]["accuracy"] - scores[0]["accuracy"]) == 1


def test_if_the_hypothesis_is_true_few_p_values_are_small() -> None:
    rng = np.random.default_rng(0)
    small = {"mcnemar": 0, "bootstrap": 0}
    for _ in range(200):
        hard = rng.random(150)  # images that are hard for one seed are hard for the others
        runs = [answers(np.ones(150, int), (rng.random(150) > hard).astype(int)) for _ in range(6)]
        small["mcnemar"] += mcnemar_p(runs[:3], runs[3:]) < 0.05
        scores = [one["accuracy"] for one in resampled_scores(runs, "ab", resamples=200)]
        small["bootstrap"] += bootstrap_p(np.mean(scores[3:], axis=0) - np.mean(scores[:3], axis=0)) < 0.05
    # Standard error of the share: 0.015. The exact test keeps below its level, the bootstrap near it.
    assert small["mcnemar"] / 200 < 0.07
    assert small["bootstrap"] / 200 < 0.09


def test_resamples_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 40)
    runs = [answers(labels, np.where(rng.random(40) < share, labels, 0)) for share in (0.4, 0.8)]

    found = resampled_scores(runs, ["a", "b", "c"], seed=5, resamples=30)

    counts = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=30)
    for run, scores in zip(runs, found, strict=True):
        for number, count in enumerate(counts):
            drawn = np.repeat(np.arange(40), count)
            true, said = run.labels[drawn], run.predicted[drawn]
            kinds = np.unique(true)
            arguments = {"labels": kinds, "average": "macro", "zero_division": 0}
            assert scores["accuracy"][number] == pytest.approx(np.mean(true == said))
            assert scores["macro_recall"][number] == pytest.approx(recall_score(true, said, **arguments))
            assert scores["macro_f1"][number] == pytest.approx(f1_score(true, said, **arguments))
            if 1 in kinds:
                of = recall_score(true, said, labels=[1], average="macro")
                assert scores["per_class.b.recall"][number] == pytest.approx(of)
            else:
                assert np.isnan(scores["per_class.b.recall"][number])


def test_images_that_a_seed_does_not_have_count_nowhere() -> None:
    part = answers([0, 1, -1], [0, 1, -1])
    assert part.correct().tolist() == [1, 1, 0]
    scores = resampled_scores([part], "ab", resamples=20)[0]
    counts = np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), size=20)
    here = counts[:, :2].sum(axis=1) > 0
    assert (scores["accuracy"][here] == 1).all()


def test_p_agrees_with_the_interval_of_percentiles() -> None:
    rng = np.random.default_rng(2)
    for shift in np.linspace(0, 4, 60):
        drawn = rng.normal(shift, 1, 2000)
        low, high = np.percentile(drawn, [2.5, 97.5])
        p = bootstrap_p(drawn)
        if abs(p - 0.05) > 0.003:
            assert (p < 0.05) == (low > 0 or high < 0)
    assert bootstrap_p(np.full(999, 0.1)) == pytest.approx(2 / 1000)
    assert np.isnan(bootstrap_p(np.array([np.nan])))


def test_memory_is_bounded_by_batches_and_results_do_not_depend_on_them(monkeypatch) -> None:
    run = answers([0, 1, 1, 0], [0, 1, 0, 0])
    before = resampled_scores([run], "ab", resamples=40)[0]["macro_f1"]
    monkeypatch.setattr(significance, "BATCH", 7)
    assert resampled_scores([run], "ab", resamples=40)[0]["macro_f1"] == pytest.approx(before, nan_ok=True)
