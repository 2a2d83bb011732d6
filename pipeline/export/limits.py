"""What limits a model, as its run's metrics tell."""

from __future__ import annotations

from typing import Any

# Faces of a class below which its scores say little.
FEW = 30


def limits(
    names: list[str],
    evaluate: dict[str, Any],
    last: str,
    label: dict[str, Any],
    aligned: dict[str, dict[str, Any]],
    about: dict[str, Any],
) -> list[str]:
    """Return what has to be known before the model is trusted, a sentence each.

    Args:
        names: of the data sets.
        evaluate, label: the run's metrics; empty where there are none.
        last: the last split that was scored; empty if none was.
        aligned: metrics of `align` by data set.
        about: the metadata of the exported file.
    """
    limits = []
    if names == ["sample"]:
        limits.append(
            "It learned from the embedded sample, which is drawn: it shows that the chain works, and knows nothing of "
            "photographs."
        )
    if last:
        limits += _weak_classes(evaluate[last]["per_class"], last)
        limits += _doubts(evaluate, last)
    if label:
        limits += _leaks(label)
    for name, found in aligned.items():
        if found.get("fallback"):
            limits.append(
                f"In {found['fallback']:,} of {found['images']:,} pictures of {name} no face was found; the whole "
                "picture took its place, in training and in the scores, if it had a label."
            )
    limits += [
        f"Every input gets one of the {len(about['classes'])} classes, also where there is no face.",
        "Labels are what annotators saw in a picture, not what a person felt.",
        "The run did not measure scores by age, sex or skin colour.",
    ]
    return limits


def _weak_classes(per_class: dict[str, dict[str, Any]], last: str) -> list[str]:
    limits = []
    recalls = {name: row["recall"] for name, row in per_class.items() if row["support"]}
    if recalls:
        worst = min(recalls, key=lambda name: recalls[name])
        limits.append(
            f"On `{last}` {worst} is recognised least: {recalls[worst]:.4f} of {per_class[worst]['support']:,} faces."
        )
    few = [f"{name} ({row['support']})" for name, row in per_class.items() if row["support"] < FEW]
    if few:
        limits.append(f"Fewer than {FEW} faces of `{last}` are behind the scores of {', '.join(few)}.")
    return limits


def _doubts(evaluate: dict[str, Any], last: str) -> list[str]:
    limits = []
    if last != "test":
        limits.append(
            "There is no test split. "
            + (
                "The best epoch was chosen on `valid`, whose scores are therefore too high."
                if last == "valid"
                else ""
            )
        )
    if last != "train" and "train" in evaluate:
        seen, unseen = evaluate["train"]["accuracy"], evaluate[last]["accuracy"]
        limits.append(f"Accuracy is {seen:.4f} on the faces it learned from and {unseen:.4f} on `{last}`.")
    if evaluate["ten_crop"] or evaluate["mirror"]:
        limits.append(
            f"The scores are {views(evaluate)}; the exported files see the centre of each face alone."
        )
    return limits


def _leaks(label: dict[str, Any]) -> list[str]:
    limits = []
    for kind, what in (
        ("near_duplicates", "pictures of `{}` occur in `{}` too, pixel by pixel or nearly"),
        ("groups", "pictures of `{}` show people who also occur in `{}`"),
    ):
        for pair, count in label.get(kind, {}).items():
            later, _, earlier = pair.partition("_in_")
            if earlier and count:
                limits.append(f"{count:,} {what.format(later, earlier)}.")
    if label.get("drawn"):
        drawn = ", ".join(f"`{split}`" for split in label["drawn"])
        limits.append(f"Not published but drawn from the training pictures: pictures of {drawn}.")
    agreement = label.get("agreement", {})
    if agreement.get("winning_share") is not None:
        limits.append(
            f"Annotators disagree: the winning label has {agreement['winning_share']:.4f} of a picture's votes on "
            f"average, Fleiss' kappa is {score(agreement.get('fleiss_kappa'))}."
        )
    return limits


def views(evaluate: dict[str, Any]) -> str:
    """Return what of a face the scores are of."""
    if evaluate.get("ten_crop"):
        return "the mean of ten crops"
    return "the mean of centre and mirror image" if evaluate.get("mirror") else "the centre of each face"


def score(value: float | None) -> str:
    """Return a score as text."""
    return "-" if value is None else f"{value:.4f}"
