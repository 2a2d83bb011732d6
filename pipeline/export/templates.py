"""Templates of cards: Markdown with a YAML head, as the Hugging Face Hub reads them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruamel.yaml import YAML

from pipeline.export.limits import score


def environment(folder: Path = Path(__file__).parent) -> Environment:
    """Return the environment of the templates in a folder, with filters for numbers and settings."""
    made = Environment(
        loader=FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # Markdown and Python
    )
    made.filters.update(
        score=score,
        count=lambda value: "-" if value is None else f"{value:,}",
        setting=_setting,
        code=lambda text: f"`{text.replace('`', '')}`",
        json=json.dumps,
    )
    return made


def card(head: dict[str, Any], text: str) -> str:
    """Return a card of a head and of what a template gave."""
    stream = io.StringIO()
    YAML().dump(head, stream)
    body = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"---\n{stream.getvalue()}---\n\n{body}\n"


def _setting(value: Any) -> str:
    """Return a parameter or a block of parameters as a cell of a Markdown table."""
    if isinstance(value, dict):
        text = ", ".join(f"{key}: {json.dumps(part)}" for key, part in value.items())
    else:
        text = json.dumps(value).strip('"')
    return text.replace("|", r"\|")
