"""The columns of a shared data set, as the Hub's library names their types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# By name, as `datasets` writes them as JSON.
Features = dict[str, Any]


def features(classes: Sequence[str], votes: Sequence[str], group: bool) -> Features:
    """Return the columns.

    Args:
        classes: names of the labels, in their order.
        votes: what annotators could vote for; empty without votes.
        group: whether the data set says who is in an image.
    """
    columns: Features = {"image": {"_type": "Image"}, "label": {"names": [*classes], "_type": "ClassLabel"}}
    if votes:
        columns["votes"] = {name: _value("int32") for name in votes}
    if group:
        columns["group"] = _value("string")
    return columns | {"id": _value("string")}


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def schema(columns: Features) -> pa.Schema:
    """Return the schema of the Parquet files, whose metadata tell `datasets` the types of the columns."""
    about = {"info": {"features": columns}}
    fields = [(name, _arrow(feature)) for name, feature in columns.items()]
    return pa.schema(fields, {"huggingface": json.dumps(about)})


def _arrow(feature: Any) -> pa.DataType:
    match feature.get("_type"):
        case "Image":
            return IMAGE
        case "ClassLabel":
            return pa.int64()
        case "Value":
            return {"int32": pa.int32(), "string": pa.string()}[feature["dtype"]]
    return pa.struct([(name, _arrow(inner)) for name, inner in feature.items()])


def in_card(columns: Features) -> list[dict[str, Any]]:
    """Return the columns as they stand in the head of a data set's card."""
    return [{"name": name, **_card_type(feature)} for name, feature in columns.items()]


def _card_type(feature: Any) -> dict[str, Any]:
    match feature.get("_type"):
        case "Image":
            return {"dtype": "image"}
        case "ClassLabel":
            names = {str(number): name for number, name in enumerate(feature["names"])}
            return {"dtype": {"class_label": {"names": names}}}
        case "Value":
            return {"dtype": feature["dtype"]}
    return {"struct": in_card(feature)}
