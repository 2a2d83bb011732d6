"""Rows by the million, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

# Rows that are held as Python objects before they are packed: a listing of millions stays small.
PACK = 4096


class Packed:
    """Rows that are kept as Arrow columns, a hundred bytes where Python's objects take a thousand."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parts: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
        self._count = 0
        self._waiting: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return self._count + len(self._waiting)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for parts in zip(*self._parts.values(), strict=True):
            yield from zip(*(part.to_pylist() for part in parts), strict=True)
        yield from self._waiting

    def append(self, row: tuple[Any, ...]) -> None:
        """Add a row."""
        self._waiting.append(row)
        if len(self._waiting) == PACK:
            self._pack()

    def extend(self, count: int, columns: dict[str, pa.Array]) -> None:
        """Add `count` rows; columns that are left out are null."""
        self._pack()
        for name, parts in self._parts.items():
            parts.append(columns.get(name, pa.nulls(count)))
        self._count += count

    def columns(self) -> dict[str, pa.Array]:
        """Return all rows as columns and forget them; a column without any value has Arrow's type `null`."""
        self._pack()
        joined = {}
        for field in self._schema:
            parts, self._parts[field.name] = self._parts[field.name], []
            if all(part.type == pa.null() for part in parts):
                joined[field.name] = pa.nulls(self._count)
                continue
            typed = [part if part.type == field.type else pa.nulls(len(part), field.type) for part in parts]
            joined[field.name] = _narrow(
                pa.chunked_array(typed, field.type).unify_dictionaries().combine_chunks()
            )
            # One column after the other: packed and joined, all of them would take twice the room.
            del parts, typed
            pa.default_memory_pool().release_unused()
        self._count = 0
        return joined

    def _pack(self) -> None:
        if self._waiting:
            count, columns = len(self._waiting), list(zip(*self._waiting, strict=True))
            self._waiting.clear()
            self.extend(
                count,
                {
                    field.name: pa.array(values, field.type)
                    for field, values in zip(self._schema, columns, strict=True)
                    if any(value is not None for value in values)
                },
            )


def _narrow(column: pa.Array) -> pa.Array:
    """Return a dictionary's column with the narrowest indices that will do: most have few entries."""
    if not pa.types.is_dictionary(column.type):
        return column
    index = pa.int8() if len(column.dictionary) < 2**7 else pa.int16()
    if len(column.dictionary) >= 2**15 or column.type.index_type.bit_width <= index.bit_width:
        return column
    return pa.DictionaryArray.from_arrays(column.indices.cast(index), column.dictionary)
