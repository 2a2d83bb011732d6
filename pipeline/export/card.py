"""The model card: what a model is, what it was trained on, and its scores.

It is Markdown with the YAML head of Hugging Face's model cards. All figures come from the metrics of the model's run;
what the run did not record is omitted.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline.evaluation.intervals import FEW, wilson
from pipeline.evaluation.warnings import coverage, warnings
from pipeline.export import templates, usage
from pipeline.export.limits import limits, score, views
from pipeline.export.lineage import Lineage
from pipeline.export.parity import LOSS, TOLERANCE, Parity
from pipeline.export.terms import dataset_terms
from pipeline.inference.origin import learned_from
from pipeline.tables.paths import METRICS
from pipeline.tables.schema import channels
from pipeline.tables.vocabulary import SCORED

TEMPLATE = "card.md.jinja"
# Scores in the YAML head: the metric's type and name by key of metrics/evaluate.json.
HEAD_SCORES = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_recall": ("recall", "Macro recall"),
    "macro_f1": ("f1", "Macro F1"),
}


def write(
    metadata: dict[str, Any],
    lineage: Lineage,
    files: dict[str, bytes],
    parities: list[Parity],
    detector_terms: str,
    head: dict[str, Any] | None = None,
    address: str = "",
) -> str:
    """Return a model card.

    Args:
        metadata: metadata of the exported file.
        lineage: the model's run.
        files: the model's files by name.
        parities: comparison of the files with PyTorch, by split.
        detector_terms: licence of the detector's weights.
        head: entries of the YAML head that replace the usual ones.
        address: of the model on the Hub, if it is shared there.
    """
    params = lineage.params("train")
    learned = list(dict.fromkeys([*metadata["datasets"], *metadata["gan_datasets"]]))
    datasets = params.get("datasets", [])
    label, synthesize, train, evaluate = (
        lineage.metrics(METRICS / f"{stage}.json") for stage in ("label", "synthesize", "train", "evaluate")
    )
    ingested, aligned = (
        {name: lineage.metrics(METRICS / stage / f"{name}.json") for name in datasets}
        for stage in ("ingest", "align")
    )
    splits = [split for split in SCORED if split in evaluate]
    environment = templates.environment()
    environment.filters.update(
        sha256=lambda content: hashlib.sha256(content).hexdigest(), recall=_recall, terms=dataset_terms
    )
    graph = next((name for name in files if name.endswith(".onnx")), None)
    text = environment.get_template(TEMPLATE).render(
        metadata=metadata,
        channels=channels(metadata["align"]["colour"]),
        files=files,
        usage=usage.usage(graph, metadata["align"]) if graph else None,
        address=address,
        parities=parities,
        tolerance=TOLERANCE,
        loss=LOSS,
        params=params,
        learned=learned,
        learned_from=learned_from,
        datasets={name: _use(name, metadata) for name in datasets},
        ingested=ingested,
        aligned=aligned,
        class_counts=_class_counts(label, metadata["datasets"]),
        synthesize=synthesize,
        train=train,
        splits=[row for split in splits for row in _with_parts(split, evaluate[split])],
        last=splits[-1] if splits else "",
        evaluate=evaluate,
        fewest=FEW,
        views=views(evaluate),
        warnings=warnings(evaluate),
        limits=limits(learned, metadata["classes"], label, aligned, evaluate, splits),
        detector_terms=detector_terms,
    )
    return templates.card(_head(metadata["model"], learned, datasets, evaluate, splits) | (head or {}), text)


def _head(
    model: str, learned: list[str], datasets: list[str], evaluate: dict[str, Any], splits: list[str]
) -> dict[str, Any]:
    head: dict[str, Any] = {
        "license": "other",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", "fer-pipeline", model],
    }
    if learned:
        head["datasets"] = learned
    if splits:
        head["metrics"] = [kind for kind, _ in HEAD_SCORES.values()]
        scored = {split: list(evaluate[split].get("datasets", datasets)) for split in splits}
        results = [
            {
                "task": {"type": "image-classification", "name": "Facial expression recognition"},
                "dataset": {"type": "-".join(names), "name": ", ".join(names), "split": split},
                "metrics": [
                    {"type": kind, "value": evaluate[split][key], "name": name}
                    for key, (kind, name) in HEAD_SCORES.items()
                    if evaluate[split][key] is not None
                ],
            }
            for split, names in scored.items()
        ]
        head["model-index"] = [{"name": f"Facial expression classifier: {model}", "results": results}]
    return head


def _with_parts(split: str, scores: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Return name, scores and classes of a split, of its data sets, and of it without repeats if it has any."""
    parts, fresh = {split: scores}, scores.get("deduplicated")
    parts |= {f"{split}, {name}": part for name, part in scores.get("datasets", {}).items()}
    if fresh and fresh["images"] < scores["images"]:
        parts[f"{split} without repeats of train and valid"] = fresh
    _, total = coverage(scores)
    return [(name, part, f"{part.get('classes', '-')} of {total}") for name, part in parts.items()]


def _use(dataset: str, metadata: dict[str, Any]) -> str:
    """Return what a data set was used by: the classifier, the GAN, both, or only the scores."""
    uses = {"classifier": "datasets", "GAN": "gan_datasets"}
    return ", ".join(name for name, key in uses.items() if dataset in metadata[key]) or "scores only"


def _class_counts(label: dict[str, Any], learned: list[str]) -> dict[str, dict[str, int]]:
    """Return the number of faces of each class by split, over the data sets that the classifier learned from."""
    parts = [label["datasets"][name] for name in learned] if "datasets" in label else [label] if label else []
    return {
        split: {name: sum(part["classes"][split][name] for part in parts) for name in counts}
        for split, counts in (parts[0]["classes"].items() if parts else ())
    }


def _recall(scores: dict[str, Any]) -> str:
    """Return the recall of a class with Wilson's interval."""
    if not scores["support"]:
        return score(scores["recall"])
    correct = round(scores["recall"] * scores["support"])
    low, high = wilson(correct, scores["support"])
    return f"{score(scores['recall'])} [{low:.4f}, {high:.4f}]"
