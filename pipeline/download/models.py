"""The file of a model by its name: a path, the name of a model that comes with the project, or an address."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.download import hub, web
from pipeline.inference import published
from pipeline.tables.paths import MODELS

FOLDER = MODELS / "downloaded"
HASH = "#sha256="


def located(model: str | Path) -> Path:
    """Return the file of a model. A file at an address is downloaded, unless it is in `models/downloaded/` already.

    Args:
        model: a path, the name of a model that comes with the project, or an address: `hf://owner/name@revision`, or
            `https://host/model.safetensors#sha256=...`.

    Raises:
        UserError: there is no such file, it cannot be downloaded, or it has another hash.
    """
    if "://" in str(model):
        return _downloaded(str(model))
    file = published.located(model)
    if not file.is_file():
        others = "".join(f", and --model {name} comes with the project" for name in published.names())
        raise UserError(
            f"{model}: found no file, expected: a model; `dvc repro` makes models/classifier.safetensors, --model "
            f"names another{others}"
        )
    return file


@cache  # a process asks once which file a revision means
def _downloaded(address: str) -> Path:
    place, _, fragment = address.partition("#")
    sha256 = f"#{fragment}".removeprefix(HASH).lower() if fragment else None
    if sha256 is not None and not hub.is_sha256(sha256):
        raise UserError.of("--model", f"{place}#{fragment}", f"{place}{HASH} and 64 hexadecimal digits")
    if place.startswith(f"{hub.SCHEME}://"):
        return hub.fetch(place, sha256, FOLDER)
    if place.partition("://")[0] not in ("http", "https"):
        raise UserError.of("--model", place, f"a file, a name, https://..., or {hub.FORM}")
    web.check_address(place)
    if sha256 is None:
        allowed = (
            f"{place}{HASH} and the 64 digits that its publisher names, or that sha256sum prints for a copy"
        )
        raise UserError.of("--model", f"{place} without a hash", allowed)
    return web.fetch(place, sha256, FOLDER)
