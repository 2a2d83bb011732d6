"""Columns of a table as numbers, so that a million rows are compared without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Texts; null or None where a row has none.
Texts: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str | None]


def texts(values: Texts) -> pa.Array:
    """Return a column of texts as one array of Arrow."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.array(values, pa.string())


def encoded(values: Texts) -> tuple[list[str], np.ndarray]:
    """Return the different texts in the order of their first rows, and where among them each row's is.

    Places are int64 [N], -1 for a row without a text.
    """
    column = texts(values).dictionary_encode()
    return column.dictionary.to_pylist(), numbers(column)


def numbers(values: Texts | np.ndarray) -> np.ndarray:
    """Return a number for each row, int64 [N]: equal for equal values, -1 for a row without one.

    Args:
        values: texts, or such numbers already.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "i":
        return values
    return texts(values).dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)


def shared(values: Texts) -> np.ndarray:
    """Return few different texts, of which equal rows share one object, object [N]."""
    names, rows = encoded(values)
    return np.array(names, object)[rows]


def places(values: Texts, among: Texts) -> np.ndarray:
    """Return where among different texts each row's is, int64 [N], -1 for a row whose text is not there."""
    return pc.index_in(texts(values), value_set=texts(among)).fill_null(-1).to_numpy().astype(np.int64)
