"""Warn of what limits scores, from `metrics/evaluate.json` alone."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.evaluation.warnings import warnings
from pipeline.tables.vocabulary import CLASSES

ENOUGH = dict.fromkeys(CLASSES, 40)
BOUNDS = {"low": 0.4, "high": 0.6}
INTERVALS = dict.fromkeys(("accuracy", "macro_recall", "macro_f1"), BOUNDS)


def split(support: dict[str, int] = ENOUGH, **changes: Any) -> dict[str, Any]:
    """Return the scores of a split as `evaluate` writes them, as far as warnings read them."""
    per_class = {name: {"support": support.get(name, 0), "recall": 0.5} for name in CLASSES}
    return {"accuracy": 0.5, "interval": INTERVALS, "per_class": per_class} | changes


def groups(*rows: tuple[str, int, int]) -> dict[str, Any]:
    """Return the scores by age, from value, number of faces and of classes."""
    values = {value: {"support": support, "classes": classes} for value, support, classes in rows}
    return {"age": values | {"gap": {"accuracy": 0.1}}}


def evaluation(**changes: Any) -> dict[str, Any]:
    """Return the scores of a run without any reason for a warning, with changes."""
    whole = {name: split() for name in ("train", "valid", "test")}
    data = {"records": {"ferplus": 1000}, "rejected": {"ferplus": 100}, "drawn": {}}
    return {"rule": "plurality", "bootstrap": 1000} | data | whole | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, ""),
        ({"records": {"sample": 1200}}, "All faces are drawings"),
        ({"records": {"sample": 1200, "rafdb": 9}}, "The faces of sample are drawings"),
        (
            {"records": {"table": 64}, "rejected": {"table": 35}},
            "Ingest rejected 35 of 64 records of table, more than a tenth. data/ingested/table.rejected.csv",
        ),
        ({"rejected": {"ferplus": 101}}, "Ingest rejected 101 of 1,000 records of ferplus"),
        (
            {"drawn": {"valid": 1500, "test": 40}},
            "at random from the training images: valid 1,500, test 40",
        ),
        ({"test": {}}, "There is no test split. The epoch may have been chosen on valid"),
        (
            {"test": None, "valid": None},
            "There is no test split. All scores are on faces that training has seen",
        ),
        (
            {"valid": split(dict.fromkeys(CLASSES, 3))},
            "Fewer than 30 faces make every score of a split unreliable: valid 24.",
        ),
        (
            {"valid": split(ENOUGH | {"contempt": 0}), "test": split(ENOUGH | {"contempt": 0})},
            "Macro recall over 7 of 8 classes on valid, test, and macro F1 likewise: there are no faces of contempt.",
        ),
        ({"test": split(ENOUGH | {"disgust": 23, "contempt": 27})}, "disgust 23, contempt 27."),
        ({"valid": split(ENOUGH | {"disgust": 23})}, ""),  # another split has the last word on classes
        ({"test": split(accuracy=1.0)}, "All 320 faces of test are right."),
        ({"train": split(accuracy=1.0)}, ""),
        (
            {"test": split(interval={"accuracy": BOUNDS})},
            "On test, macro recall and macro F1 have no interval, as resamples do not show how they vary.",
        ),
        ({"bootstrap": 0, "test": split(interval={"accuracy": BOUNDS})}, ""),
        (
            {"valid": split(ENOUGH | {"fear": 1}, interval={"accuracy": BOUNDS})},
            "On valid, macro recall and macro F1 have no interval, as there is a single face of fear.",
        ),
        (
            {
                "test": split(
                    datasets={"fer2013": {"images": 280, "classes": 7}, "rafdb": {"images": 40, "classes": 8}}
                )
            },
            "Macro recall over 7 of 8 classes on the faces of fer2013 in test",
        ),
        (
            {"test": split(datasets={"ckplus": {"images": 29, "classes": 8}})},
            "Fewer than 30 faces make every score of a part of test unreliable: ckplus 29.",
        ),
        (
            {"test": split(images=320, deduplicated={"images": 1, "accuracy": 1.0})},
            "Fewer than 30 faces make every score of a part of test unreliable: without repeats 1.",
        ),
        ({"test": split(images=320, deduplicated={"images": 320})}, ""),
        (
            {"test": split(datasets={"rafdb": {"images": 40, "classes": 8, "accuracy": 1.0}})},
            "All faces of some parts of test are right: rafdb 40.",
        ),
        ({"train": split(datasets={"rafdb": {"images": 40, "classes": 8, "accuracy": 1.0}})}, ""),
        (
            {"test": split(groups=groups(("0-3", 29, 8), ("4-19", 30, 8), ("unknown", 2, 1)))},
            "On test, the gaps leave out groups of fewer than 30 faces, too few for a reliable score: age 0-3 29.",
        ),
        (
            {"test": split(groups=groups(("0-3", 40, 5), ("4-19", 280, 8)))},
            "some groups are means over fewer than 8 classes, so the gaps compare different classes: age 0-3 5.",
        ),
        ({"valid": split(groups=groups(("0-3", 1, 1)))}, ""),  # another split has the last word on groups
    ],
)
def test_each_limit_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    found = warnings(evaluation(**changes))
    assert len(found) == bool(sentence), found
    assert sentence in "".join(found)


def test_a_single_image_has_its_limits_together() -> None:
    found = " ".join(warnings({"test": split({"fear": 1}, accuracy=1.0, interval={"accuracy": BOUNDS})}))
    assert "Fewer than 30 faces make every score of a split unreliable: test 1." in found
    assert "Macro recall over 1 of 8 classes on test" in found
    assert "All 1" not in found


@pytest.mark.parametrize("value", [None, [], "x", 3, {"a": {"a": []}}, {"a": "x"}])
def test_files_of_another_form_give_no_error(value: Any) -> None:
    assert warnings({}) == []
    keys = ("records", "rejected", "drawn", "test", "bootstrap")
    warnings(evaluation(**dict.fromkeys(keys, value)))
    for key in ("per_class", "interval", "datasets", "deduplicated", "groups"):
        warnings(evaluation(test=split(**{key: value})))
