"""Paired differences against scipy's paired t-test, published data and cases by hand; the report as it is printed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from pipeline.comparison import Difference, at, difference, headline, report
from pipeline.errors import UserError

FRACTIONS = st.floats(0, 1)


@given(st.dictionaries(st.integers(1, 50), st.tuples(FRACTIONS, FRACTIONS), min_size=2, max_size=20))
def test_the_interval_is_that_of_scipys_paired_t_test(pairs: dict[int, tuple[float, float]]) -> None:
    baseline, row = np.array(list(pairs.values())).T
    assume(np.std(row - baseline) > 1e-9)  # scipy has no interval for differences that are all equal

    found = difference({s: p[0] for s, p in pairs.items()}, {s: p[1] for s, p in pairs.items()})

    expected = stats.ttest_rel(row, baseline)
    low, high = expected.confidence_interval(0.95)
    assert found == pytest.approx((len(pairs), np.mean(row - baseline), low, high), abs=1e-12)
    assume(abs(expected.pvalue - 0.05) > 1e-9)
    assert found.is_clear() == (expected.pvalue < 0.05)


def test_students_own_data_give_the_interval_that_r_prints() -> None:
    # Hours of sleep gained by ten patients with two drugs (Student 1908): t.test(..., paired = TRUE) in R.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

    found = difference(dict(enumerate(first)), dict(enumerate(second)))

    assert found == pytest.approx((10, 1.58, 0.7001142, 2.4598858), abs=1e-7)
    assert found.is_clear()


def test_three_pairs_by_hand() -> None:
    # Differences 0.01, 0.02, 0.03: mean 0.02, deviation 0.01; Student's t is 4.303 with two degrees of freedom.
    found = difference({1: 0.5, 2: 0.7, 3: 0.6}, {3: 0.63, 1: 0.51, 2: 0.72})

    half = 4.302653 * 0.01 / 3**0.5
    assert found == pytest.approx((3, 0.02, 0.02 - half, 0.02 + half), abs=1e-7)
    assert not found.is_clear()


def test_runs_are_paired_by_their_seed_and_the_others_left_out() -> None:
    assert difference({1: 0.5, 2: 0.6, 7: 0.9}, {2: 0.7, 1: 0.6, 3: 0.0}) == pytest.approx((2, 0.1, 0.1, 0.1))
    assert difference({1: 0.5, 2: 0.6}, {2: 0.5}) == (1, pytest.approx(-0.1), None, None)
    assert difference({1: 0.5}, {2: 0.5}) == difference({}, {}) == (0, None, None, None)
    assert not difference({1: 0.5}, {1: 0.9}).is_clear()


def test_differences_without_spread_are_a_point() -> None:
    assert difference({1: 0.25, 2: 0.5}, {1: 0.5, 2: 0.75}) == (2, 0.25, 0.25, 0.25)
    same = difference({1: 0.25, 2: 0.5}, {1: 0.25, 2: 0.5})
    assert same == (2, 0, 0, 0)
    assert not same.is_clear()


@given(st.dictionaries(st.integers(1, 9), FRACTIONS), st.dictionaries(st.integers(1, 9), FRACTIONS))
def test_the_other_way_round_only_signs_change(one: dict[int, float], other: dict[int, float]) -> None:
    there, back = difference(one, other), difference(other, one)
    assert there.pairs == back.pairs == len(one.keys() & other.keys())
    if there.mean is not None:
        assert there.mean == pytest.approx(-back.mean)
    if there.low is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert there.low <= there.mean <= there.high
    assert there.is_clear() == back.is_clear()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(0)
    # Seeds that move both rows by far more than the row's true gain of 0.01.
    shared = rng.normal(0.7, 0.1, (4000, seeds))
    row = shared + 0.01 + rng.normal(0, 0.005, (4000, seeds))

    found = [difference(dict(enumerate(b)), dict(enumerate(r))) for b, r in zip(shared, row, strict=True)]

    # The standard error of the share is 0.0034.
    assert np.mean([f.low <= 0.01 <= f.high for f in found]) == pytest.approx(0.95, abs=0.012)


def test_a_score_is_a_number_at_a_dotted_key() -> None:
    scores = {"rule": "plurality", "test": {"accuracy": 0.5, "per_class": {"fear": {"recall": None}}}}
    assert at(scores, "test.accuracy") == 0.5
    for key in (
        "rule",
        "test",
        "test.per_class.fear.recall",
        "test.kappa",
        "valid.accuracy",
        "test.accuracy.x",
    ):
        assert at(scores, key) is None


def scored(split: str, accuracy: float, **recalls: float | None) -> dict:
    per_class = {name: {"recall": value, "support": 9} for name, value in recalls.items()}
    return {split: {"accuracy": accuracy, "macro_recall": 0.5, "macro_f1": 0.5, "per_class": per_class}}


def test_unasked_the_headline_and_each_recall_are_read_on_test_if_all_runs_have_it() -> None:
    one, two = scored("test", 0.5, happiness=1.0, fear=0.5), scored("test", 0.5, happiness=1.0, anger=0.5)
    keys = ["accuracy", "macro_recall", "macro_f1"]
    both = [f"per_class.{name}.recall" for name in ("happiness", "fear", "anger")]
    assert headline({"a": {1: one}, "b": {1: two}}) == [f"test.{key}" for key in keys + both]
    mixed = {"a": {1: one | scored("valid", 0.5, fear=1.0)}, "b": {1: scored("valid", 0.5)}}
    assert headline(mixed) == [f"valid.{key}" for key in [*keys, both[1]]]


ROWS = {
    "real": {
        1: scored("valid", 0.50, fear=0.2),
        2: scored("valid", 0.70, fear=0.4),
        3: scored("valid", 0.60),
    },
    "dcgan": {1: scored("valid", 0.51, fear=0.3), 2: scored("valid", 0.71), 3: scored("valid", 0.62)},
    "cgan": {2: scored("valid", 0.65, fear=None)},
    "late": {},
}


def test_the_report_says_what_its_figures_are() -> None:
    # dcgan: mean 0.04 / 3, deviation 0.01 / sqrt 3, so half of the interval is 4.302653 * 0.01 / 3 = 0.014342.
    assert report(ROWS).splitlines() == [
        "Scores on valid. real: mean ± standard deviation of 3 runs. The others: mean difference to real over",
        "runs of equal seeds [95% interval, Student's t over these pairs]; * where the interval excludes 0.",
        "Pairs: dcgan 3, cgan 1, late 0.",
        "",
        "| score                       | real            | dcgan                      | cgan        | late   |",
        "|-----------------------------|-----------------|----------------------------|-------------|--------|",
        "| valid.accuracy              | 0.6000 ± 0.1000 | +0.0133 [-0.0010, +0.0277] | -0.0500 [-] | -      |",
        "| valid.macro_recall          | 0.5000 ± 0.0000 | +0.0000 [+0.0000, +0.0000] | +0.0000 [-] | -      |",
        "| valid.macro_f1              | 0.5000 ± 0.0000 | +0.0000 [+0.0000, +0.0000] | +0.0000 [-] | -      |",
        "| valid.per_class.fear.recall | 0.3000 ± 0.1414 | +0.1000 [-] (1 of 3 pairs) | -           | -      |",
    ]  # fmt: skip


def test_an_interval_without_0_is_marked() -> None:
    rows = {"a": {1: {"x": 0.5}, 2: {"x": 0.5}}, "b": {1: {"x": 0.6}, 2: {"x": 0.6001}}}
    assert "+0.1000 [+0.0994, +0.1007] *" in report(rows, keys=["x"])
    assert "-0.1000 [-0.1007, -0.0994] *" in report(rows, "b", ["x"])
    assert report(rows, "b", ["x"]).splitlines()[4].split() == ["|", "score", "|", "b", "|", "a", "|"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((ROWS, "dogan"), "baseline: found 'dogan', allowed: real, dcgan, cgan, late"),
        (({"real": ROWS["real"]},), "found one row, real: there is nothing to compare it with"),
        (({"a": {}, "b": {}},), "found no finished run: `fer recipe run` makes them"),
        ((ROWS, None, ["valid.acuracy"]), "score: found 'valid.acuracy', which no finished run has"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(arguments: tuple, line: str) -> None:
    with pytest.raises(UserError) as refused:
        report(*arguments)
    assert str(refused.value).startswith(line)


def test_a_difference_without_interval_is_never_clear() -> None:
    assert not Difference(1, 0.5, None, None).is_clear()
