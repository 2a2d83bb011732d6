"""Read the pictures of all data sets, with their votes and the descriptors of their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError
from pipeline.labels import likeness
from pipeline.labels.splits import DRAWN
from pipeline.tables.paths import ALIGNED, INGESTED
from pipeline.tables.schema import DRAW
from pipeline.tables.store import Faces, read_parquet

_COLUMNS = ["id", "dataset", "split", "votes", "label", "group", "pixels"]


@dataclass(frozen=True)
class Pictures:
    """N pictures, sorted by id.

    Attributes:
        ids: N.
        datasets: name of the data set of each picture, [N].
        published: split of each picture, [N]; "" if the data set does not publish it, `drop` for a published valid
            picture that is left out.
        drawable: whether the data set draws valid and test, bool [N, 2].
        votes: int [N, 10] in the order of `VOTES`; zeros for pictures with a single label.
        single: the labels of the pictures without votes, in order.
        groups: data set and group of each picture; None for a picture without a group.
        missing: whether a picture has no face and nothing instead of it, bool [N].
        pixels: hash of the pixels of each picture.
        low, signs: of the faces, from `likeness.descriptors`.
    """

    ids: list[str]
    datasets: np.ndarray
    published: np.ndarray
    drawable: np.ndarray
    votes: np.ndarray
    single: list[str]
    groups: list[tuple[str, str] | None]
    missing: np.ndarray
    pixels: list[str]
    low: np.ndarray
    signs: np.ndarray


def read_pictures(names: Sequence[str]) -> Pictures:
    """Return the pictures of data sets.

    Raises:
        UserError: a data set was not ingested or aligned, or its tables do not belong together.
    """
    tables, descriptors = zip(*map(_one_dataset, names), strict=True)
    table = pa.concat_tables(tables, promote_options="default")
    order = pc.sort_indices(table["id"])
    table = table.take(order).combine_chunks()
    low, signs = (np.concatenate(parts)[order] for parts in zip(*descriptors, strict=True))
    votes = [column.fill_null(0).to_numpy(zero_copy_only=False) for column in table["votes"].flatten()]
    datasets = table["dataset"].to_numpy()
    groups = zip(datasets.tolist(), table["group"].to_pylist(), strict=True)
    return Pictures(
        ids=table["id"].to_pylist(),
        datasets=datasets,
        published=table["split"].fill_null("").to_numpy().astype(str),
        drawable=np.array(
            [[split in text.split(",") for split in DRAWN] for text in table["draw"].to_pylist()]
        ),
        votes=np.stack(votes, axis=1).astype(np.int64),
        single=table["label"].drop_null().to_pylist(),
        groups=[None if group is None else (dataset, group) for dataset, group in groups],
        missing=np.array(table["status"]) == "missing",
        pixels=table["pixels"].to_pylist(),
        low=low,
        signs=signs,
    )


def use_published_valid(pictures: Pictures, uses: Mapping[str, str]) -> Pictures:
    """Return the pictures with published valid splits used as `labels.published_valid` says.

    Args:
        pictures: as published.
        uses: `valid`, `test` or `drop` by data set; `valid` for the others.

    Raises:
        UserError: a data set publishes no valid split.
    """
    published, drawable = pictures.published.astype("<U5"), pictures.drawable.copy()
    for name, use in uses.items():
        of_dataset = pictures.datasets == name
        valid = of_dataset & (published == "valid")
        if use == "valid" or not of_dataset.any():
            continue
        if not valid.any():
            allowed = "valid, as the data set publishes no valid split"
            raise UserError.of(f"params.yaml: labels.published_valid.{name}", use, allowed)
        published[valid] = use
        drawable[of_dataset, DRAWN.index("valid")] = True
        if use == "test":
            drawable[of_dataset, DRAWN.index("test")] = False
    return replace(pictures, published=published, drawable=drawable)


def _one_dataset(name: str) -> tuple[pa.Table, tuple[np.ndarray, np.ndarray]]:
    """Return the table of a data set with the columns `status` (of the face) and `draw`, and its descriptors."""
    path = INGESTED / f"{name}.parquet"
    table = read_parquet(path, _COLUMNS)
    faces = Faces(ALIGNED / f"{name}.arrow")
    if not faces.table["id"].equals(table["id"]):
        raise UserError(
            f"{ALIGNED / name}.arrow: found {len(faces):,} faces, expected: one for each of the "
            f"{len(table):,} pictures in {path}, in their order; run the stage align@{name} again"
        )
    to_draw = (table.schema.metadata or {}).get(DRAW, b"").decode()
    if unknown := set(filter(None, to_draw.split(","))) - set(DRAWN):
        raise UserError.of(path, f"{unknown.pop()!r} to draw", DRAWN)
    table = table.append_column("status", faces.table["status"])
    table = table.append_column("draw", pa.array([to_draw] * len(table))).replace_schema_metadata()
    return table, likeness.descriptors(faces)
