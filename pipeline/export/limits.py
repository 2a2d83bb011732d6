"""Limits of a model that follow from the metrics of its run, beside the warnings about its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.inference.origin import DRAWN, learned_from
from pipeline.tables.attributes import GAP

# Leaks between the splits of samples that `label` counts, with the sentence for each.
LEAKS = {
    "near_duplicates": "{count:,} images of `{later}` also occur in `{earlier}`, identically or nearly so.",
    "groups": "{count:,} images of `{later}` show people who also occur in `{earlier}`.",
}
NO_FEELINGS = "Labels are expressions that annotators saw in an image, not feelings of the person."


def limits(
    datasets: list[str],
    classes: list[str],
    label: dict[str, Any],
    aligned: dict[str, dict[str, Any]],
    evaluate: dict[str, Any],
    splits: list[str],
) -> Iterator[str]:
    """Yield a sentence for each limit of a model.

    Args:
        datasets: names of the data sets that the classifier or its GAN learned from.
        classes: the model's classes.
        label: metrics of the stage; empty if there are none.
        aligned: metrics of `align` by data set.
        evaluate: metrics of the stage; empty if there are none.
        splits: the splits that were scored, in the order train, valid, test.
    """
    if datasets == DRAWN:
        yield f"It {learned_from(datasets)}."
    if splits:
        yield from _score_limits(evaluate, splits)
    if label:
        yield from _repeats(evaluate, splits)
        parts = [label["datasets"][name] for name in datasets] if "datasets" in label else [label]
        people: Counter[str] = Counter()
        for part in parts:
            people.update(part.get("leaks", {}).get("groups", {}))
        yield from leak_limits({"groups": people})
        yield from disagreement(label)
    for name, metrics in aligned.items():
        yield from no_face_limit(name, metrics)
    yield f"Every input gets one of the {len(classes)} classes, even if it shows no face."
    yield NO_FEELINGS
    groups = evaluate[splits[-1]].get("groups", {}) if splits else {}
    if groups:
        names = ", ".join(f"`{name.replace('`', '')}`" for name in groups)
        yield f"Scores were measured by {names}, and by no other attribute of the people."
    else:
        yield "Scores by age, sex or skin colour were not measured."


def _score_limits(evaluate: dict[str, Any], splits: list[str]) -> Iterator[str]:
    last = splits[-1]
    rows = {name: row for name, row in evaluate[last]["per_class"].items() if row["support"]}
    if len(rows) > 1:
        worst = min(rows, key=lambda name: rows[name]["recall"])
        recall, faces = rows[worst]["recall"], rows[worst]["support"]
        yield f"On `{last}`, {worst} has the lowest recall: {recall:.4f} of {faces:,} faces."
    if last != "train" and "train" in splits:
        seen, unseen = evaluate["train"]["accuracy"], evaluate[last]["accuracy"]
        yield f"Accuracy is {seen:.4f} on the training faces and {unseen:.4f} on `{last}`."
    for attribute, values in evaluate[last].get("groups", {}).items():
        if (gap := values[GAP]["macro_recall"]) is not None:
            name, chance = attribute.replace("`", ""), values[GAP]["chance"].get("macro_recall")
            alone = "" if chance is None else f" (by chance alone, up to {chance:.4f} in 95 % of cases)"
            yield f"On `{last}`, macro recall differs by up to {gap:.4f} between groups by `{name}`{alone}."
    if evaluate["ten_crop"] or evaluate["mirror"]:
        yield f"Each face was scored by {views(evaluate)}; the exported files see only its centre."


def no_face_limit(dataset: str, aligned: dict[str, Any]) -> Iterator[str]:
    """Yield how many images of a data set stand for a face that was not found, by the metrics of `align`."""
    if aligned.get("fallback") and aligned.get("mode") != "none":
        yield (
            f"No face was found in {aligned['fallback']:,} of {aligned['images']:,} images of {dataset}. Those with "
            "a label were used as a whole, or by the box that the data set gives."
        )


def _repeats(evaluate: dict[str, Any], splits: list[str]) -> Iterator[str]:
    """Yield how many scored faces the model has learned from or chosen its epoch by."""
    for split in splits:
        scores = evaluate[split]
        if "deduplicated" in scores and (count := scores["images"] - scores["deduplicated"]["images"]):
            earlier = "`train` or `valid`" if split == "test" and "valid" in splits else "`train`"
            yield (
                f"{count:,} of the {scores['images']:,} faces of `{split}` also occur in {earlier}, identically or "
                "nearly so."
            )


def leak_limits(leaks: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield a sentence for each kind of leak and pair of splits, by the counts `leaks` of `label`."""
    for kind, sentence in LEAKS.items():
        for pair, count in leaks.get(kind, {}).items():
            later, _, earlier = pair.partition("_in_")
            if count:
                yield sentence.format(count=count, later=later, earlier=earlier)


def disagreement(label: dict[str, Any]) -> Iterator[str]:
    """Yield how much annotators disagree, by the metrics of `label`."""
    agreement = label.get("agreement", {})
    if agreement.get("winning_share") is not None:
        yield (
            f"Annotators disagree: on average, the winning label has {agreement['winning_share']:.4f} of an image's "
            f"votes; Fleiss' kappa is {score(agreement.get('fleiss_kappa'))}."
        )


def views(evaluate: dict[str, Any]) -> str:
    """Return which views of a face the scores average."""
    if evaluate.get("ten_crop"):
        return "the mean of ten crops"
    return "the mean of its centre and its mirror image" if evaluate.get("mirror") else "its centre"


def score(value: float | None) -> str:
    """Return a score as text."""
    return "-" if value is None else f"{value:.4f}"
