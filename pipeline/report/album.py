"""All faces of a run for the page's script: predictions as columns, small images, places on the map."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from pipeline.report.predictions import SplitPredictions, faces_of
from pipeline.report.run import FinishedRun
from pipeline.report.sprites import COLUMNS, sprites
from pipeline.tables.attributes import MOST_VALUES, UNKNOWN, values_of
from pipeline.tables.columns import places
from pipeline.tables.paths import LABELS
from pipeline.tables.store import read_parquet

MOST = 40_000  # faces on the page
CONFIDENCE = 10_000  # steps of the confidence between 0 and 1
PLACES = 65_535  # steps of a coordinate of the map


class Album(NamedTuple):
    """The faces that can be browsed.

    Attributes:
        shown, total: number of faces on the page and of the run.
        classes, splits, datasets: names that can be chosen.
        groups: values that can be chosen, by attribute.
        has_map: whether the faces have places on a map.
        data: JSON for the script.
        sheets: base64 of the sheets of sprites, one a line; empty without faces.
    """

    shown: int
    total: int
    classes: list[str]
    splits: list[str]
    datasets: list[str]
    groups: dict[str, list[str]]
    has_map: bool
    data: Markup
    sheets: Markup


def album(run: FinishedRun, by_split: dict[str, SplitPredictions]) -> Album | None:
    """Return the faces of a run: the last split first, in each the classes, in each the most confident first.

    Args:
        run: the run.
        by_split: its predictions.
    """
    if not by_split:
        return None
    splits, classes = list(reversed(by_split)), run.classes(run.splits[-1])
    chosen = _chosen([len(by_split[split].ids) for split in splits])
    parts = []
    for split, rows in zip(splits, chosen, strict=True):
        one = by_split[split]
        order = np.lexsort((-one.confidence[rows], one.labels[rows]))
        parts.append((one, rows[order]))
    columns = {
        name: np.concatenate([getattr(one, name)[rows] for one, rows in parts])
        for name in ("datasets", "labels", "predicted", "confidence")
    }
    ids = pa.concat_arrays([one.ids.take(rows) for one, rows in parts])
    datasets, own_dataset = np.unique(columns["datasets"].astype(str), return_inverse=True)
    groups = _groups(run, ids)
    data: dict[str, Any] = {
        "ids": ids.to_pylist(),
        "classes": classes,
        "splits": splits,
        "columns": COLUMNS,
        "split": _packed(np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])),
        "dataset": _packed(own_dataset),
        "label": _packed(columns["labels"]),
        "predicted": _packed(columns["predicted"]),
        "confidence": _packed(np.round(columns["confidence"] * CONFIDENCE)),
        "groups": [_packed(codes) for _, codes in groups.values()],
    }
    on_map = [one.places[rows] for one, rows in parts if one.places is not None]
    has_map = len(on_map) == len(parts)
    if has_map:
        data |= _map(np.concatenate(on_map))
    faces = faces_of(run, columns["datasets"], ids)
    sheets = sprites(faces).sheets if any(face is not None for face in faces) else []
    return Album(
        len(ids),
        sum(len(one.ids) for one in by_split.values()),
        classes,
        splits,
        datasets.tolist(),
        {name: values for name, (values, _) in groups.items()},
        has_map,
        Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
        Markup("\n".join(base64.b64encode(sheet).decode() for sheet in sheets)),
    )


def _chosen(counts: list[int]) -> list[np.ndarray]:
    """Return the rows of each split that the page has room for: all of the first ones, then some evenly spread."""
    room, chosen = MOST, []
    for count in counts:
        number = min(count, room)
        room -= number
        chosen.append(np.linspace(0, count - 1, number).astype(int))
    return chosen


def _groups(run: FinishedRun, ids: pa.Array) -> dict[str, tuple[list[str], np.ndarray]]:
    """Return the values of each attribute of the people, and the value of each face as an index into them."""
    path = run.files.find(LABELS)
    if path is None:
        return {}
    table = read_parquet(path, ["id", "attributes"])
    attributes = table["attributes"].combine_chunks()
    found = places(ids, table["id"])
    rows = pa.array(found, pa.int64(), mask=found < 0)
    groups = {}
    for name in sorted(set(attributes.keys.to_pylist())):
        own = values_of(attributes, name).take(rows).fill_null(UNKNOWN).dictionary_encode()
        values = own.dictionary.to_pylist()
        if 1 < len(values) <= MOST_VALUES:
            groups[name] = (values, own.indices.to_numpy())
    return groups


def _map(places: np.ndarray) -> dict[str, str]:
    """Return coordinates, float [N, 2], as whole numbers from 0 to `PLACES`; both axes have one scale."""
    low = places.min(axis=0)
    scale = PLACES / max(float((places.max(axis=0) - low).max()), 1e-9)
    x, y = np.round((places - low) * scale).T
    return {"x": _packed(x), "y": _packed(y)}


def _packed(values: np.ndarray) -> str:
    """Return numbers from 0 to 65,535 as base64 of 16-bit little-endian integers."""
    return base64.b64encode(np.asarray(values).astype("<u2").tobytes()).decode()
