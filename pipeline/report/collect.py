"""What a run left behind, read from its files. Whatever is absent is None or empty: a report says so in a sentence.

Numbers are those of `metrics/`. What is drawn from `data/predictions.parquet` is shown only where that table gives the
very same numbers: a table of another run would put wrong figures beside right ones.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import md5_of
from pipeline.report.revisions import LOCK, METRICS, PARAMS, Commit, Source, show
from pipeline.tables.paths import ALIGNED, INGESTED, PLOTS, PREDICTIONS
from pipeline.tables.schema import SPLITS
from pipeline.tables.store import Faces, read_parquet

REJECTED_ROWS = 20  # of each data set
# Mistakes that are shown: the most confident of all, and of each pair of a true and a predicted class.
OF_ALL, OF_PAIR = 48, 3

SCORES, LABEL, TRAIN, SYNTHESIZE = (
    f"metrics/{name}.json" for name in ("evaluate", "label", "train", "synthesize")
)


class Output(NamedTuple):
    """A file or folder that went into a stage or came out of one, as dvc.lock has it; `size` in bytes."""

    stage: str
    kind: str
    path: str
    md5: str
    size: int | None


class Split(NamedTuple):
    """Predictions of a split.

    Attributes:
        ids, datasets: of each face, [N].
        labels: true classes, [N] integers.
        probabilities: float32 [N, K].
    """

    ids: np.ndarray
    datasets: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    def confusion(self) -> np.ndarray:
        """Return how many faces of each class (row) were taken for each class (column), [K, K]."""
        count = self.probabilities.shape[1]
        predicted = self.probabilities.argmax(axis=1)
        return np.bincount(self.labels * count + predicted, minlength=count**2).reshape(count, count)


class Mistake(NamedTuple):
    """A face that was taken for another class; `face` is uint8 [H, W, C], None where it is not there."""

    id: str
    label: str
    predicted: str
    probability: float
    face: np.ndarray | None


class Curve(NamedTuple):
    """A value by epoch."""

    name: str
    epochs: list[float]
    values: list[float]


class Run:
    """Everything that a report says of a run.

    Args:
        source: where its files are.

    Raises:
        UserError: a file that is there cannot be read.

    Attributes:
        name: what the user calls it.
        commit: None outside of a git repository.
        metrics: content of each file of `metrics/`, by its path.
        parameters: what the stages ran with, by dotted key; params.yaml where dvc.lock is absent.
        baseline: what params.yaml of the commit that the run started from has instead, where it differs.
        now: what params.yaml has instead, where it differs: the run is older than it.
        outputs: data and models, with their hashes.
        stale: paths of files that are not what dvc.lock says the run made.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, source.name
        self.commit: Commit | None = source.commit
        self.metrics = dict(_metrics(source))
        given = _flat(_yaml(source, PARAMS))
        lock = _yaml(source, LOCK)
        stages = {name: _dict(stage) for name, stage in _dict(lock.get("stages")).items()}
        used: dict[str, Any] = {}
        for stage in stages.values():
            used |= _flat(_dict(_dict(stage.get("params")).get(PARAMS.name)))
        # In the order of params.yaml, which people know.
        self.parameters = {key: used[key] for key in [*given, *used] if key in used} if used else given
        self.now = {key: given.get(key) for key, value in used.items() if given.get(key) != value}
        before = {}
        if self.commit and self.commit.baseline:
            before = _flat(_parsed(show(self.commit.baseline, PARAMS), PARAMS))
        self.baseline = {
            key: before[key] for key, value in self.parameters.items() if before.get(key, value) != value
        }
        self.outputs = list(_outputs(stages))
        self.stale = list(_stale(source, self.outputs))

    def of(self, file: str, *keys: str) -> Any:
        """Return what stands in a file of metrics at some keys; None where nothing does."""
        found = self.metrics.get(file)
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def block(self, file: str, *keys: str) -> dict[str, Any]:
        """Return the block at some keys; an empty one where there is none."""
        return _dict(self.of(file, *keys))

    @property
    def splits(self) -> list[str]:
        """The splits that were scored, train first."""
        return [split for split in SPLITS if self.block(SCORES, split)]

    @property
    def datasets(self) -> list[str]:
        """The data sets that were read."""
        listed = self.parameters.get("datasets")
        found = [Path(path).stem for path in self.metrics if path.startswith("metrics/ingest/")]
        return [str(name) for name in listed] if isinstance(listed, list) else found

    def classes(self, split: str) -> list[str]:
        """Return the classes in label order."""
        return list(self.block(SCORES, split, "per_class"))

    def predictions(self) -> tuple[dict[str, Split], str]:
        """Return the predictions of each split, and why there are none if there are none."""
        path = self.source.find(PREDICTIONS)
        if path is None:
            return {}, f"{PREDICTIONS} is not there: `dvc checkout` or `dvc pull` may bring it."
        found = _predictions(path, self.classes(self.splits[-1]) if self.splits else [])
        if found is None or any(not self._agrees(split, found.get(split)) for split in self.splits):
            return (
                {},
                f"{PREDICTIONS} does not give the numbers of {SCORES}: `dvc repro` brings them together.",
            )
        return found, ""

    def _agrees(self, name: str, split: Split | None) -> bool:
        """Return whether predictions give the recall of every class that the metrics hold."""
        if split is None:
            return False
        confusion = split.confusion()
        faces = confusion.sum(axis=1).tolist()
        # A class without faces has no recall.
        recall = [
            right / n if n else None for right, n in zip(confusion.diagonal().tolist(), faces, strict=True)
        ]
        told = [_dict(values) for values in self.block(SCORES, name, "per_class").values()]
        return faces == [values.get("support") for values in told] and recall == [
            values.get("recall") for values in told
        ]

    def mistakes(self, split: Split, classes: list[str]) -> list[Mistake]:
        """Return the most confident mistakes of a split and of each pair of classes in it, most confident first."""
        predicted, confidence = split.probabilities.argmax(axis=1), split.probabilities.max(axis=1)
        wrong = np.flatnonzero(predicted != split.labels)
        wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
        seen: dict[tuple[int, int], int] = {}
        chosen = []
        for place, row in enumerate(wrong.tolist()):
            pair = (int(split.labels[row]), int(predicted[row]))
            seen[pair] = seen.get(pair, 0) + 1
            if place < OF_ALL or seen[pair] <= OF_PAIR:
                chosen.append(row)
        faces = self._faces([(str(split.datasets[row]), str(split.ids[row])) for row in chosen])
        return [
            Mistake(
                str(split.ids[row]),
                classes[split.labels[row]],
                classes[predicted[row]],
                float(confidence[row]),
                face,
            )
            for row, face in zip(chosen, faces, strict=True)
        ]

    def _faces(self, wanted: list[tuple[str, str]]) -> list[np.ndarray | None]:
        """Return the faces of some data sets and ids; None for each one that is not there."""
        found: dict[str, np.ndarray] = {}
        for dataset in sorted({name for name, _ in wanted}):
            # A name of a data set is a name of a file: nothing else is looked up.
            path = self.source.find(ALIGNED / f"{dataset}.arrow") if dataset in self.datasets else None
            if path is not None:
                faces = Faces(path)
                ids = {id_ for name, id_ in wanted if name == dataset}
                found |= {id_: faces[row] for row, id_ in enumerate(faces.ids()) if id_ in ids}
        return [found.get(id_) for _, id_ in wanted]

    def rejected(self, dataset: str) -> list[dict[str, str]]:
        """Return the first rows of a data set's list of rejected records."""
        path = self.source.find(INGESTED / f"{dataset}.rejected.csv")
        if path is None:
            return []
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.DictReader(file, restkey="", restval="")
            return [{str(key): str(row[key]) for key in row} for row in itertools.islice(rows, REJECTED_ROWS)]

    def curves(self) -> list[Curve]:
        """Return the curves of training, those of the training split first."""
        folder = self.source.find(PLOTS / "train" / "plots" / "metrics")
        paths = sorted(folder.rglob("*.tsv")) if folder else []
        return [curve for path in paths if (curve := _curve(path))]

    def sheets(self, stage: str) -> list[Path]:
        """Return the pictures that a stage drew."""
        folder = self.source.find(PLOTS / stage)
        return sorted(folder.glob("*.png"), key=lambda path: path.stem) if folder else []


def _metrics(source: Source) -> Iterator[tuple[str, Any]]:
    folder = source.find(METRICS)
    for path in sorted(folder.rglob("*.json")) if folder else []:
        name = (METRICS / path.relative_to(folder)).as_posix() if folder else ""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{name}: not JSON: {one_line(error)}; `dvc repro` makes it anew") from None
        if not isinstance(content, dict):
            raise UserError(
                f"{name}: found {one_line(content)}, expected: keys and values; `dvc repro` makes it anew"
            )
        yield name, content


def _yaml(source: Source, path: Path) -> dict[str, Any]:
    found = source.find(path)
    try:
        return _parsed(found.read_text(encoding="utf-8"), path) if found else {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return _dict(YAML(typ="safe").load(text))
    except YAMLError as error:
        raise UserError(f"{path}: not YAML: {one_line(error)}") from None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _outputs(stages: dict[str, dict[str, Any]]) -> Iterator[Output]:
    """Yield the raw data that stages read, and all that they made."""
    for stage, content in stages.items():
        for kind, key in (("read", "deps"), ("made", "outs")):
            for item in map(_dict, _list(content.get(key))):
                path = str(item.get("path", ""))
                if kind == "made" or path.startswith("data/raw/"):
                    size = item.get("size")
                    yield Output(
                        stage, kind, path, str(item.get("md5", "")), size if isinstance(size, int) else None
                    )


def _stale(source: Source, outputs: list[Output]) -> Iterator[str]:
    for output in outputs:
        if output.kind == "made" and output.path.startswith("metrics/"):
            path = source.find(Path(output.path))
            if path and md5_of(path) != output.md5:
                yield output.path


def _predictions(path: Path, classes: list[str]) -> dict[str, Split] | None:
    """Return the predictions by split; None where they are not of these classes."""
    table = read_parquet(path, ["id", "dataset", "split", "label", "predicted", "probabilities"])
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number.get(name, -1) for name in table["label"].to_pylist()], int)
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not len(table) or len(flat) != len(table) * len(classes) or (labels < 0).any():
        return None
    probabilities = flat.reshape(len(table), len(classes))
    splits, ids, datasets = (table[name].to_numpy() for name in ("split", "id", "dataset"))
    return {
        split: Split(ids[rows], datasets[rows], labels[rows], probabilities[rows])
        for split in SPLITS
        if (rows := splits == split).any()
    }


def _curve(path: Path) -> Curve | None:
    """Return a curve as DVCLive writes it: epochs, from 0, and values; None if it has no numbers."""
    epochs, values = [], []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        next(rows, None)
        for row in rows:
            try:
                epoch, value = map(float, row)
            except ValueError:
                continue
            if np.isfinite(value):
                epochs.append(epoch)
                values.append(value)
    name = f"{path.stem} on {path.parent.name}"
    return Curve(name, epochs, values) if values else None
