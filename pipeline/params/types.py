"""Types of the values in `params.yaml`.

Settings have no defaults: `params.yaml` holds every value and alone decides what a run does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.core.errors import printable
from pipeline.tables.vocabulary import CLASSES, NO_CLASS, RESERVED, SYNONYMS, spelled

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
# Training computes in float32, whose largest number is 3.4e38. Up to this limit a sum or product of settings fits.
MOST = 1e9
Rate = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]


class Block(BaseModel):
    """A block of `params.yaml`. Unknown keys and wrong types are refused; no value is converted."""

    # Deferred: building a validator for every class, and not only for `Params`, doubles the time to read the file.
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), defer_build=True
    )


@dataclass(frozen=True)
class Before:
    """Annotation of a key that was added later: the value with which a model file that lacks it does what it did."""

    value: Any


# Default of the block of a method: only the chosen method needs one. To a type checker every block is there.
UNCHOSEN: Any = None


class NoSettings(Block):
    """The empty block of a method without settings."""


def share_or_count(value: Any) -> Any:
    """Return `value` if it is a share below 1 or a whole number.

    Raises:
        ValueError: it is neither.
    """
    share = isinstance(value, float) and 0 <= value < 1
    if not share and (type(value) is not int or value < 0):
        raise ValueError("a share from 0 to below 1, or a whole number: as many images of each class")
    return value


# Before the types, whose two messages would tell neither what was meant nor the key alone.
Amount = Annotated[Count | Annotated[float, Field(ge=0, lt=1)], BeforeValidator(share_or_count)]


def _line(value: str) -> str:
    """Return `value` if it has no line breaks or other control characters, which a terminal would obey."""
    if printable(value) != value:
        raise ValueError("text without line breaks and other control characters")
    return value


def _lines(value: str) -> str:
    """Return `value` if its lines are as `_line` wants them."""
    _line(value.replace("\n", ""))
    return value


Line = Annotated[str, AfterValidator(_line)]
Lines = Annotated[str, AfterValidator(_lines)]


def one_of(value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is allowed.

    Raises:
        ValueError: it is not. The message lists the allowed values and suggests the closest one.
    """
    if value not in allowed:
        raise ValueError(f"one of {', '.join(allowed)}{hint(value, allowed)}")
    return value


def hint(value: str, allowed: Iterable[str]) -> str:
    """Return the closest of the allowed values as a question in brackets; "" if none is close."""
    close = difflib.get_close_matches(value, list(allowed), 1)
    return f" (did you mean {close[0]}?)" if close else ""


_CLASS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_KNOWN = SYNONYMS | {name: name for name in CLASSES}


def class_name(value: str) -> str:
    """Return `value` if it can name a class: in metrics, whose keys have dots between them, files, figures and tables.

    Raises:
        ValueError: it has other characters, it is reserved, or it is another word for one of `CLASSES`.
    """
    if value in CLASSES:
        return value
    if known := _KNOWN.get(spelled(value)):
        raise ValueError(f"{known}, the name of that class (did you mean {known}?)")
    if not _CLASS_NAME.fullmatch(value):
        raise ValueError("a letter from a to z, then at most 39 letters, digits, _ and -")
    if value.lower() in RESERVED:
        raise ValueError(f"a class name other than {', '.join(sorted(RESERVED))}")
    return value


ClassName = Annotated[str, AfterValidator(class_name)]
# What a label may stand for: a class, or no class.
Meaning = Annotated[str, AfterValidator(lambda value: value if value in NO_CLASS else class_name(value))]


def distinct(values: list[str]) -> list[str]:
    """Return `values` if all of them differ.

    Raises:
        ValueError: a value occurs twice.
    """
    if len(set(values)) < len(values):
        raise ValueError("each name once")
    return values
