"""Read what a finished run left behind. Absent values are None or empty, and the report says so."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.core import yaml
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import md5_of
from pipeline.experiments.provenance import of_datasets
from pipeline.report.revisions import LOCK, METRICS, PARAMS, RunFiles, show
from pipeline.tables.paths import INGESTED, PLOTS
from pipeline.tables.vocabulary import NOT_READ, SCORED, SPLITS

REJECTED_ROWS = 20  # shown of each data set

SCORES, LABEL, TRAIN, SYNTHESIZE = (
    f"metrics/{name}.json" for name in ("evaluate", "label", "train", "synthesize")
)


class Output(NamedTuple):
    """A file or folder in dvc.lock that a stage read or made; `size` in bytes."""

    stage: str
    kind: str
    path: str
    md5: str
    size: int | None


class Curve(NamedTuple):
    """A value by epoch, from 0. `split` is empty if the value is of no split."""

    metric: str
    split: str
    epochs: list[float]
    values: list[float]


class FinishedRun:
    """Metrics, parameters, outputs and plots of a run.

    Args:
        files: the run's files.

    Raises:
        UserError: a file exists but cannot be read.

    Attributes:
        name: the user's name for the run.
        commit: the run's commit; None outside a git repository.
        metrics: content of each file in `metrics/`, by path.
        parameters: the parameters that the stages used, by dotted key; those in params.yaml without dvc.lock.
        baseline: parameters that had another value in the commit that the run started from, with that value.
        now: parameters that have another value in params.yaml, with that value: params.yaml changed after the run.
        outputs: raw data, and all outputs of the stages, with their hashes.
        stale: metrics that have changed since dvc.lock recorded them.
    """

    def __init__(self, files: RunFiles) -> None:
        self.files, self.name, self.commit = files, files.name, files.commit
        self.metrics = dict(_metrics(files))
        given = _flat(_yaml(files, PARAMS))
        recorded = {name: _dict(stage) for name, stage in _dict(_yaml(files, LOCK).get("stages")).items()}
        datasets = _parameters(recorded.get("evaluate", {})).get("datasets")
        stages = recorded if datasets is None else of_datasets(recorded, datasets)
        used: dict[str, Any] = {}
        for stage in stages.values():
            used |= _parameters(stage)
        # In the order of params.yaml, which users know.
        self.parameters = {key: used[key] for key in [*given, *used] if key in used} if used else given
        self.now = {key: given.get(key) for key, value in used.items() if given.get(key) != value}
        before = {}
        if self.commit and self.commit.baseline:
            before = _flat(_dict(yaml.parse(show(self.commit.baseline, PARAMS), PARAMS)))
        self.baseline = {
            key: before[key] for key, value in self.parameters.items() if before.get(key, value) != value
        }
        self.outputs = list(_outputs(stages))
        self.stale = list(_stale(files, self.outputs))

    def value(self, file: str, *keys: str) -> Any:
        """Return the value at some keys of a file of metrics; None if there is none."""
        value = self.metrics.get(file)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def block(self, file: str, *keys: str) -> dict[str, Any]:
        """Return the block at some keys of a file of metrics; empty if there is none."""
        return _dict(self.value(file, *keys))

    @property
    def splits(self) -> list[str]:
        """The splits that were scored, in the order of `SCORED`."""
        return [split for split in SCORED if self.block(SCORES, split)]

    @property
    def datasets(self) -> list[str]:
        """The data sets of the run."""
        ingested = [Path(path).stem for path in self.metrics if path.startswith("metrics/ingest/")]
        chosen = self.parameters.get("datasets")
        return _names(chosen) if isinstance(chosen, list) else ingested

    @property
    def learned(self) -> list[str]:
        """The data sets that the classifier or the GAN of its synthetic faces learned from, as the settings choose."""
        chosen = _names(self.parameters.get("train.datasets")) or self.datasets
        if self.value(TRAIN, "samples", "synthetic"):
            chosen = [*chosen, *_names(self.value(SYNTHESIZE, "datasets"))]
        return list(dict.fromkeys(chosen))

    def classes(self, split: str) -> list[str]:
        """Return the classes of a split in label order."""
        return list(self.block(SCORES, split, "per_class"))

    def rejected(self, dataset: str) -> list[dict[str, str]]:
        """Return the first rows of a data set's list of rejected records."""
        path = self.files.find(INGESTED / f"{dataset}.rejected.csv")
        if path is None:
            return []
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = (
                row for row in csv.DictReader(file, restkey="", restval="") if row.get("reason") != NOT_READ
            )
            return [{str(key): str(row[key]) for key in row} for row in itertools.islice(rows, REJECTED_ROWS)]

    def curves(self) -> list[Curve]:
        """Return the curves of training, those of the training split first."""
        folder = self.files.find(PLOTS / "train" / "plots" / "metrics")
        paths = sorted(folder.rglob("*.tsv")) if folder else []
        return [curve for path in paths if (curve := _curve(path))]

    def sheets(self, stage: str) -> list[Path]:
        """Return the image files of a stage."""
        folder = self.files.find(PLOTS / stage)
        return sorted(folder.glob("*.png"), key=lambda path: path.stem) if folder else []


def _metrics(files: RunFiles) -> Iterator[tuple[str, Any]]:
    folder = files.find(METRICS)
    for path in sorted(folder.rglob("*.json")) if folder else []:
        name = (METRICS / path.relative_to(folder)).as_posix() if folder else ""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{name}: not JSON: {one_line(error)}; run `dvc repro`") from None
        if not isinstance(content, dict):
            raise UserError(f"{name}: found {one_line(content)}, expected: keys and values; run `dvc repro`")
        yield name, content


def _yaml(files: RunFiles, path: Path) -> dict[str, Any]:
    local_copy = files.find(path)
    return _dict(yaml.read(local_copy, path)) if local_copy else {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parameters(stage: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that a stage in dvc.lock used, by dotted key."""
    return _flat(_dict(_dict(stage.get("params")).get(PARAMS.name)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    return [str(name) for name in _list(value)]


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    return {".".join(keys): value for keys, value in leaves(tree)}


def leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys and the value of each leaf of a tree."""
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, dict):
            yield from leaves(value, path)
        else:
            yield path, value


def _outputs(stages: dict[str, dict[str, Any]]) -> Iterator[Output]:
    for stage, content in stages.items():
        for kind, key in (("read", "deps"), ("made", "outs")):
            for item in map(_dict, _list(content.get(key))):
                path, size = str(item.get("path", "")), item.get("size")
                if kind == "made" or path.startswith("data/raw/"):
                    yield Output(
                        stage, kind, path, str(item.get("md5", "")), size if isinstance(size, int) else None
                    )


def _stale(files: RunFiles, outputs: list[Output]) -> Iterator[str]:
    for output in outputs:
        if output.kind == "made" and output.path.startswith("metrics/"):
            path = files.find(Path(output.path))
            if path and md5_of(path) != output.md5:
                yield output.path


def _curve(path: Path) -> Curve | None:
    """Return a curve from its file; None if it has no finite values."""
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
    split = path.parent.name if path.parent.name in SPLITS else ""
    return Curve(path.stem, split, epochs, values) if values else None
