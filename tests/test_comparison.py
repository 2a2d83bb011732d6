"""Paired differences against scipy's paired t-test, published data and cases by hand; the table as it is printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.experiments import recipes
from pipeline.experiments import table as result_table
from pipeline.experiments.comparison import Difference, compare, difference
from pipeline.experiments.recipes import Recipe
from pipeline.experiments.scores import score_at
from pipeline.experiments.states import State, state_of
from pipeline.experiments.sweep import Results, Sweep
from pipeline.experiments.table import markdown
from pipeline.tables import schema
from pipeline.tables.store import write_rows

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
    assert not difference({1: 0.1, 2: 0.3}, {1: 0.2, 2: 0.4}).is_clear()
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
    assert score_at(scores, "test.accuracy") == 0.5
    for key in (
        "rule",
        "test",
        "test.per_class.fear.recall",
        "test.kappa",
        "valid.accuracy",
        "test.accuracy.x",
    ):
        assert score_at(scores, key) is None


def scored(split: str, accuracy: float, **recalls: float | None) -> dict:
    per_class = {name: {"recall": value, "support": 9} for name, value in recalls.items()}
    return {split: {"accuracy": accuracy, "macro_recall": 0.5, "macro_f1": 0.5, "per_class": per_class}}


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


def recipe(rows: dict, **paper: dict) -> Recipe:
    variants = {name: {"paper": paper.get(name, {})} for name in rows}
    return Recipe(title="Faces", runs=3, variants=variants)


def lost(rows: dict) -> dict:
    """Return files of predictions of which there are none."""
    return {name: dict.fromkeys(seeds) for name, seeds in rows.items()}


def test_the_table_says_what_its_figures_are() -> None:
    found = compare(recipe(ROWS, dcgan={"test.accuracy": 0.7}), ROWS, lost(ROWS))
    # dcgan: mean 0.04 / 3, deviation 0.01 / sqrt 3, so half of the interval is 4.302653 * 0.01 / 3 = 0.014342.
    lines = markdown("Faces (nowhere)", found).splitlines()
    assert lines[0] == "Faces (nowhere)"
    assert "There are no p-values" in " ".join(lines)
    # tabulate makes a column two characters wider than its head.
    assert [re.sub(" +", " ", line) for line in lines[2:6] + lines[8:10] + lines[13:18]] == [
        "| row | seeds | valid.accuracy | paper: test.accuracy | valid.macro_recall | state |",
        "|-------|---------|------------------|------------------------|----------------------|-------------------|",
        "| real | 3 | 0.6000 ± 0.1000 | - | 0.5000 ± 0.0000 | run at length |",
        "| dcgan | 3 | 0.6133 ± 0.1002 | 0.7000 | 0.5000 ± 0.0000 | run at length |",
        "| row | seeds | valid.macro_f1 | state |",
        "|-------|---------|------------------|-------------------|",
        "",
        "| score | row | difference from real |",
        "|--------------------|-------|----------------------------|",
        "| valid.accuracy | dcgan | +0.0133 [-0.0010, +0.0277] |",
        "| valid.accuracy | cgan | -0.0500 |",
    ]
    assert "- dcgan: not tested for seeds 1, 2, 3, whose predictions are not in DVC's cache" in lines


def test_rows_without_runs_are_left_out_unless_asked_for() -> None:
    papers = recipe(ROWS, late={"test.accuracy": 0.7})
    alone = compare(papers, ROWS, lost(ROWS))
    assert list(alone.states) == ["real", "dcgan", "cgan"]
    assert "paper" not in markdown("", alone).split("Scores:")[0]
    everything = markdown("", compare(papers, ROWS, lost(ROWS), all_rows=True))
    assert re.search(r"\| late +\| 0 +\| - +\| 0\.7000 +\| - +\| not run at length +\|", everything)
    stale = compare(papers, ROWS, lost(ROWS), stale={"late": {1: "loss softmax, now center"}})
    assert stale.states["late"] == "stale"
    assert "- late: stale: loss softmax, now center (seeds 1); " in markdown("", stale)
    absent = compare(papers, ROWS, lost(ROWS), "late")
    assert [row.difference.pairs for row in absent.scores["valid.accuracy"] if row.difference] == [0, 0, 0]
    assert "- late, the baseline, has no finished run; `--baseline` names another row" in markdown("", absent)


def runs(*accuracies: float, low: float = 0.5, high: float = 0.6) -> dict:
    interval = {"accuracy": {"low": low, "high": high}}
    return {
        seed: {"test": {"accuracy": value, "kappa": value, "interval": interval}}
        for seed, value in enumerate(accuracies, 1)
    }


@pytest.mark.parametrize(
    ("paper", "finished", "count", "state"),
    [
        # Mean 0.80, standard deviation 0.01.
        ({"test.accuracy": 0.8199}, runs(0.79, 0.80, 0.81), 3, State.REPRODUCED),
        ({"test.accuracy": 0.8201}, runs(0.79, 0.80, 0.81), 3, State.DIFFERS),
        ({"test.accuracy": 0.8, "test.kappa": 0.7799}, runs(0.79, 0.80, 0.81), 3, State.DIFFERS),
        ({"test.accuracy": 0.8}, runs(0.79, 0.80, 0.81), 5, State.NOT_AT_LENGTH),
        ({"test.accuracy": 0.8}, {2: {}, 3: {}}, 2, State.NOT_AT_LENGTH),
        ({"test.accuracy": 0.8}, {}, 1, State.NOT_AT_LENGTH),
        ({}, runs(0.8), 1, State.AT_LENGTH),
        ({"valid.accuracy": 0.8}, runs(0.79, 0.80), 2, State.AT_LENGTH),
        # With a single run, the interval over the images, which kappa has not.
        ({"test.accuracy": 0.6}, runs(0.55), 1, State.REPRODUCED),
        ({"test.accuracy": 0.4999}, runs(0.55), 1, State.DIFFERS),
        ({"test.kappa": 0.55}, runs(0.55), 1, State.AT_LENGTH),
        ({"test.kappa": 0.1, "test.accuracy": 0.55}, runs(0.55), 1, State.REPRODUCED),
    ],
)
def test_the_state_of_a_row(paper: dict, finished: dict, count: int, state: State) -> None:
    assert state_of(paper, finished, count, short=False, stale=False) == state
    assert state_of(paper, finished, count, short=False, stale=True) == State.STALE
    assert state_of(paper, finished, count, short=True, stale=False) == (
        State.SHORT_FORM if finished else State.NOT_AT_LENGTH
    )


def test_the_table_says_of_a_single_run_that_not_all_scores_of_the_paper_could_be_compared() -> None:
    rows = {"real": runs(0.55)}
    papers = recipe(rows, real={"test.kappa": 0.1, "test.accuracy": 0.55}).model_copy(update={"runs": 1})
    text = " ".join(markdown("", compare(papers, rows, lost(rows))).split())
    assert (
        "- reproduced: the row's runs with the seed 1 have finished in full form, and each score of the paper that can"
        in text
    )


def test_note_and_deviations_stand_below_the_table_in_every_file(tmp_path: Path) -> None:
    variants = {"a": {}, "b": {"deviations": ["Half the faces."]}, "c": {"deviations": ["No row of this."]}}
    told = Recipe(title="Faces", note="Drawn.", deviations=["Another net."], variants=variants)
    rows: dict = {"a": {1: scored("test", 0.5)}, "b": {1: scored("test", 0.6)}, "c": {}}
    found = compare(told, rows, lost(rows), short=True)
    text = markdown("Faces", found)
    assert re.search("(?m)^- short form: these runs use the settings of the short form", text)
    assert text.index("- note: Drawn.") < text.index("- deviation: Another net.")
    assert "\n- deviation of b: Half the faces.\n" in text
    assert "No row of this." not in text
    result_table.write(tmp_path / "t.csv", "Faces", found)
    notes = pd.read_csv(tmp_path / "t.csv").set_index("row").notes
    assert (
        notes["b"]
        .iloc[0]
        .startswith("note: Drawn.; deviation: Another net.; deviation of b: Half the faces.")
    )
    assert "Half" not in notes["a"].iloc[0]
    result_table.write(tmp_path / "t.tex", "Faces", found)
    assert "deviation of b: Half the faces." in (tmp_path / "t.tex").read_text()


def test_the_table_warns_of_scores_that_are_worth_little() -> None:
    few = {"test": {"accuracy": 1.0, "per_class": {"fear": {"support": 3}, "anger": {"support": 0}}}}
    rows = {"a": {1: few | {"records": {"sample": 3}}, 2: few}, "b": {1: few}, "c": {}}
    told = compare(recipe(rows), rows, lost(rows)).notes
    assert "Fewer than 30 faces make every score of a split unreliable: test 3." in told
    assert (
        "Macro recall over 1 of 2 classes on test, and macro F1 likewise: there are no faces of anger."
        in told
    )
    drawn = "All faces are drawings (the embedded sample): their scores say nothing about photographs."
    assert f"a: {drawn}" in told
    assert len(told) == len(set(told))


def test_more_than_four_scores_stand_in_several_tables() -> None:
    rows = {"a": {1: {"test": {f"s{number}": 0.5 for number in range(9)}}}}
    text = markdown("", compare(recipe(rows), rows, lost(rows), keys=["test.*"]))
    assert [line.count("test.s") for line in text.splitlines() if line.startswith("| row")] == [4, 4, 1]


def test_a_table_that_is_too_wide_is_split_and_loses_nothing(tested: tuple[dict, dict]) -> None:
    runs, files = ({name * 6: by_seed for name, by_seed in part.items()} for part in tested)
    found = compare(recipe(runs, rowrowrowrowrowrow={"test.accuracy": 0.9}), runs, files)
    lines = markdown("A heading of several words " * 9, found).splitlines()
    assert max(map(len, lines)) <= 120
    heads = [
        [head.strip() for head in line.split("|")[1:-1]]
        for line in lines
        if re.match(r"\| (row|score) ", line)
    ]
    shown = [head for head in chain(*heads) if head not in ("row", "seeds", "state", "score")]
    (baseline, _) = runs
    assert shown == [
        "test.accuracy",
        "paper",
        "test.macro_recall",
        "test.macro_f1",
        f"difference from {baseline}",
        "McNemar p",
        "bootstrap p",
    ]


def test_scores_are_read_on_test_if_all_runs_have_it() -> None:
    rows = {"a": {1: scored("test", 0.5) | scored("valid", 0.6)}, "b": {1: scored("test", 0.5)}}
    assert next(iter(compare(recipe(rows), rows, lost(rows)).scores)) == "test.accuracy"
    rows["b"][2] = scored("valid", 0.6)
    assert next(iter(compare(recipe(rows), rows, lost(rows)).scores)) == "valid.accuracy"


def test_a_star_stands_for_any_part_of_a_key() -> None:
    rows = {"a": {1: scored("test", 0.5, happiness=1.0, fear=0.5)}, "b": {1: scored("test", 0.5, anger=0.5)}}
    found = compare(recipe(rows), rows, lost(rows), "b", ["test.per_class.*.recall", "test.accuracy"])
    keys = [f"test.per_class.{name}.recall" for name in ("happiness", "fear", "anger")]
    assert list(found.scores) == [*keys, "test.accuracy"]
    assert [line.difference is None for line in found.scores["test.accuracy"]] == [False, True]


def test_an_interval_without_0_is_marked() -> None:
    rows = {
        "a": {1: {"valid": {"x": 0.5}}, 2: {"valid": {"x": 0.5}}},
        "b": {1: {"valid": {"x": 0.6}}, 2: {"valid": {"x": 0.6001}}},
    }
    assert "+0.1000 [+0.0994, +0.1007] *" in markdown(
        "", compare(recipe(rows), rows, lost(rows), keys=["valid.x"])
    )
    turned = markdown("", compare(recipe(rows), rows, lost(rows), "b", ["valid.x"]))
    assert "-0.1000 [-0.1007, -0.0994] *" in turned
    assert "difference from b" in turned


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dogan", None), "baseline: found 'dogan', allowed: real, dcgan, cgan, late"),
        ((None, ["valid.acuracy"]), "--score: found 'valid.acuracy', allowed: a key of a number in metrics/"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(arguments: tuple, line: str) -> None:
    with pytest.raises(UserError) as refused:
        compare(recipe(ROWS), ROWS, lost(ROWS), *arguments)
    assert str(refused.value).startswith(line)


def predictions(path: Path, labels: str, predicted: str, split: str = "test") -> Path:
    """Write a table of predictions whose classes are single letters; another split's rows beside."""
    shares = [1 / 3] * 3
    rows = [
        {
            "id": f"{part}/{number}",
            "dataset": "table",
            "split": part,
            "label": label,
            "cluster": None,
            "predicted": said,
            "probabilities": shares,
            "x": 0.0,
            "y": 0.0,
        }
        for part in (split, "train")
        for number, (label, said) in enumerate(zip(labels, predicted, strict=True))
    ]
    write_rows(path, schema.predictions(list("abc")), sorted(rows, key=lambda row: row["id"]))
    return path


@pytest.fixture
def tested(tmp_path: Path) -> tuple[dict, dict]:
    """Scores and predictions of two seeds of two rows over ten images: the row finds 8 and 9, the baseline 2."""
    labels, wrong = "ab" * 5, "c" * 8
    said = {"base": ["ab" + wrong, "ab" + wrong], "row": ["ab" * 4 + "cc", "cb" + "ab" * 4]}
    files = {
        row: {
            seed: predictions(tmp_path / f"{row}{seed}.parquet", labels, text)
            for seed, text in enumerate(texts, 1)
        }
        for row, texts in said.items()
    }
    rows = {
        row: {
            seed: scored("test", sum(map(str.__eq__, labels, text)) / 10)
            for seed, text in enumerate(texts, 1)
        }
        for row, texts in said.items()
    }
    return rows, files


def test_p_values_come_from_the_predictions(tested: tuple[dict, dict], tmp_path: Path) -> None:
    rows, files = tested
    found = compare(recipe(rows), rows, files)
    base, row = found.scores["test.accuracy"]
    assert (base.mcnemar_p, base.bootstrap_p) == (None, None)
    # How many more seeds are right on each image: once -1, six times 2, twice 1. Of the 2^9 ways to choose signs, the
    # negative ones add up to at most 1 in 4: where there is none, and where one of the three ones is negative.
    assert row.mcnemar_p == pytest.approx(2 * 4 / 2**9)
    assert row.bootstrap_p is not None
    assert row.bootstrap_p < 0.01
    assert found.scores["test.macro_f1"][1].mcnemar_p is None
    assert found.scores["test.macro_f1"][1].bootstrap_p is not None
    assert (found.images, found.split) == (10, "test")
    text = markdown("", found)
    assert "on the 10 images of test" in " ".join(text.split())
    assert "not corrected for the number of rows" in " ".join(text.split())
    assert re.search(r"\| test.accuracy +\| row +\| \+0\.6500 \[.*\] \* +\| 0\.0156 +\| 0\.00\d\d +\|", text)
    assert re.search(r"\| row +\| 2 +\| 0\.8500 ± 0\.0707 \* ", text)
    # A row on other images changes nothing.
    rows["far"], files["far"] = (
        {1: scored("test", 1)},
        {1: predictions(tmp_path / "far.parquet", "ab" * 9, "ab" * 9)},
    )
    again = compare(recipe(rows), rows, files)
    assert (again.images, again.scores["test.accuracy"][1]) == (10, row)


def test_shares_and_single_labels_are_compared_by_the_same_labels(tested: tuple[dict, dict]) -> None:
    rows, files = tested
    for name, rule in {"base": "plurality", "row": "distribution"}.items():
        for run in rows[name].values():
            run["rule"] = rule
    row = compare(recipe(rows), rows, files).scores["test.accuracy"][1]
    assert (row.mcnemar_p, row.difference is None) == (pytest.approx(2 * 4 / 2**9), False)
    for run in rows["row"].values():
        run["rule"] = "majority"
    row = compare(recipe(rows), rows, files).scores["test.accuracy"][1]
    assert (row.mcnemar_p, row.difference) == (None, None)


def test_scores_on_valid_alone_are_tested_on_valid(tmp_path: Path) -> None:
    labels, said = "ab" * 5, {"base": "ab" + "c" * 8, "row": "ab" * 4 + "cc"}
    rows = {
        row: {1: scored("test", 0.5) | scored("valid", sum(map(str.__eq__, labels, text)) / 10)}
        for row, text in said.items()
    }
    files = {
        row: {1: predictions(tmp_path / f"{row}.parquet", labels, text, "valid")}
        for row, text in said.items()
    }
    found = compare(recipe(rows), rows, files, keys=["valid.accuracy", "valid.macro_f1"])
    assert (found.images, found.split) == (10, "valid")
    # Six images are right in `row` alone, none in `base` alone.
    assert found.scores["valid.accuracy"][1].mcnemar_p == pytest.approx(2 / 2**6)
    assert found.scores["valid.macro_f1"][1].bootstrap_p is not None
    both = compare(recipe(rows), rows, files, keys=["test.accuracy", "valid.accuracy"])
    assert (both.split, both.scores["valid.accuracy"][1].mcnemar_p) == ("test", None)


def test_runs_without_predictions_or_with_other_images_are_not_tested(
    tested: tuple[dict, dict], tmp_path
) -> None:
    rows, files = tested
    other = {"row": {1: None, 2: predictions(tmp_path / "other.parquet", "ba" * 5, "ba" * 5)}}
    found = compare(recipe(rows), rows, files | other)
    assert found.scores["test.accuracy"][1].mcnemar_p is None
    assert found.scores["test.accuracy"][1].bootstrap_p is None
    assert found.images == 0
    assert found.notes == [
        "row: not tested for seeds 1, whose predictions are not in DVC's cache",
        "row: no difference and no p-values, because its images or labels differ from those of base",
    ]


def test_rows_with_other_label_settings_are_compared_only_if_their_predictions_have_the_same_labels(
    tested: tuple[dict, dict],
) -> None:
    rows, files = tested
    settings: dict = {"base": {"labels.merge": {}, "loss": "softmax"}}
    settings["row"] = settings["base"] | {"labels.merge": {"c": "b"}}
    told = "row: settings that can change images or labels differ from base: labels.merge"
    found = compare(recipe(rows), rows, files, settings=settings)
    assert found.scores["test.accuracy"][1].mcnemar_p is not None
    assert [note.startswith(told) for note in found.notes] == [True]
    found = compare(recipe(rows), rows, lost(rows), settings=settings)
    assert found.scores["test.accuracy"][1].difference is None
    assert (
        "row: no difference and no p-values, because its images or labels differ from those of base"
        in found.notes
    )


def test_a_table_is_written_as_its_files_ending_says(tested: tuple[dict, dict], tmp_path: Path) -> None:
    rows, files = tested
    found = compare(recipe(rows, row={"test.accuracy": 0.9}), rows, files)
    for ending in ("md", "csv", "tex", "png"):
        result_table.write(tmp_path / f"t.{ending}", "Faces: $x^$", found)

    assert (tmp_path / "t.md").read_text() == markdown("Faces: $x^$", found)
    table = pd.read_csv(tmp_path / "t.csv")
    line = table[(table.score == "test.accuracy") & (table.row == "row")].iloc[0]
    assert (line.seeds, line["mean"], line.paper, line.pairs) == pytest.approx((2, 0.85, 0.9, 2))
    assert line.mcnemar_p == pytest.approx(8 / 512)
    with Image.open(tmp_path / "t.png") as image:
        assert image.width > image.height > 100
    with pytest.raises(
        UserError, match=r"--output: found t\.xlsx, allowed: a file that ends in \.md, \.csv, \.tex, \.png"
    ):
        result_table.write(Path("t.xlsx"), "Faces", found)


def test_the_tables_on_the_pages_are_laid_out_as_the_command_prints_them() -> None:
    valid = scored("valid", 0.5)
    for page, name, keys, figures in (
        ("sweeps", "mixcut_sample", None, scored("test", 0.5) | valid),
        ("ferplus", "mixcut_ferplus", ["valid.accuracy", "valid.macro_recall", "valid.macro_f1"], valid),
    ):
        papers = recipes.load(name)
        rows = {row: {1: figures, 2: figures} for row in papers.rows()}
        text = (Path("docs") / f"{page}.md").read_text(encoding="utf-8")
        printed = markdown("", compare(papers, rows, lost(rows), keys=keys, short=True))
        assert max(map(len, printed.splitlines())) <= 120
        for heads in re.findall(r"(?m)^\| (?:row|score) .*", printed)[: 2 if page == "sweeps" else 1]:
            names = [head.strip() for head in heads.strip("| ").split("|")]
            assert re.search(r"(?m)^\| " + r" +\| ".join(map(re.escape, names)) + r" +\|", text), names


def compiled(source: Path) -> str:
    """Return what pdflatex says of a file that it turns into a PDF."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, encoding="latin-1")
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="found no pdflatex on the PATH")
def test_a_latex_table_compiles_alone_and_inside_a_paper(
    tested: tuple[dict, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, files = tested
    named = {"base": "baseline", "row": "mixcut"}
    none: dict = {name: {} for name in recipes.load("mixcut_sample").rows()}
    by_row = ({named[name]: seeds for name, seeds in of.items()} for of in (rows, files))
    results = Results(*(none | of for of in by_row), stale=none)
    monkeypatch.setattr(Sweep, "results", lambda _: results)
    command = ["recipe", "table", "mixcut_sample", "--short", "--output", str(tmp_path / "t.tex")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "t.tex").read_text()
    [heads] = [line for line in text.splitlines() if line.startswith("row & ")]
    scores = ["test accuracy", "test macro recall", "test macro f1"]
    assert [head for head in heads.split(" & ") if head.startswith("test ")] == scores
    assert re.search(r"(?m)^mixcut & 2 & 0\.8500 \$\\pm\$ 0\.0707 \* & .* & short form", text)
    assert "Overfull" not in compiled(tmp_path / "t.tex")
    paper = r"\documentclass{article}\usepackage{booktabs}\begin{document}Ours: \input{t}\end{document}"
    (tmp_path / "paper.tex").write_text(paper)
    assert "(./t.tex" in compiled(tmp_path / "paper.tex")

    for name in ("residual_datasets", "mixaugment_classes"):  # the widest table and the longest
        papers = recipes.load(name)
        runs = {row: {seed: scored("test", seed / 10) for seed in (1, 2)} for row in papers.rows()}
        result_table.write(tmp_path / f"{name}.tex", papers.heading, compare(papers, runs, lost(runs)))
        assert not re.search("Overfull|too large", compiled(tmp_path / f"{name}.tex"))

    odd = "".join(map(chr, range(32, 0x250))) + "αΩ±–“→中😀"
    odd = "".join(filter(str.isprintable, odd))
    strange = Recipe(title=odd, note=odd, variants={"a_ä-0.1": {}, "b": {}})
    pair = {"a_ä-0.1": {1: scored("test", 0.5)}, "b": {1: scored("test", 0.4)}}
    result_table.write(tmp_path / "odd.tex", strange.title, compare(strange, pair, lost(pair)))
    compiled(tmp_path / "odd.tex")
    text = (tmp_path / "odd.tex").read_text()
    for part in (r"a\_ä-0.1 & 1", r"\#\$\%\&", r"[U+4E2D]", r"$\alpha$", r"& $-0.1000$ \\"):
        assert part in text


def test_a_difference_without_interval_is_never_clear() -> None:
    assert not Difference(1, 0.5, None, None).is_clear()
