"""A small chain of tables for tests of the stages behind `label`: bright and dark faces, 16 x 16 pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.inference import model_file
from pipeline.inference.model_file import build_network
from pipeline.inference.samples import LabelledFaces, Samples
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, open_tree
from pipeline.methods.models import Classifier
from pipeline.params.methods import BLOCKS
from pipeline.params.rewrite import with_values
from pipeline.stages.train import starting_network, trained_model, training_parts
from pipeline.tables import paths, schema, store
from pipeline.training.engine import TrainingRun
from pipeline.training.processes import Processes

SHIPPED = params.load(Path(__file__).parents[1] / "params.yaml")
# Many tests are about a few records, of which more than a tenth is bad.
PARAMS = SHIPPED.model_copy(update={"ingest": SHIPPED.ingest.model_copy(update={"rejected": "accept"})})
SIZE = 16
CLASSES = ["neutral", "happiness"]


class Faces:
    """Faces in memory, as `tables.Faces`.

    Args:
        faces: uint8 [N, H, W, C].
    """

    def __init__(self, faces: np.ndarray) -> None:
        self.faces, self.shape = faces, faces.shape[1:]

    def __getitem__(self, row: int) -> np.ndarray:
        return self.faces[row]


def write(project: Path, **changes: Any) -> None:
    """Write aligned faces, labels and an empty synthetic table; set parameters by dotted key."""
    size, depth = changes.get("align.face_size", SIZE), 3 if changes.get("align.colour") else 1
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for i in range(90):
        split = ("train", "train", "train", "valid", "test")[i % 5]
        # Half of the classes' difference is noise, so that accuracy stays below 1 for some epochs.
        face = rng.normal(100 + 40 * (i % 2), 40, (size, size, depth)).clip(0, 255).astype(np.uint8)
        name = f"toy/{i:03d}"
        rows.append({"id": name, "status": "whole", "face": face.tobytes()})
        label = {"id": name, "dataset": "sample", "split": split, "label": CLASSES[i % 2]}
        labels.append(label | {"target": [1.0 - i % 2, float(i % 2)]})
    store.write_rows(project / paths.ALIGNED / "sample.arrow", schema.aligned(size, depth), rows)
    store.write_rows(project / paths.LABELS, schema.labels(changes.get("classes", CLASSES)), labels)
    store.write_rows(project / paths.SYNTHETIC, schema.synthetic(size, depth, ""), [])
    write_label_metrics(project, {"sample": len(labels)})
    settings = {
        "datasets": ["sample"],
        "classes": CLASSES,
        "gan": "none",
        "align.face_size": size,
        "train.crop": size,
        "train.epochs": 2,
        "train.batch_size": 8,
        "train.device": "cpu",
        "train.precision": "float32",
        "augment": "mixcut",
        "model": "light",
    }
    set_params(project, **(settings | changes))


def write_label_metrics(
    project: Path, kept: dict[str, int], rejected: int = 0, drawn: dict[str, int] | None = None
) -> None:
    """Write what `evaluate` reads of the metrics of `label`.

    Args:
        project: the folder.
        kept: number of samples of each data set.
        rejected: number of records of each data set that ingest rejected.
        drawn: number of samples of each split that was drawn.
    """
    parts = {name: {"kept": {"train": count}, "dropped": {}} for name, count in kept.items()}
    label = {"drawn": drawn or {}, "not_read": {name: {"unreadable": rejected} for name in kept}}
    [first, *others] = parts.values()
    write_json(
        project / paths.METRICS / "label.json", label | first | ({"datasets": parts} if others else {})
    )


def settings(switch: str, name: str, **changes: Any) -> Any:
    """Return the settings of a method as in the project's params.yaml, with changes."""
    block = getattr(getattr(PARAMS, BLOCKS[switch]), name)
    return type(block).model_validate(block.model_dump() | changes)


def labelled(p: params.Params) -> LabelledFaces:
    """Return the labelled faces that the classifier learns from, in the working folder."""
    return LabelledFaces(p.classes, p.train_datasets, p.align)


def network(p: params.Params) -> Classifier:
    """Return the chosen network with fresh weights."""
    return build_network(*p.chosen("model"), len(p.classes), schema.channels(p.align.colour))


def save_model(p: params.Params, network: Classifier) -> None:
    """Write the model file of a network."""
    model_file.save(paths.CLASSIFIER, trained_model(p, network))


def training_run(
    p: params.Params,
    valid: Samples | None = None,
    train: Samples | None = None,
    *,
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
    processes: Processes = Processes(),
) -> TrainingRun:
    """Return a run on the training split, with the checkpoint `unfinished.safetensors` in the working folder."""
    train = train or labelled(p).split("train")
    network, _ = starting_network(p, torch.device(device))
    built = training_parts(p, network, train)
    path = Path("unfinished.safetensors")
    return TrainingRun(built, p.train, p.seed, train, valid, precision, path, processes)


def listed(listing: Listing) -> list[dict[str, Any]]:
    """Return the records of a listing in the order of their names; it is then complete."""
    return [record._asdict() | {"votes": record.votes and tuple(record.votes)} for record in listing]


def answer(records: Callable[[Tree, Options], Listing], folder: Path, options: Options = Options()) -> str:
    """Return what a data set's reader says of a folder that it refuses, nothing of one whose records it lists."""
    try:
        listed(records(open_tree(folder), options))
    except UserError as error:
        return str(error)
    return ""


def set_params(project: Path, **changes: Any) -> None:
    """Set parameters in the folder's params.yaml by dotted key, as `fer recipe apply` does."""
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    tree = YAML(typ="safe").load(text)
    for key, value in changes.items():
        block = tree
        *parents, last = key.split(".")
        for name in parents:
            block = block[name]
        block[last] = value
    path.write_text(with_values(text, tree), encoding="utf-8")
