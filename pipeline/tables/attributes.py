"""Attributes of the people in images, such as gender or age, and which of them `evaluate.groups` can name."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError

# The value of a face whose attribute is not known, and the key that metrics have beside the values.
UNKNOWN, GAP = "unknown", "gap"
# More values are numbers or names and no groups.
MOST_VALUES = 50


def values_of(attributes: pa.Array, name: str) -> pa.Array:
    """Return the value of an attribute of each face, null where it has none.

    Args:
        attributes: the names and values of each face.
        name: of one attribute.
    """
    return pc.map_lookup(attributes, name, "last")


def check_groups(chosen: Sequence[str], attributes: pa.Array) -> None:
    """Check that faces can be grouped by attributes.

    Args:
        chosen: names of attributes, those of `evaluate.groups`.
        attributes: names and values of each face.

    Raises:
        UserError: no face has one of these attributes, or it has more than 50 values or the value `gap`.
    """
    key = "params.yaml: evaluate.groups"
    for name in chosen:
        values = values_of(attributes, name).drop_null().unique().to_pylist()
        if not values:
            known = sorted(attributes.keys.unique().to_pylist())
            raise UserError.of(key, repr(name), known or "[], as no data set of this run has attributes")
        if len(values) > MOST_VALUES:
            found = f"{name}, which has {len(values):,} values"
            raise UserError.of(key, found, f"at most {MOST_VALUES} values, such as 20-39 for an age")
        if GAP in values:
            raise UserError.of(key, f"{name}, which has the value {GAP}", "any other value")
