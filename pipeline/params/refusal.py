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
    "dict_type": "a block of keys and values",
}


def wording(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first of `wordings`, with the number of the others."""
    first, *others = wordings(error, model)
    return f"{first} (and {len(others)} more)" if others else first


def wordings(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line for each error of validating a `model`: the key, the value found, the allowed values."""
    # A misspelt key causes two errors: an unknown key and a missing one. Report the misspelling first.
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    return [_line(one, model) for one in errors]


def _line(error: Any, model: type[BaseModel]) -> str:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Conflict):
        return str(cause)
    # pydantic adds this step to the path if the key itself is wrong.
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")[:120]
    if error["type"] == "extra_forbidden":
        known = _keys_beside(error["loc"], model)
        close = difflib.get_close_matches(str(error["loc"][-1])[:80], known, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{key}: unknown key, allowed here: {', '.join(known)}{hint}"
    if error["type"] == "missing":
        return f"{key}: missing, no value given"
    allowed = str(cause) if cause else _ALLOWED.get(error["type"], error["msg"])
    allowed = allowed.removeprefix("Input should be ")
    if error["type"] in _ALLOWED and _may_be_null(error["loc"], model):
        allowed = f"null or {allowed}"
    return f"{key}: {mismatch(repr(error['input'])[:80], one_line(allowed))}"


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
