"""Error messages about parameters: one line, in the words of `params.yaml`."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.core.errors import mismatch, one_line


class Conflict(ValueError):
    """A combination of values that cannot work."""

    def __init__(self, key: str, found: object, allowed: str) -> None:
        super().__init__(f"{key}: {mismatch(repr(found)[:80], allowed)}")
        self.key, self.found, self.allowed = key, found, allowed


# Types in the words of params.yaml; pydantic says "a valid boolean".
_ALLOWED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list in square brackets",
    "too_short": "a longer list",
    "model_type": "a block of keys and values",
}


def wording(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error of validating a `model` as one line: the key, the value found, the allowed values."""
    # A misspelt key causes two errors: an unknown key and a missing one. Report the misspelling.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Conflict):
        key, found, allowed = cause.key, repr(cause.found), cause.allowed
    else:
        # pydantic adds this step to the path if the key itself is wrong.
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        found = repr(first["input"])
        allowed = str(cause) if cause else _ALLOWED.get(first["type"], first["msg"])
        allowed = allowed.removeprefix("Input should be ")
        if first["type"] in _ALLOWED and _may_be_null(first["loc"], model):
            allowed = f"null or {allowed}"
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"], model)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{key}: unknown key, allowed here: {', '.join(known)}{hint}{others}"
    if first["type"] == "missing":
        return f"{key}: missing, no value given{others}"
    return f"{key}: {mismatch(found[:80], one_line(allowed))}{others}"


def _keys_beside(loc: tuple[int | str, ...], model: Any) -> list[str]:
    return list(_block(loc, model).model_fields)


def _may_be_null(loc: tuple[int | str, ...], model: Any) -> bool:
    field = _block(loc, model).model_fields.get(loc[-1])
    return field is not None and type(None) in getattr(field.annotation, "__args__", ())


def _block(loc: tuple[int | str, ...], model: Any) -> Any:
    """Return the model that has the last step of `loc` as a key, or the deepest model on the way there."""
    for part in loc[:-1]:
        field = model.model_fields.get(part)
        if field is None:
            return model
        annotation = field.annotation
        model = next(
            (a for a in (annotation, *getattr(annotation, "__args__", ())) if hasattr(a, "model_fields")),
            model,
        )
    return model
