"""Write a small finished run for tests: faces of noise, random predictions, and their metrics."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.evaluation.groups import group_scores
from pipeline.evaluation.intervals import intervals
from pipeline.evaluation.metrics import scores
from pipeline.tables import paths, schema, store, vocabulary

NAMES = ["neutral", "happiness", "fear"]
SIZE = 16


def write(
    root: Path,
    names: list[str] = NAMES,
    count: int = 90,
    seed: int = 0,
    word: str = "toy",
    splits: tuple[str, ...] = vocabulary.SPLITS,
    answers: int | None = None,
) -> None:
    """Write the files of a run into a folder.

    Args:
        root: the folder.
        names: names of the classes.
        count: number of faces, evenly divided between the splits.
        seed: seed of the faces and predictions.
        word: part of all other text from data: ids, attributes, reasons, parameters, files.
        splits: the splits of the run.
        answers: seed of the predictions alone, for runs with the same faces and labels.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(names), size=count)
    own = rng if answers is None else np.random.default_rng(answers)
    logits = own.normal(size=(count, len(names))) + 2 * np.eye(len(names))[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    split = np.array(splits)[np.arange(count) % len(splits)]
    ids = [f"sample/{word}{i:05}" for i in range(count)]

    faces = rng.integers(256, size=(count, SIZE * SIZE), dtype=np.uint8)
    rows = (
        {"id": id_, "status": "whole", "face": face.tobytes()} for id_, face in zip(ids, faces, strict=True)
    )
    store.write_rows(root / paths.ALIGNED / "sample.arrow", schema.aligned(SIZE, 1), rows)
    named = np.array(names, object)
    columns = {
        "id": ids,
        "dataset": ["sample"] * count,
        "split": split.tolist(),
        "label": named[labels].tolist(),
        "predicted": named[probabilities.argmax(axis=1)].tolist(),
        "probabilities": probabilities.tolist(),
        "x": logits[:, 0].tolist(),
        "y": logits[:, -1].tolist(),
    }
    pq.write_table(pa.table(columns, schema.predictions(names)), root / paths.PREDICTIONS)

    evaluated: dict[str, Any] = {
        "rule": "plurality",
        "bootstrap": 50,
        "records": {word: count + 7},
        "rejected": {word: count},
    }
    for name in splits:
        of = split == name
        predicted = probabilities[of].argmax(axis=1)
        evaluated[name] = scores(labels[of], probabilities[of], names) | {
            "interval": intervals(labels[of], predicted, len(names), 50, 1)
        }
        values = [(word, "unknown")[i % 2] for i in range(len(predicted))]
        groups = group_scores(values, labels[of], predicted, names, 50, 1)
        evaluated[name]["groups"] = {word: groups}
    kept = {name: int((split == name).sum()) for name in splits}
    pairs = {"valid_in_train": 2, "test_in_train": 1}
    metrics = {
        "evaluate": evaluated,
        "ingest/sample": {"records": count + 7, "kept": count, "rejected": {word: 7}},
        "align/sample": {"images": count, "found": count, "found_rate": 1.0, "fallback": 0, "mode": "crop"},
        "label": {
            "kept": kept,
            "classes": {
                name: {names[k]: int((labels[split == name] == k).sum()) for k in range(len(names))}
                for name in splits
            },
            "dropped": {word: 3},
            "duplicates": pairs,
            "near_duplicates": pairs | {"within": {"train": 5}},
            "groups": {},
            "leaks": {"near_duplicates": pairs | {"test_in_train": 0}, "groups": {}},
            "agreement": {"images": count, "alpha": 0.61, "second_choice": {f"{word}_fear": 4}},
        },
        "train": {"epochs": 3, "best_epoch": 2, "loss": 0.5, "valid": {"accuracy": 0.7}, "device": word},
        "synthesize": {"gan": "dcgan", "fear": {"images": 8, "fid": 7.25, "diversity": {"generated": 3.5}}},
    }
    outputs = []
    for name, content in metrics.items():
        path = root / paths.METRICS / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        outputs.append({"path": f"metrics/{name}.json", "md5": digest, "size": 1})
    outputs.append({"path": f"data/{word}.parquet", "md5": "0123456789abcdef", "size": 1234567})
    used = {"params.yaml": {"seed": seed, "augment": word, "train.epochs": 3, "datasets": ["sample"]}}
    # JSON is valid YAML.
    lock = {"schema": "2.0", "stages": {"evaluate": {"params": used, "outs": outputs}}}
    (root / "dvc.lock").write_text(json.dumps(lock))

    for split_name, values in {
        "train": "0\t1.5\n1\t0.75\n2\t0.5",
        "valid": "0\t1.25\n1\t0.875\n2\t1.0",
    }.items():
        curve = root / paths.PLOTS / f"train/plots/metrics/{split_name}/loss.tsv"
        curve.parent.mkdir(parents=True, exist_ok=True)
        curve.write_text(f"step\tloss\n{values}\n")
    for stage, name in (
        ("label", "sample"),
        ("label", "sample-landmarks"),
        ("synthesize", "fear"),
        ("synthesize", "all.loss"),
    ):
        image = root / paths.PLOTS / stage / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 200), (200, 210, 220)).save(image)
    rejected = root / paths.INGESTED / "sample.rejected.csv"
    rejected.parent.mkdir(parents=True, exist_ok=True)
    quoted = word.replace('"', '""')
    rejected.write_text(f'file,row,reason\nlabels.csv,3,"{quoted}"\n', encoding="utf-8")
