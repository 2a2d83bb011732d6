"""Columns of a table as numbers, so that a million rows are compared without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

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
    return column.dictionary.to_pylist(), column.indices.fill_null(-1).to_numpy().astype(np.int64)


def numbers(values: Texts | np.ndarray) -> np.ndarray:
    """Return a number for each row, int64 [N]: equal for equal values, -1 for a row without one.

    Args:
        values: texts, or such numbers already.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "i":
        return values
    column = texts(values).dictionary_encode()
    return column.indices.fill_null(-1).to_numpy().astype(np.int64)
