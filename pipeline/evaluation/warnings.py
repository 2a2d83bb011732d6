"""Warnings about scores that are worth less than their digits suggest.

They follow from `metrics/evaluate.json` alone. So every place that shows scores shows the same warnings, also for runs
of another commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core.progress import in_words
from pipeline.evaluation.intervals import FEW
from pipeline.tables.attributes import GAP, UNKNOWN
from pipeline.tables.vocabulary import SCORED

# Share of a data set's records above which rejected records are a warning.
MANY = 0.1
# Splits whose faces training has seen.
LEARNED = ("train", "gan_train")
MACRO = {"macro_recall": "macro recall", "macro_f1": "macro F1"}


def warnings(evaluation: dict[str, Any]) -> list[str]:
    """Return what limits the scores of a run, one sentence or two for each limit.

    Args:
        evaluation: content of `metrics/evaluate.json`. Values that are missing or of another type give no warning.
    """
    return [*_about_data(evaluation), *_about_splits(evaluation)]


def coverage(scores: dict[str, Any]) -> tuple[int, int]:
    """Return the number of classes with faces in a split, over which macro scores are means, and of all classes."""
    counts = _support(scores)
    return sum(count > 0 for count in counts.values()), len(counts)


def _about_data(evaluation: dict[str, Any]) -> Iterator[str]:
    records, rejected = _counts(evaluation.get("records")), _counts(evaluation.get("rejected"))
    if "sample" in records:
        only = "All faces" if len(records) == 1 else "The faces of sample"
        yield f"{only} are drawings (the embedded sample): their scores say nothing about photographs."
    for name, total in records.items():
        count = rejected.get(name, 0)
        if count > MANY * total:
            yield (
                f"Ingest rejected {count:,} of {total:,} records of {name}, more than a tenth. "
                f"data/ingested/{name}.rejected.csv lists them."
            )
    if drawn := _counts(evaluation.get("drawn")):
        yield (
            f"Splits that are not published were drawn at random from the training images: {in_words(drawn)}."
        )


def _about_splits(evaluation: dict[str, Any]) -> Iterator[str]:
    blocks = {split: _block(evaluation.get(split)) for split in SCORED}
    counts = {split: support for split, block in blocks.items() if (support := _support(block))}
    if not counts:
        return
    *_, last = counts
    if last not in ("unlearned", "test"):
        yield "There is no test split. " + (
            "The epoch may have been chosen on valid, whose scores are then too high."
            if last == "valid"
            else "All scores are on faces that training has seen."
        )
    faces = {split: sum(support.values()) for split, support in counts.items()}
    if few := {split: number for split, number in faces.items() if number < FEW}:
        yield f"Fewer than {FEW} faces make every score of a split unreliable: {in_words(few)}."
    yield from _absent_classes(counts)
    small = {name: number for name, number in counts[last].items() if 0 < number < FEW}
    if small and last not in few:
        yield f"On {last}, some classes have fewer than {FEW} faces, too few for a reliable recall: {in_words(small)}."
    for split in [name for name in counts if name not in few]:
        if split not in LEARNED and blocks[split].get("accuracy") == 1:
            yield f"All {faces[split]:,} faces of {split} are right. Check that training has not seen them."
        if evaluation.get("bootstrap"):
            yield from _no_interval(split, blocks[split], counts[split])
        yield from _weak_parts(split, blocks[split])
    if last not in few:
        yield from _weak_groups(last, blocks[last])


def _absent_classes(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield a sentence for each set of splits that lack the same classes."""
    splits: dict[tuple[str, ...], list[str]] = {}
    for split, support in counts.items():
        absent = tuple(name for name, number in support.items() if not number)
        splits.setdefault(absent, []).append(split)
    for absent, names in splits.items():
        if absent:
            total = len(counts[names[0]])
            yield (
                f"Macro recall over {total - len(absent)} of {total} classes on {', '.join(names)}, and macro F1 "
                f"likewise: there are no faces of {', '.join(absent)}."
            )


def _weak_parts(split: str, scores: dict[str, Any]) -> Iterator[str]:
    """Yield which parts of a split have few faces, fewer classes than the whole split, or only right faces."""
    datasets = {name: _block(part) for name, part in _block(scores.get("datasets")).items()}
    scored, total = coverage(scores)
    for name, part in datasets.items():
        if 0 < part.get("classes", 0) < scored:
            yield (
                f"Macro recall over {part['classes']} of {total} classes on the faces of {name} in {split}, and "
                "macro F1 likewise."
            )
    parts = datasets | {
        f"{name} without repeats".strip(): fresh
        for name, whole in {"": scores, **datasets}.items()
        if (fresh := _block(whole.get("deduplicated"))).get("images") != whole.get("images")
    }
    images = {name: part.get("images", 0) for name, part in parts.items()}
    if few := {name: number for name, number in images.items() if 0 < number < FEW}:
        yield f"Fewer than {FEW} faces make every score of a part of {split} unreliable: {in_words(few)}."
    right = {name: n for name, n in images.items() if n >= FEW and parts[name].get("accuracy") == 1}
    if right and scores.get("accuracy") != 1 and split not in LEARNED:
        yield f"All faces of some parts of {split} are right: {in_words(right)}. Check that training has not seen them."


def _weak_groups(split: str, scores: dict[str, Any]) -> Iterator[str]:
    """Yield which groups of people have few faces, or fewer classes than the whole split."""
    groups = {
        f"{attribute} {value}": _block(row)
        for attribute, values in _block(scores.get("groups")).items()
        for value, row in _block(values).items()
        if value not in (UNKNOWN, GAP)
    }
    support = _counts({name: row.get("support") for name, row in groups.items()})
    if few := {name: number for name, number in support.items() if number < FEW}:
        yield (
            f"On {split}, the gaps leave out groups of fewer than {FEW} faces, too few for a reliable score: "
            f"{in_words(few)}."
        )
    scored, _ = coverage(scores)
    classes = _counts({name: row.get("classes") for name, row in groups.items() if name not in few})
    if fewer := {name: number for name, number in classes.items() if number < scored}:
        yield (
            f"On {split}, macro scores of some groups are means over fewer than {scored} classes, so the gaps compare "
            f"different classes: {in_words(fewer)}."
        )


def _no_interval(split: str, scores: dict[str, Any], support: dict[str, int]) -> Iterator[str]:
    """Yield why macro scores of a split have no interval, if they have none."""
    bounds = _block(scores.get("interval"))
    missing = [name for key, name in MACRO.items() if key not in bounds]
    single = [name for name, number in support.items() if number == 1]
    if missing:
        reason = (
            f"there is a single face of {', '.join(single)}"
            if single
            else "resamples do not show how they vary"
        )
        yield f"On {split}, {' and '.join(missing)} have no interval, as {reason}."


def _support(scores: dict[str, Any]) -> dict[str, int]:
    """Return the number of faces of each class."""
    rows = _block(scores.get("per_class"))
    return _counts({name: _block(row).get("support") for name, row in rows.items()})


def _block(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _counts(value: Any) -> dict[str, int]:
    return {name: count for name, count in _block(value).items() if isinstance(count, int)}
