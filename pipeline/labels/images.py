"""Read the images of all data sets, with their votes and the descriptors of their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError
from pipeline.labels import likeness
from pipeline.params.types import hint
from pipeline.tables.columns import encoded, shared, texts
from pipeline.tables.paths import ALIGNED, INGESTED
from pipeline.tables.schema import DRAW, vocabulary_of
from pipeline.tables.store import Faces, read_parquet
from pipeline.tables.vocabulary import DRAWN, NO_CLASS, VOTES

_COLUMNS = ["id", "dataset", "split", "votes", "label", "group", "pixels", "attributes"]


@dataclass(frozen=True)
class Images:
    """N images, sorted by id.

    Attributes:
        ids: N texts.
        datasets: name of the data set of each image, [N].
        published: split of each image, [N]; "" if the data set does not publish it, `drop` for a published valid
            image that is left out.
        drawable: whether the data set draws valid and test, bool [N, 2].
        vocabulary: V names: `VOTES`, and behind them the other classes of the data sets.
        votes: int [N, V] in the order of the vocabulary; zeros for images with a single label.
        single: the labels of the images without votes, in order.
        groups: data set, a NUL and the group of each image; null for an image without a group.
        missing: whether an image has no face and nothing instead of it, bool [N].
        pixels: hash of the pixels of each image.
        low, signs: of the faces, from `likeness.descriptors`.
        attributes: names and values of each image; null for an image without any.
    """

    ids: pa.Array
    datasets: np.ndarray
    published: np.ndarray
    drawable: np.ndarray
    vocabulary: tuple[str, ...]
    votes: np.ndarray
    single: pa.Array
    groups: pa.Array
    missing: np.ndarray
    pixels: pa.Array
    low: np.ndarray
    signs: np.ndarray
    attributes: pa.Array


def read_images(names: Sequence[str], classes: Sequence[str]) -> Images:
    """Return the images of data sets.

    Args:
        names: of the data sets.
        classes: names in label order, which gives the order of the classes that are not in `VOTES`.

    Raises:
        UserError: a data set was not ingested or aligned, its tables do not belong together, or a class is in none.
    """
    tables, votes, descriptors = zip(*map(_one_dataset, names), strict=True)
    vocabulary = _united([name for part in votes for name in part], classes, names)
    table = pa.concat_tables(tables, promote_options="default")
    order = pc.sort_indices(table["id"])
    table = table.take(order).combine_chunks()
    low, signs = (np.concatenate(parts)[order] for parts in zip(*descriptors, strict=True))
    draws, places = encoded(table["draw"])
    drawn = np.array([[split in text.split(",") for split in DRAWN] for text in draws], bool)
    return Images(
        ids=texts(table["id"]),
        datasets=shared(table["dataset"]),
        published=shared(table["split"].fill_null("")).astype(str),
        drawable=drawn.reshape(-1, len(DRAWN))[places],
        vocabulary=vocabulary,
        votes=np.concatenate([_in_order(part, vocabulary) for part in votes])[order],
        single=texts(table["label"].drop_null()),
        groups=texts(pc.binary_join_element_wise(table["dataset"], table["group"], "\0")),
        missing=pc.equal(table["status"], "missing").to_numpy(),
        pixels=texts(table["pixels"]),
        low=low,
        signs=signs,
        attributes=texts(table["attributes"]),
    )


def use_published_valid(images: Images, uses: Mapping[str, str]) -> Images:
    """Return the images with published valid splits used as `labels.published_valid` says.

    Args:
        images: as published.
        uses: `valid`, `test` or `drop` by data set; `valid` for the others.

    Raises:
        UserError: a data set publishes no valid split.
    """
    published, drawable = images.published.astype("<U5"), images.drawable.copy()
    for name, use in uses.items():
        of_dataset = images.datasets == name
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
    return replace(images, published=published, drawable=drawable)


def _united(found: Sequence[str], classes: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return `VOTES`, then the other names that were found: those of `classes` in their order, the rest sorted.

    Raises:
        UserError: a class is neither in `VOTES` nor among those that were found, so that it may be misspelt.
    """
    vocabulary = tuple(dict.fromkeys((*VOTES, *(name for name in classes if name in found), *sorted(found))))
    for name in classes:
        if name not in vocabulary:
            allowed = ", ".join(other for other in vocabulary if other not in NO_CLASS)
            raise UserError.of(
                "params.yaml: classes",
                f"{name}, which no record of {', '.join(names)} has",
                f"{allowed}{hint(name, vocabulary)}",
            )
    return vocabulary


def _in_order(votes: Mapping[str, np.ndarray], vocabulary: Sequence[str]) -> np.ndarray:
    """Return the votes by name, [N] each, as one array, int64 [N, V]; zeros for the names that are not there."""
    [rows] = {len(column) for column in votes.values()}
    ordered = np.zeros((rows, len(vocabulary)), np.int64)
    for name, column in votes.items():
        ordered[:, vocabulary.index(name)] = column
    return ordered


def _one_dataset(name: str) -> tuple[pa.Table, dict[str, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the table of a data set with the columns `status` (of the face) and `draw`, its votes, its descriptors."""
    path = INGESTED / f"{name}.parquet"
    table = read_parquet(path, _COLUMNS)
    faces = Faces(ALIGNED / f"{name}.arrow")
    if not faces.table["id"].equals(table["id"]):
        raise UserError(
            f"{ALIGNED / name}.arrow: found {len(faces):,} faces, expected: one for each of the "
            f"{len(table):,} images in {path}, in their order; run the stage align@{name} again"
        )
    to_draw = (table.schema.metadata or {}).get(DRAW, b"").decode()
    if unknown := set(filter(None, to_draw.split(","))) - set(DRAWN):
        raise UserError.of(path, f"{unknown.pop()!r} to draw", DRAWN)
    table = table.append_column("status", faces.table["status"])
    columns = table["votes"].combine_chunks().flatten()
    votes = {
        voted: column.fill_null(0).to_numpy(zero_copy_only=False)
        for voted, column in zip(vocabulary_of(table.schema), columns, strict=True)
    }
    table = table.append_column("draw", pa.array([to_draw] * len(table))).replace_schema_metadata()
    parts = [likeness.descriptors(batch) for batch in faces.batches()] or [likeness.descriptors([])]
    low, signs = (np.concatenate(part) for part in zip(*parts, strict=True))
    return table.drop_columns(["votes"]), votes, (low, signs)
