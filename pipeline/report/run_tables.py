"""Tables about parameters, data, synthetic faces and training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.core.progress import in_bytes, in_yaml
from pipeline.report.cells import Address, Cell, Table, counts, is_number, number, number_table, shown, table
from pipeline.report.run import LABEL, SYNTHESIZE, TRAIN, FinishedRun, leaves
from pipeline.tables.vocabulary import SPLITS

AGREEMENT = {
    "images": "images with votes",
    "winning_share": "mean vote share of the label",
    "entropy": "mean entropy, bits",
    "ties": "share of ties",
    "fleiss_kappa": "Fleiss' kappa",
    "alpha": "Krippendorff's alpha",
}
# Leaks among all images that were read, and among those that were kept.
LEAKS = {
    ("duplicates",): "identical pixels",
    ("near_duplicates",): "identical or nearly so",
    ("groups",): "same person",
    ("leaks", "near_duplicates"): "kept: identical or nearly so",
    ("leaks", "groups"): "kept: same person",
}
ALIGNMENT_WORDS = {"mode": "mode", "detector": "detector"}
ALIGNMENT = {
    "images": "images",
    "found": "faces found",
    "found_rate": "share found",
    "given": "given by the data set",
    "fallback": "box or whole image instead",
    "missing": "missing",
}
SYNTHETIC = {
    "faces": ["images"],
    "learned from": ["trained_on"],
    "FID": ["fid"],
    "FID untrained": ["fid_untrained"],
    "FID of noise": ["fid_noise"],
    "FID of valid": ["fid_valid"],
    "KID": ["kid"],
    "precision": ["precision"],
    "recall": ["recall"],
    "density": ["density"],
    "coverage": ["coverage"],
    "diversity": ["diversity", "generated"],
    "of training faces": ["diversity", "training"],
    "memorised": ["memorised"],
    "recognised": ["recognised", "generated"],
    "of valid": ["recognised", "valid"],
}


def parameters(run: FinishedRun, keys: Iterable[str], caption: str) -> Table:
    """Return parameters of a run, and their values in the commit before and in params.yaml if they differ."""
    others = {"before": run.baseline, "params.yaml now": run.now}
    others = {name: values for name, values in others.items() if values}
    rows: list[list[Cell]] = [
        [
            key,
            in_yaml(run.parameters[key]),
            *(in_yaml(values[key]) if key in values else "" for values in others.values()),
        ]
        for key in keys
    ]
    return Table(caption, ["parameter", "value", *others], rows)


def hashes(run: FinishedRun) -> Table | None:
    """Return the hashes of raw data, tables and models."""
    rows: list[list[Cell]] = [
        [
            output.path,
            f"{output.kind} by {output.stage}",
            output.md5,
            "" if output.size is None else in_bytes(output.size),
        ]
        for output in run.outputs
        if not output.path.startswith(("metrics/", "plots/"))
    ]
    return table("Data and models, as dvc.lock records them", ["path", "stage", "MD5", "size"], rows)


def data(run: FinishedRun) -> list[Table]:
    """Return counts of records and faces, leaks between splits, and the agreement of annotators."""
    agreement = {
        name: [(LABEL, "agreement", key)]
        for key, name in AGREEMENT.items()
        if run.value(LABEL, "agreement", key) is not None
    }
    tables = [
        _records(run),
        *(
            counts(run, f"Rejected records of {name}, by reason", f"metrics/ingest/{name}.json", "rejected")
            for name in run.datasets
        ),
        counts(run, "Faces dropped by label, by reason", LABEL, "dropped"),
        counts(run, "Faces in splits that were drawn", LABEL, "drawn"),
        _leaks(run),
        number_table(run, "Agreement of annotators", ["", "value"], agreement),
        _second_choices(run),
    ]
    return [table for table in tables if table]


def _records(run: FinishedRun) -> Table | None:
    files = {name: f"metrics/ingest/{name}.json" for name in run.datasets}
    rows = {
        name: [(file, "records"), (file, "kept")]
        for name, file in files.items()
        if run.value(file, "records") is not None
    }
    return number_table(run, "Records read", ["data set", "records", "kept"], rows)


def _leaks(run: FinishedRun) -> Table | None:
    """Return images and people that occur in two splits, and repeats within a split."""
    kinds = {kind: name for kind, name in LEAKS.items() if run.block(LABEL, *kind)}
    pairs = dict.fromkeys(
        key for kind in kinds for key, value in run.block(LABEL, *kind).items() if not isinstance(value, dict)
    )
    rows: list[list[Cell]] = [
        [pair.replace("_", " "), *(number(run, LABEL, *kind, pair) for kind in kinds)] for pair in pairs
    ]
    within = ("near_duplicates", "within")
    if pairs:
        rows += [
            [
                f"repeats within {split}",
                *(number(run, LABEL, *within, split) if kind == within[:1] else "" for kind in kinds),
            ]
            for split in run.block(LABEL, *within)
        ]
    return table("Leaks: images that occur in two splits", ["", *kinds.values()], rows)


def _second_choices(run: FinishedRun) -> Table | None:
    found = counts(run, "Most frequent second choices", LABEL, "agreement", "second_choice")
    if found:
        found.columns[0] = "first, second"
        found.rows = [[_pair(str(name)), count] for name, count in found.rows]
    return found


def _pair(key: str) -> str:
    """Return `first, second`, which the keys of names with a `_` already are."""
    return key if ", " in key else key.replace("_", ", ")


def rejected_rows(run: FinishedRun) -> Iterator[Table]:
    """Yield the first rejected records of each data set."""
    for name in run.datasets:
        if rows := run.rejected(name):
            caption = f"Rejected records of {name}: the first {len(rows)}"
            columns = list(rows[0])
            yield Table(caption, columns, [[row.get(column, "") for column in columns] for row in rows])


def class_counts(run: FinishedRun) -> Table | None:
    """Return the number of faces of each class in each split."""
    splits = [split for split in SPLITS if run.block(LABEL, "classes", split)]
    classes = dict.fromkeys(name for split in splits for name in run.block(LABEL, "classes", split))
    rows: dict[str, list[Address]] = {
        name: [(LABEL, "classes", split, name) for split in splits] for name in classes
    }
    if rows:
        rows["all"] = [(LABEL, "kept", split) for split in splits]
    return number_table(run, "Faces of each class", ["class", *splits], rows)


def alignment(run: FinishedRun) -> Table | None:
    """Return the number of faces found in each data set."""
    files = {name: file for name in run.datasets if run.block(file := f"metrics/align/{name}.json")}
    if not files:
        return None
    rows: list[list[Cell]] = [
        [name, *(shown(run.value(file, key)) for file in files.values())]
        for key, name in ALIGNMENT_WORDS.items()
    ]
    rows += [[name, *(number(run, file, key) for file in files.values())] for key, name in ALIGNMENT.items()]
    if any(run.block(file, "turned") for file in files.values()):
        rows += [
            [f"turned by {degrees}°", *(number(run, file, "turned", degrees) for file in files.values())]
            for degrees in ("90", "180", "270")
        ]
    return Table("Faces found", ["", *files], rows)


def synthetic(run: FinishedRun) -> Table | None:
    """Return the quality of the synthetic faces of each class. Classes are columns, which fit a phone."""
    names = list(run.block(SYNTHESIZE))
    classes = [name for name in names if run.block(SYNTHESIZE, name, "diversity")]
    classes = classes or [name for name in names if run.value(SYNTHESIZE, name, "images") is not None]
    rows = {
        title: [(SYNTHESIZE, name, *path) for name in classes]
        for title, path in SYNTHETIC.items()
        if any(run.value(SYNTHESIZE, name, *path) is not None for name in classes)
    }
    return number_table(run, "Synthetic faces, by class", ["", *classes], rows)


def training(run: FinishedRun) -> Table | None:
    """Return the values in metrics/train.json."""
    rows: list[list[Cell]] = [
        [" ".join(keys).replace("_", " "), number(run, TRAIN, *keys) if is_number(value) else shown(value)]
        for keys, value in leaves(run.block(TRAIN))
    ]
    return table("Training", ["", "value"], rows)


def all_values(run: FinishedRun) -> Iterator[Table]:
    """Yield every value of each file of metrics at full precision, with its key."""
    for file, content in run.metrics.items():
        rows: list[list[Cell]] = [[".".join(keys), in_yaml(value)] for keys, value in leaves(content)]
        yield Table(file, ["key", "value"], rows)
