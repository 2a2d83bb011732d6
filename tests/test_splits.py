"""Drawn splits: nobody in two of them, the right shares, stable while a data set grows, in any order of its rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2

from pipeline.labels import likeness
from pipeline.labels.decisions import Decisions, decide
from pipeline.labels.folds import TooManyParts
from pipeline.labels.images import Images
from pipeline.labels.quota import TooFewImages
from pipeline.labels.splits import Draw, draw, hashes_of
from pipeline.tables import schema
from pipeline.tables.vocabulary import VOTES
from tests.toy import PARAMS

SHARES = (0.1, 0.2)
UPWARDS = ("train", "valid", "test")


def draw_of(
    groups,
    strata=None,
    splits=None,
    drawable=None,
    keys=None,
    seed=1,
    sizes=SHARES,
    samples=None,
    datasets=None,
    fold=None,
) -> Draw:
    """Draw images, of which each group is a person unless there are `keys`."""
    count = len(groups)
    return draw(
        splits=np.array(splits if splits is not None else [""] * count, "<U5"),
        drawable=np.array(drawable if drawable is not None else [[True, True]] * count, bool).reshape(-1, 2),
        datasets=np.array([0] * count if datasets is None else datasets, np.int64),
        strata=np.array([0] * count if strata is None else strata, np.int64),
        groups=np.unique(groups, return_inverse=True)[1],
        hashes=hashes_of([f"{key}" for key in (groups if keys is None else keys)], seed),
        samples=np.array([True] * count if samples is None else samples, bool),
        sizes=sizes,
        fold=fold,
    )


def drawn(*args, **kwargs) -> np.ndarray:
    return draw_of(*args, **kwargs).splits


@st.composite
def images(draw_):
    """Groups and labels of some hundred images, groups of at most six."""
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    sizes = rng.choice(draw_(st.lists(st.integers(1, 6), min_size=1, max_size=4)), rng.integers(20, 200))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, rng.integers(0, draw_(st.integers(1, 5)), len(groups))


@given(images(), st.integers(0, 2**32 - 1))
def test_no_group_is_in_two_splits_and_the_order_of_the_images_does_not_matter(rows, seed) -> None:
    groups, strata = rows
    keys = np.random.default_rng(seed).integers(0, 10**6, len(groups)) * 1000 + groups  # near copies
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    for sizes in (SHARES, (0.4, 0.5), (1, 0.1)):
        for count in (len(groups), 3):  # of three images a split would be empty
            some = shuffled[shuffled < count]
            parts = np.arange(count), some
            try:
                once, again = (
                    drawn(groups[part], strata[part], keys=keys[part], seed=seed, sizes=sizes)
                    for part in parts
                )
            except TooFewImages:
                assert sizes[0] == 1
                continue
            assert all(len(set(once[groups[:count] == group])) == 1 for group in set(groups[:count].tolist()))
            assert np.array_equal(once[some], again)


@given(images(), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_each_image_is_in_one_part_and_each_part_has_equally_many_groups(rows, parts, seed) -> None:
    groups, strata = rows
    datasets = groups % 2
    keys = np.random.default_rng(seed).integers(0, 10**6, len(groups)) * 1000 + groups  # near copies
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    times = np.zeros(len(groups), int)
    counts: list[list[int]] = []
    for part in range(1, parts + 1):
        sizes = (0.1, 1 / parts)
        found = drawn(groups, strata, keys=keys, sizes=sizes, datasets=datasets, fold=(part, parts))
        again = drawn(
            groups[shuffled],
            strata[shuffled],
            keys=keys[shuffled],
            sizes=sizes,
            datasets=datasets[shuffled],
            fold=(part, parts),
        )
        assert np.array_equal(found[shuffled], again)
        assert set(found) == {"train", "valid", "test"}
        assert all(len(set(found[groups == group])) == 1 for group in set(groups.tolist()))
        times += found == "test"
        counts.append([len(set(groups[(found == "test") & (datasets == name)])) for name in (0, 1)])
    assert (times == 1).all()
    assert np.ptp(counts, axis=0).max() <= 1


def test_parts_leave_published_splits_alone_and_are_refused_without_enough_people() -> None:
    splits = ["test"] * 5 + [""] * 20
    drawable = [[True, False]] * 5 + [[True, True]] * 20
    for part in (1, 2):
        found = drawn(range(25), splits=splits, drawable=drawable, sizes=(0.1, 0.5), fold=(part, 2))
        assert (found[:5] == "test").all()
        assert (found[5:] == "test").sum() == 10
    for people, published in ((4, False), (25, True)):
        with pytest.raises(TooManyParts) as refused:
            drawn(range(people), drawable=[[True, not published]] * people, sizes=(0.1, 0.2), fold=(1, 5))
        assert refused.value.groups == (0 if published else 4)


def test_in_every_fold_the_same_share_of_a_published_set_is_valid() -> None:
    count = 1_000  # images of a set that draws both splits, then as many of one that publishes test
    splits = [""] * count + ["train"] * 800 + ["test"] * 200
    drawable = [[True, True]] * count + [[True, False]] * count
    datasets = [0] * count + [1] * count
    found = [
        drawn(
            range(2 * count),
            splits=splits,
            drawable=drawable,
            datasets=datasets,
            sizes=(0.1, 0.2),
            fold=(part, 5),
        )
        for part in range(1, 6)
    ]
    for draw_of_part in found:
        assert (draw_of_part[count:] == found[0][count:]).all()
        low, high = binom(800, 0.1).interval(0.9999)
        assert low <= (draw_of_part[count:] == "valid").sum() <= high
        low, high = binom(count, 0.1).interval(0.9999)
        assert low <= (draw_of_part[:count] == "valid").sum() <= high


def test_a_hash_stays_what_it_is() -> None:
    # printf 'd\\0anna' | openssl mac -macopt hexkey:31 -macopt size:8 -in - BLAKE2BMAC; hexkey:32 is seed 2
    for seed, digest in ((1, "663AE01CFEFB6C6C"), (2, "45C87FD2022F4939")):
        assert hashes_of(["d\0anna"], seed)[0] == int.from_bytes(bytes.fromhex(digest), "little") / 2**64


def test_the_size_of_a_split_is_binomial() -> None:
    names = [f"d/{i}" for i in range(1000)]
    sizes = [Counter(drawn(names, seed=seed, sizes=(0.2, 0.1)).tolist()) for seed in range(300)]
    for split, share in (("valid", 0.2), ("test", 0.1)):
        found = np.array([size[split] for size in sizes])
        assert binomtest(found.sum(), found.size * 1000, share).pvalue > 0.01
        expected = binom(1000, share)
        spread = ((found - expected.mean()) ** 2).sum() / expected.var()
        assert chi2(found.size).cdf(spread) == pytest.approx(0.5, abs=0.49)
    # The limits in params.yaml
    assert binom.interval(0.95, 1000, 0.1) == (82, 119)
    within = [82 <= size["test"] <= 119 for size in sizes]
    assert binomtest(sum(within), len(within), 0.95).pvalue > 0.01


def test_new_people_move_nobody() -> None:
    few, more = np.arange(180) % 60, np.r_[np.arange(180) % 60, np.arange(90) % 90]
    for seed in range(20):
        assert np.array_equal(drawn(few, seed=seed), drawn(more, seed=seed)[:180])


def test_persons_and_exact_copies_are_drawn_like_single_images_and_near_copies_more_often() -> None:
    groups = np.repeat(np.arange(20_000), 3)
    test = drawn(groups)[::3] == "test"
    assert binomtest(test.sum(), len(test), SHARES[1]).pvalue > 0.01
    near = draw_of(groups, keys=np.arange(60_000))
    test = near.splits[::3] == "test"
    assert binomtest(test.sum(), len(test), 1 - (1 - SHARES[1]) ** 3).pvalue > 0.01
    assert not draw_of(groups).followed.any()
    alone = drawn(np.arange(60_000))
    assert np.array_equal(near.followed, near.splits != alone)


def test_five_hundred_of_each_class_are_five_hundred_of_each_class() -> None:
    # A tenth of AffectNet's classes, the smallest ones larger; 40 copies, and some images without a face.
    strata = np.repeat(np.arange(8), [7487, 13442, 2546, 1409, 1038, 1380, 2488, 1375])
    groups = np.r_[np.repeat(np.arange(20), 2), np.arange(40, len(strata))]
    samples = np.arange(len(strata)) % 50 > 0
    splits = drawn(groups, strata, samples=samples, sizes=(500, 500))
    for split in ("valid", "test"):
        assert Counter(strata[samples & (splits == split)].tolist()) == dict.fromkeys(range(8), 500)
    assert all(splits[rows[0]] == splits[rows[1]] for rows in np.arange(40).reshape(20, 2))


@given(images(), st.integers(0, 8) | st.just(10**20), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_a_number_of_each_class_is_met_or_refused_and_no_group_is_split(rows, valid, test, seed) -> None:
    groups, strata = rows
    samples = np.random.default_rng(seed).random(len(groups)) < 0.8
    if valid + test and min(Counter(strata[samples].tolist()).values()) <= valid + test:
        with pytest.raises(TooFewImages):
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
    groups = np.repeat(np.arange(30), 3)  # people with three images of one class each
    splits = drawn(groups, groups % 2, sizes=(6, 9))
    assert Counter(zip(splits.tolist(), (groups % 2).tolist(), strict=True)) == {
        **{("valid", 0): 6, ("valid", 1): 6, ("test", 0): 9, ("test", 1): 9},
        **{("train", 0): 30, ("train", 1): 30},
    }


def test_published_splits_and_what_touches_them_stay() -> None:
    splits = ["train"] * 200 + ["test"] * 50 + [""] * 2
    # The first 50 training images are copies of the test images; the last rows have no split, one is a copy too.
    groups = np.r_[np.arange(200), np.arange(50), 0, 1000]
    found = drawn(groups, None, splits, [[True, False]] * 252, sizes=(0.5, 0.5))
    assert set(found[200:250]) == {"test"}
    assert set(found[:50]) == {"train"}
    assert found[250] == "train"
    low, high = binom.interval(0.999, 151, 0.5)
    assert low <= Counter(found.tolist())["valid"] <= high
    assert Counter(found.tolist())["test"] == 50


def test_what_is_not_to_be_drawn_is_not() -> None:
    found = drawn(np.arange(100), drawable=[[False, False]] * 100)
    assert set(found) == {"train"}
    # A copy in the training images of a data set that draws nothing holds its group back.
    both = drawn(np.r_[np.arange(50), np.arange(50)], drawable=[[True, True]] * 50 + [[False] * 2] * 50)
    assert set(both) == {"train"}
    assert set(drawn(np.arange(100), sizes=(0.0, 0.0))) == {"train"}
    assert set(drawn(np.arange(100), sizes=(0, 0))) == {"train"}
    assert len(drawn([])) == 0


def test_a_share_and_a_number_can_be_mixed() -> None:
    strata = np.arange(2000) % 4
    hashes = hashes_of([f"{i}" for i in range(2000)], 1)
    for sizes, share, number in (((0.1, 30), "valid", "test"), ((30, 0.2), "test", "valid")):
        found = drawn(np.arange(2000), strata, sizes=sizes)
        assert Counter(strata[found == number].tolist()) == dict.fromkeys(range(4), 30)
        assert np.array_equal(found == share, hashes < max(size for size in sizes if size < 1))


@pytest.mark.parametrize(
    ("people", "expected"),
    [(1, {"train"}), (2, {"train", "valid"}), (3, set(UPWARDS)), (4, set(UPWARDS)), (20, set(UPWARDS))],
)
def test_each_split_of_a_small_data_set_takes_a_person_as_far_as_there_are_enough(people, expected) -> None:
    groups = np.arange(people * 3) % people
    # Beside a large data set, whose splits say nothing about this one
    datasets = np.r_[np.zeros(len(groups), int), np.ones(500, int)]
    for seed in range(60):
        found = draw_of(np.r_[groups, 100 + np.arange(500)], datasets=datasets, seed=seed, sizes=(0.1, 0.1))
        assert set(found.splits[datasets == 0]) == expected
        by_hash = drawn(100 + np.arange(500), seed=seed, sizes=(0.1, 0.1))
        assert np.array_equal(found.splits[datasets == 1], by_hash)
        own = np.digitize(hashes_of([f"{name}" for name in groups], seed), [0.1, 0.2])
        alone = np.array(["test", "valid", "train"])[own]
        assert np.array_equal(found.filled[datasets == 0], found.splits[datasets == 0] != alone)
        if set(alone) == expected:
            assert not found.filled.any()


def test_a_split_without_a_usable_image_takes_one_that_has_some() -> None:
    by_hash = drawn(np.arange(100))
    samples = by_hash != "test"
    found = draw_of(np.arange(100), samples=samples)
    assert Counter(found.splits[samples].tolist())["test"] == 1
    assert np.array_equal(found.splits != by_hash, found.filled)
    assert found.filled.sum() == 1
    # The first in the order of the hashes
    smallest = hashes_of([f"{i}" for i in range(100)], 1)
    assert np.flatnonzero(found.filled) == np.argmin(np.where(samples, smallest, 1))


FACE = 16  # pixels


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of 200 unlike faces, each followed by a darker copy of it."""
    rng = np.random.default_rng(0)
    plain = [cv2.GaussianBlur(rng.normal(size=(FACE, FACE)), (0, 0), 1.2) for _ in range(200)]
    images = [(128 + 250 * face).clip(0, 255).astype(np.uint8) for face in plain]
    pairs = [version[..., None] for image in images for version in (image, (image * 0.8).astype(np.uint8))]
    return likeness.descriptors(pairs)


def some_images(rng: np.random.Generator, faces: tuple[np.ndarray, np.ndarray]) -> Images:
    """Return images of one or two data sets, with or without people, exact copies, near copies and bad labels."""
    count = int(rng.integers(30, 150))
    shown = rng.integers(0, 2 * rng.choice([20, 200]), count)
    if rng.random() < 0.3:
        shown = 2 * rng.permutation(200)[:count]  # without copies
    names = np.array(["a", "b"], object)[rng.integers(0, 2, count) * (rng.random() < 0.5)]
    person = rng.integers(0, rng.choice([5, 15, 60]), count)
    named = rng.random(count) < rng.choice([0, 0.5, 1])
    draws = {"a": [True, True], "b": [[True, True], [True, False], [False, True]][rng.integers(3)]}
    published = np.where((names == "b") & (rng.random() < 0.5), "train", "")
    return Images(
        ids=pa.array([f"{name}/{i}" for i, name in enumerate(names)]),
        datasets=names,
        published=published.astype("<U5"),
        drawable=np.array([draws[name] for name in names]),
        vocabulary=VOTES,
        votes=np.zeros((count, 10), np.int64),
        single=pa.array(
            rng.choice(["fear", "anger", "unknown", "NF"], count, p=[0.4, 0.4, 0.1, 0.1]).tolist()
        ),
        groups=pa.array(
            [f"{name}\0{i}" if has else None for name, i, has in zip(names, person, named, strict=True)],
            pa.string(),
        ),
        attributes=pa.nulls(count, schema.ingested().field("attributes").type),
        missing=rng.random(count) < 0.1,
        pixels=pa.array(
            [f"{face:064x}" for face in shown % rng.choice([150, 400])]
        ),  # of 150: other faces of one image too
        low=faces[0][shown],
        signs=faces[1][shown],
    )


def taken(images: Images, rows: np.ndarray) -> Images:
    columns = {field.name: getattr(images, field.name) for field in fields(images)}
    del columns["vocabulary"]
    of_rows = {
        name: column.take(pa.array(rows)) if isinstance(column, pa.Array) else column[rows]
        for name, column in columns.items()
    }
    return replace(images, **of_rows)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(0.1, 0.1), (0.3, 0.1), (0.2, 0.5), (0.0, 0.2), (0.3, 0.0)])
)
def test_a_data_set_that_grows_moves_no_image_back(faces, seed, sizes) -> None:
    rng = np.random.default_rng(seed)
    later = some_images(rng, faces)
    if not all(
        sizes
    ):  # training images of a data set that does not draw the only split would hold others back
        later = replace(later, drawable=np.ones_like(later.drawable))
    rows = rng.permutation(len(later.ids))[: rng.integers(1, len(later.ids) + 1)]
    settings = PARAMS.labels.model_copy(update={"valid": sizes[0], "test": sizes[1]})

    def decided(images: Images, *classes: str) -> Decisions:
        return decide(images, np.zeros(len(images.ids), bool), classes, settings, seed % 5)

    before, after = decided(taken(later, rows), "fear"), decided(later, "fear", "anger")
    settled = ~(before.drawn.filled | after.drawn.filled[rows])
    old, new = (
        np.array([UPWARDS.index(split) for split in splits]) for splits in (before.splits, after.splits[rows])
    )
    assert not ((old > 0) & (new == 0) & settled).any()
    if later.drawable.all():
        assert (old <= new)[settled].all()
    for names in (before.clusters, before.images.groups.to_pylist()):
        keys = [None if name is None else str(name) for name in names]
        for key in set(keys) - {None}:
            assert len({split for split, own in zip(before.splits, keys, strict=True) if own == key}) == 1
