"""The rules that turn votes into labels, against published counts and independent formulas."""

import csv
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from pipeline.labels import agreement, duplicates, voting
from pipeline.params.model import Labels
from pipeline.tables.vocabulary import CLASSES, VOTES
from tests.toy import PARAMS

SHARED = Path(os.environ.get("FER_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "ferplus"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs FER+ in {SHARED}")

NAMES = [*CLASSES]
VOTES_OF_MANY = arrays(np.int64, st.tuples(st.integers(1, 30), st.just(10)), elements=st.integers(0, 12)).map(
    lambda votes: votes[votes.any(axis=1)]
)


def new_votes() -> dict[str, np.ndarray]:
    """All rows of fer2013new.csv by split, read with nothing of the package."""
    rows: dict[str, list[list[int]]] = {"Training": [], "PublicTest": [], "PrivateTest": []}
    with (SHARED / "fer2013new.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["Usage"]].append([int(row[name]) for name in VOTES])
    return {usage: np.array(votes) for usage, votes in rows.items()}


def labelled(votes: np.ndarray, rule: str) -> Counter:
    winners = voting.RULES[rule](votes)
    kept = winners[voting.why_dropped(winners, NAMES) == ""]
    return Counter(VOTES[winner] for winner in kept)


@real
def test_published_counts_of_both_rules():
    votes = new_votes()
    plurality = [labelled(votes[usage], "plurality") for usage in votes]
    assert [counts.total() for counts in plurality] == [28_389, 3_553, 3_546]  # the MixCut paper's
    assert [[counts[name] for name in CLASSES] for counts in plurality] == [
        [10309, 7528, 3562, 3515, 2467, 191, 652, 165],
        [1335, 899, 456, 412, 319, 34, 74, 24],
        [1262, 928, 444, 444, 325, 23, 93, 27],
    ]
    assert [labelled(votes[usage], "majority").total() for usage in votes] == [25_060, 3_199, 3_153]


@real
def test_published_counts_of_label_csv_alone():
    counts = []
    for folder in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        with (SHARED / folder / "label.csv").open(newline="") as file:
            votes = np.array([[int(cell) for cell in row[2:]] for row in csv.reader(file)])
        counts.append(labelled(votes, "plurality").total())
    assert counts == [28_385, 3_555, 3_545]


@real
def test_single_votes_of_ferplus():
    # Half of the training faces have classes with a single vote, which FER+'s authors set to 0.
    votes = new_votes()["Training"]
    votes = votes[voting.why_dropped(voting.plurality(votes), NAMES) == ""]
    single = votes[:, : len(NAMES)] == 1
    assert single.any(axis=1).mean() == pytest.approx(0.515, abs=5e-4)
    held = (voting.shares(votes, NAMES) * single).sum(axis=1).mean()
    assert held == pytest.approx(0.079, abs=5e-4)
    settings = PARAMS.labels.model_copy(update={"rule": "distribution", "drop_single": True})
    _, targets, reasons = voting.decide(votes, [], NAMES, settings)
    assert not targets[single].any()
    assert np.allclose(targets.sum(axis=1), 1)
    assert not reasons.astype(bool).any()


@pytest.mark.parametrize(
    ("votes", "plurality", "majority"),
    [
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], "neutral", "no_majority"),
        ([4, 1, 1, 1, 1, 0, 0, 1, 1, 0], "neutral", "neutral"),  # 4 of 4, single votes set aside
        ([4, 2, 2, 0, 0, 0, 0, 0, 2, 0], "neutral", "no_majority"),
        ([5, 2, 2, 0, 0, 0, 0, 0, 1, 0], "neutral", "neutral"),  # 5 of 9
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "neutral", "no_majority"),
        ([0, 1, 0, 0, 0, 0, 0, 0, 0, 0], "happiness", "no_majority"),
        ([0, 0, 0, 0, 0, 2, 2, 0, 6, 0], "unknown", "unknown"),
        ([1, 0, 0, 0, 0, 0, 0, 0, 1, 8], "NF", "NF"),
        ([0, 0, 0, 0, 0, 0, 0, 9, 0, 0], "contempt", "contempt"),
    ],
)
def test_rules_case_by_case(votes, plurality, majority):
    names = (*VOTES, "no_majority")
    assert names[voting.plurality(np.array([votes]))[0]] == plurality
    assert names[voting.majority(np.array([votes]))[0]] == majority


@given(VOTES_OF_MANY)
def test_rules_agree_with_a_plain_loop(votes):
    for row, first, most in zip(votes.tolist(), voting.plurality(votes), voting.majority(votes), strict=True):
        assert first == row.index(max(row))
        rest = [0 if count == 1 else count for count in row]
        above = [i for i, count in enumerate(rest) if count > sum(rest) / 2]
        assert most == (above[0] if above else voting.NO_MAJORITY)


@st.composite
def _tasks(draw) -> tuple[tuple[str, ...], np.ndarray, list[str], Labels]:
    """A vocabulary with names of its own, votes, some of its names as classes, and settings."""
    name = st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True)
    own = draw(st.lists(name, max_size=6, unique=True))
    vocabulary = tuple(dict.fromkeys((*VOTES, *own)))
    names = [name for name in vocabulary if name not in ("unknown", "NF")]
    classes = draw(st.lists(st.sampled_from(names), min_size=2, unique=True))
    others = [name for name in names if name not in classes]
    into = st.sampled_from(classes)
    merge = draw(st.dictionaries(st.sampled_from(others), into, max_size=3)) if others else {}
    rows = st.integers(1, 8)
    votes = draw(arrays(np.int64, st.tuples(rows, st.just(len(vocabulary))), elements=st.integers(0, 4)))
    rule = draw(st.sampled_from(["plurality", "majority", "distribution"]))
    settings = {
        "rule": rule,
        "merge": merge,
        "min_votes": draw(st.integers(0, 4)),
        "min_share": draw(st.sampled_from([0.0, 0.25, 0.5])),
        "drop_single": rule == "distribution" and draw(st.booleans()),
    }
    return vocabulary, votes[votes.any(axis=1)], classes, PARAMS.labels.model_copy(update=settings)


@given(_tasks())
def test_any_vocabulary_is_decided_as_a_person_would_with_names(task):
    vocabulary, votes, classes, settings = task
    winners, targets, reasons = voting.decide(votes, [], classes, settings, vocabulary)
    for row, winner, target, reason in zip(votes.tolist(), winners, targets, reasons, strict=True):
        counts = Counter()  # keeps the order of the vocabulary, which breaks ties
        counts.update(dict.fromkeys(vocabulary, 0))
        for name, count in zip(vocabulary, row, strict=True):
            counts[settings.merge.get(name, name)] += count
        strong = {name: count for name, count in counts.items() if count != 1}
        best = max(counts, key=counts.__getitem__)
        if settings.rule == "majority":
            best = max(strong, key=strong.__getitem__)
            if not 2 * strong[best] > sum(strong.values()):
                best = None
        assert winner == (voting.NO_MAJORITY if best is None else vocabulary.index(best))
        if best in classes:
            share = Fraction(counts[best], counts.total())
            few = "min_votes" if counts[best] < settings.min_votes else ""
            assert reason == (few or ("min_share" if share < Fraction(settings.min_share) else ""))
        else:
            alone = {None: "no_majority", "unknown": "unknown", "NF": "NF"}
            assert reason == alone.get(best, f"class_{best}")
            continue
        if settings.rule == "distribution":
            kept = strong if settings.drop_single and max(counts.values()) > 1 else counts
            voted = [kept.get(name, 0) for name in classes]
            assert target.tolist() == pytest.approx([count / max(sum(voted), 1) for count in voted])
        else:
            assert target.tolist() == [float(name == best) for name in classes]


def test_single_labels_have_names_of_their_own():
    votes = np.array([[0] * 11, [0] * 8 + [1, 0, 2], [0] * 11])
    settings = PARAMS.labels.model_copy(update={"merge": {"fear": "sleepy"}})
    winners, targets, reasons = voting.decide(
        votes, ["fear", "neutral"], ["sleepy", "anger"], settings, (*VOTES, "sleepy")
    )
    assert winners.tolist() == [10, 10, 0]
    assert targets.tolist() == [[1, 0], [1, 0], [0, 0]]
    assert reasons.tolist() == ["", "", "class_neutral"]


def test_second_choices_of_names_with_underscores_can_be_told_apart():
    names = ("a", "b_c", "a_b", "c", "d-e")
    votes = np.array([[3, 1, 0, 0, 0], [0, 0, 3, 1, 0], [0, 0, 0, 4, 2]])
    assert agreement.second_choices(votes, names) == {"a, b_c": 1, "a_b, c": 1, "c_d-e": 1}


def test_winners_that_are_no_label_have_a_reason():
    winners = np.array([VOTES.index("fear"), VOTES.index("neutral"), 8, 9, voting.NO_MAJORITY])
    reasons = voting.why_dropped(winners, ["anger", "fear"]).tolist()
    assert reasons == ["", "class_neutral", "unknown", "NF", "no_majority"]


def test_targets_follow_the_class_order():
    votes = np.array([[6, 0, 0, 2, 0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0, 0, 3, 1, 6]])
    order = ["sadness", "neutral", "contempt"]
    assert voting.shares(votes, order).tolist() == [[0.25, 0.75, 0], [0, 0, 1]]
    assert voting.one_hot(np.array([0, 7]), order).tolist() == [[0, 1, 0], [0, 0, 1]]


@given(VOTES_OF_MANY)
def test_shares_sum_to_one_wherever_a_class_has_a_vote(votes):
    sums = voting.shares(votes, NAMES).sum(axis=1)
    assert np.allclose(sums, votes[:, :8].any(axis=1))


def test_fleiss_kappa_of_a_worked_example():
    # https://en.wikipedia.org/wiki/Fleiss'_kappa: 10 subjects, 14 raters, 5 categories.
    rows = (
        "0 0 0 0 14,0 2 6 4 2,0 0 3 5 6,0 3 9 2 0,2 2 8 1 1,7 7 0 0 0,3 2 6 3 0,2 5 3 2 2,6 5 2 1 0,0 2 2 3 7"
    )
    counts = np.array([[int(count) for count in row.split()] for row in rows.split(",")])
    assert agreement.fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    assert agreement.fleiss_kappa(counts) == pytest.approx(by_krippendorff(counts))


@real
def test_fleiss_kappa_of_ferplus():
    counts = new_votes()["PublicTest"]
    assert agreement.fleiss_kappa(counts) == pytest.approx(by_krippendorff(counts))


def by_krippendorff(counts: np.ndarray) -> float:
    """Fleiss' kappa from nominal alpha, which differs by the correction for a sample of n values."""
    values = counts.sum()
    alpha = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    return 1 - (1 - alpha) * values / (values - 1)


def test_fleiss_kappa_of_two_annotators_who_swap_roles_is_cohens():
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 4, (2, 200))
    second = np.where(rng.random(200) < 0.6, first, second)
    counts = np.zeros((200, 4), int)
    for labels in (first, second):
        counts[np.arange(200), labels] += 1
    both = cohen_kappa_score(np.r_[first, second], np.r_[second, first])  # equal marginals, as Fleiss assumes
    assert agreement.fleiss_kappa(counts) == pytest.approx(both)


def test_agreement_of_known_votes():
    votes = np.array([[4, 0, 0], [2, 2, 0], [1, 1, 2]])
    measures = agreement.summary(votes)
    assert measures["images"] == 3
    assert measures["winning_share"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert measures["entropy"] == pytest.approx((0 + 1 + 1.5) / 3)
    assert measures["ties"] == pytest.approx(1 / 3)
    assert agreement.summary(np.zeros((0, 10), int)) == {}
    assert "fleiss_kappa" not in agreement.summary(np.array([[3, 0], [5, 0]]))
    assert agreement.fleiss_kappa(np.array([[1, 0], [0, 1]])) is None


def test_duplicates_between_splits():
    splits = ["train", "train", "valid", "valid", "valid", "test", "test"]
    pixels = ["a", "b", "a", "a", "c", "c", "d"]
    assert duplicates.between_splits(splits, pixels) == {
        "valid_in_train": 2,
        "test_in_train": 0,
        "test_in_valid": 1,
    }
    assert duplicates.between_splits(["train", "train"], ["a", "a"]) == {}


def test_the_first_copy_is_in_train_then_valid_then_test():
    ids = ["d/1", "d/2", "d/3", "d/4", "d/5"]
    splits = ["test", "valid", "train", "train", "test"]
    first = duplicates.first_ids(ids, np.array(splits), ["x", "x", "x", "x", "y"])
    assert first.to_pylist() == ["d/3", "d/3", "d/3", "d/3", None]


def test_what_is_connected_by_pairs_or_keys_is_one_component():
    people = duplicates.links(["anna", None, "ben", "anna", None, "ben"])
    found = duplicates.connected(6, [people, np.array([[2, 1]])])
    assert len(set(found)) == 3
    assert found[0] == found[3]
    assert found[1] == found[2] == found[5]


def test_what_data_sets_share_is_counted_both_ways():
    datasets, keys = ["b", "b", "a", "a", "a"], ["x", "y", "x", "x", None]
    assert duplicates.between_datasets(datasets, keys) == {"a_in_b": 2, "b_in_a": 1}
    splits = ["train", "train", "train", "test", "test"]
    assert duplicates.within_splits(splits, ["x", "x", "y", "x", "z"]) == {"train": 1, "test": 0}


LEAKS = [  # split, cluster
    *(("train", 0), ("valid", 0), ("train", 1), ("train", 1), ("valid", 2), ("test", 2)),
    *(("train", 3), ("test", 3), ("test", 4), ("test", 4)),
]


@pytest.mark.parametrize(
    ("choice", "dropped"), [("keep", []), ("drop_from_train", [0, 6]), ("drop_from_eval", [1, 5, 7])]
)
def test_leaks_are_dropped_on_one_side(choice, dropped):
    splits, clusters = (np.array(column) for column in zip(*LEAKS, strict=True))
    assert np.flatnonzero(duplicates.leaking(choice, splits, clusters)).tolist() == dropped


def test_merged_votes_decide_together():
    votes = np.array([[0, 0, 0, 0, 4, 3, 0, 3, 0, 0]])
    merged = voting.merged(votes, {"contempt": "disgust"})
    assert voting.plurality(votes)[0] == VOTES.index("anger")
    assert voting.plurality(merged)[0] == VOTES.index("disgust")
    assert merged.tolist() == [[0, 0, 0, 0, 4, 6, 0, 0, 0, 0]]
    assert votes[0, VOTES.index("contempt")] == 3, "the votes that were cast stay as they are"


@given(VOTES_OF_MANY, st.integers(0, 12), st.floats(0, 1))
def test_support_is_counted_as_a_plain_loop_does(votes, least, share):
    winners = voting.plurality(votes)
    for row, why in zip(votes.tolist(), voting.too_weak(votes, winners, least, share), strict=True):
        few, low = max(row) < least, max(row) / sum(row) < share
        assert why == ("min_votes" if few else "min_share" if low else "")


def test_a_share_that_is_just_met_is_enough():
    votes = np.array([[11, 9, 0, 0, 0, 0, 0, 0, 0, 0]])
    assert voting.too_weak(votes, np.array([0]), 11, 0.55).tolist() == [""]


def test_alpha_of_the_papers_example():
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, nominal 0.743.
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    counts = np.zeros((12, 5), int)
    for values in observers:
        for unit, value in enumerate(values):
            if value != ".":
                counts[unit, int(value) - 1] += 1
    assert agreement.alpha(counts) == pytest.approx(0.743, abs=5e-4)
    assert agreement.alpha(np.array([[3, 0], [5, 0]])) is None
    assert agreement.alpha(np.array([[1, 0], [0, 1]])) is None


def test_second_choices_are_counted_by_the_pair():
    votes = np.zeros((5, 10), int)
    votes[:3, 0], votes[:3, 3] = 6, 4  # neutral before sadness
    votes[3, 3] = votes[3, 0] = 5  # a tie: neutral stands first
    votes[4, 1] = 10  # nobody had a second choice
    assert agreement.second_choices(votes) == {"neutral_sadness": 4}
