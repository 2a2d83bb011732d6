"""Drawn splits: nobody in two of them, the right shares, and the same for the same pictures in any order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labels.splits import TooFewPictures, draw, random_order

SHARES = (0.1, 0.2)


def drawn(
    groups, strata, splits=None, drawable=None, ids=None, seed=1, sizes=SHARES, samples=None
) -> np.ndarray:
    count = len(groups)
    return draw(
        splits=np.array(splits if splits is not None else [""] * count, "<U5"),
        drawable=np.array(drawable if drawable is not None else [[True, True]] * count, bool).reshape(-1, 2),
        strata=np.array(strata, np.int64),
        groups=np.unique(groups, return_inverse=True)[1],
        order=random_order(ids or [f"d/{i}" for i in range(count)], seed),
        samples=np.array([True] * count if samples is None else samples, bool),
        sizes=sizes,
    )


@st.composite
def pictures(draw_):
    """Groups and labels of some hundred pictures, groups of at most six."""
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    sizes = rng.choice(draw_(st.lists(st.integers(1, 6), min_size=1, max_size=4)), rng.integers(20, 200))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, rng.integers(0, draw_(st.integers(1, 5)), len(groups))


@given(pictures(), st.integers(0, 2**32 - 1))
def test_a_group_is_in_one_split_and_the_shares_are_met(rows, seed) -> None:
    groups, strata = rows
    splits = drawn(groups, strata, seed=seed)
    assert all(len(set(splits[groups == group])) == 1 for group in set(groups.tolist()))
    counts = Counter(splits.tolist())
    for split, share in zip(("valid", "test"), SHARES, strict=True):
        # Each label may miss by half a picture of its own, and the last group by its size.
        assert abs(counts[split] - share * len(groups)) <= 6 + len(set(strata.tolist())) / 2


@given(pictures(), st.integers(0, 2**32 - 1))
def test_the_order_of_the_pictures_does_not_matter(rows, seed) -> None:
    groups, strata = rows
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    once = drawn(groups, strata)
    again = drawn(groups[shuffled], strata[shuffled], ids=[f"d/{i}" for i in shuffled])
    assert np.array_equal(once[shuffled], again)
    assert np.array_equal(once, drawn(groups, strata))


def test_single_pictures_are_stratified_to_the_picture() -> None:
    strata = np.repeat([0, 1, 2], [1000, 100, 10])
    splits = drawn(np.arange(1110), strata)
    found = {k: Counter(splits[strata == k].tolist()) for k in range(3)}
    assert found[0] == {"train": 700, "valid": 100, "test": 200}
    assert found[1] == {"train": 70, "valid": 10, "test": 20}
    assert found[2] == {"train": 7, "valid": 1, "test": 2}
    other = drawn(np.arange(1110), strata, seed=2)
    assert Counter(other.tolist()) == Counter(splits.tolist())
    assert not np.array_equal(other, splits)


def test_five_hundred_of_each_class_are_five_hundred_of_each_class() -> None:
    # A tenth of AffectNet's classes, the smallest ones larger; 40 copies, and some pictures without a face.
    strata = np.repeat(np.arange(8), [7487, 13442, 2546, 1409, 1038, 1380, 2488, 1375])
    groups = np.r_[np.repeat(np.arange(20), 2), np.arange(40, len(strata))]
    samples = np.arange(len(strata)) % 50 > 0
    splits = drawn(groups, strata, samples=samples, sizes=(500, 500))
    for split in ("valid", "test"):
        assert Counter(strata[samples & (splits == split)].tolist()) == dict.fromkeys(range(8), 500)
    assert all(splits[rows[0]] == splits[rows[1]] for rows in np.arange(40).reshape(20, 2))


@given(pictures(), st.integers(0, 8) | st.just(10**20), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_a_number_of_each_class_is_met_or_refused_and_no_group_is_split(rows, valid, test, seed) -> None:
    groups, strata = rows
    samples = np.random.default_rng(seed).random(len(groups)) < 0.8
    if valid + test and min(Counter(strata[samples].tolist()).values()) <= valid + test:
        with pytest.raises(TooFewPictures):
            drawn(groups, strata, samples=samples, sizes=(valid, test))
        return
    splits = drawn(groups, strata, samples=samples, sizes=(valid, test))
    assert all(len(set(splits[groups == group])) == 1 for group in set(groups.tolist()))
    alone = np.bincount(groups)[groups] == 1
    for stratum in set(strata[samples].tolist()):
        of = samples & (strata == stratum)
        found = Counter(splits[of].tolist())
        enough = (of & alone).sum() >= valid + test
        assert (found["valid"] == valid and found["test"] == test) or not enough
        assert found["valid"] <= valid
        assert found["test"] <= test


def test_groups_alone_are_enough_for_a_number_that_they_can_make() -> None:
    groups = np.repeat(np.arange(30), 3)  # people with three pictures of one class each
    splits = drawn(groups, groups % 2, sizes=(6, 9))
    assert Counter(zip(splits.tolist(), (groups % 2).tolist(), strict=True)) == {
        **{("valid", 0): 6, ("valid", 1): 6, ("test", 0): 9, ("test", 1): 9},
        **{("train", 0): 30, ("train", 1): 30},
    }


def test_people_with_every_expression_are_stratified_too() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(118), rng.integers(3, 15, 118))  # as in CK+
    strata = rng.choice(7, len(people), p=[0.14, 0.05, 0.18, 0.08, 0.21, 0.09, 0.25])
    splits = drawn(people, strata, sizes=(0.1, 0.1))
    for k in range(7):
        shares = Counter(splits[strata == k].tolist())
        assert shares["valid"] / sum(shares.values()) == pytest.approx(0.1, abs=0.05)
        assert shares["test"] / sum(shares.values()) == pytest.approx(0.1, abs=0.05)


def test_copies_are_not_preferred_for_the_drawn_splits() -> None:
    # 1,000 pictures that occur twice beside 8,000 that occur once: each kind gives its share.
    groups = np.r_[np.repeat(np.arange(1000), 2), np.arange(1000, 9000)]
    splits = drawn(groups, np.zeros(len(groups), int), sizes=(0.1, 0.1))
    assert Counter(splits[:2000].tolist()) == pytest.approx({"train": 1600, "valid": 200, "test": 200}, abs=4)
    assert Counter(splits.tolist()) == {"train": 8000, "valid": 1000, "test": 1000}


def test_published_splits_and_what_touches_them_stay() -> None:
    splits = ["train"] * 200 + ["test"] * 50 + [""] * 2
    # The first 50 training pictures are copies of the test pictures; the last rows have no split, one is a copy too.
    groups = np.r_[np.arange(200), np.arange(50), 0, 1000]
    found = drawn(groups, np.zeros(252, int), splits, [[True, False]] * 252, sizes=(0.5, 0.5))
    assert set(found[200:250]) == {"test"}
    assert set(found[:50]) == {"train"}
    assert found[250] == "train"
    assert Counter(found.tolist()) == {"train": 126, "valid": 76, "test": 50}


def test_what_is_not_to_be_drawn_is_not() -> None:
    found = drawn(np.arange(100), np.zeros(100, int), drawable=[[False, False]] * 100)
    assert set(found) == {"train"}
    # A copy in the training pictures of a data set that draws nothing holds its group back.
    both = drawn(
        np.r_[np.arange(50), np.arange(50)],
        np.zeros(100, int),
        drawable=[[True, True]] * 50 + [[False] * 2] * 50,
    )
    assert set(both) == {"train"}
    assert set(drawn(np.arange(100), np.zeros(100, int), sizes=(0, 0))) == {"train"}
    assert len(drawn([], [])) == 0
