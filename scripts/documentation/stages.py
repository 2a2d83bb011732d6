"""Pages of stages: what dvc.yaml says of each, and a drawing of the chain."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.params.methods import BLOCKS
from scripts.documentation import parameters

ROOT = Path(__file__).parents[2]
ROW, BOX, LEFT, TOP = 60, (118, 34), 78, 10


@cache
def chain() -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml in their order."""
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def outputs(stage: dict[str, Any]) -> list[str]:
    """Return what a stage writes, its metrics included."""
    return [*stage["outs"], *(name for entry in stage.get("metrics", []) for name in entry)]


def edges() -> list[tuple[str, str]]:
    """Return which stage reads what which other stage writes."""
    found = []
    for reader, reads in chain().items():
        for writer, writes in chain().items():
            if writer != reader and any(
                _within(out, dep) for out in outputs(writes) for dep in reads["deps"]
            ):
                found.append((writer, reader))
    return found


def _within(out: str, dep: str) -> bool:
    """Return whether a dependency is an output, or a folder with one, whatever stands for ${item.dataset}."""
    pattern = re.sub(r"\\\$\\{.*?\\}", "[^/]+", re.escape(dep))
    return re.fullmatch(f"{pattern}(/.*)?", out) is not None


def page(name: str, written: str) -> str:
    """Return the Markdown of a stage's page; `written` is its part that dvc.yaml does not hold."""
    stage = chain()[name]
    shown = {name: name.replace("${item.dataset}", "<dataset>") for name in (*stage["deps"], *outputs(stage))}
    code = [dep for dep in stage["deps"] if dep.startswith("pipeline/")]
    data = [dep for dep in stage["deps"] if dep not in code]
    rows = {
        "command": [stage["cmd"].replace("${item.dataset}", "<dataset>")],
        "reads": [shown[dep] for dep in data],
        "writes": [shown[out] for out in outputs(stage)],
    }
    lines = [
        f"| stage | `{name}@<dataset>` |" if "matrix" in stage else f"| stage | `{name}` |",
        "| --- | --- |",
    ]
    lines += [f"| {what} | {_codes(values)} |" for what, values in rows.items() if values]
    if "params" in stage:
        lines.insert(-1, f"| parameters | {'<br>'.join(map(_parameter, stage['params']))} |")
    runs_again = "\n".join(f"- `{shown[dep]}`" for dep in code)
    return "\n\n".join(
        [
            f"# {name}",
            stage["desc"],
            "\n".join(lines),
            written.strip(),
            "## Code that it depends on",
            "An edit of one of these files makes DVC run the stage again.",
            runs_again,
        ]
    )


def _codes(values: list[str]) -> str:
    return "<br>".join(f"`{value}`" for value in values)


def _parameter(key: str) -> str:
    """Return a parameter as a link to its section, or to the page of the methods that it stands for."""
    block = key.partition(".")[0]
    switch = next((kind for kind, plural in BLOCKS.items() if plural == block and "$" in key), None)
    if switch:
        return f"[`{block}.<{switch}>`](../methods/{switch}/index.md)"
    known = block if parameters.is_block(block) else "switches"
    return f"[`{key}`](../reference/parameters.md#{known})"


def drawing() -> str:
    """Return the chain as SVG: a box for each stage, an arc where one reads what was written more than one before."""
    stages = list(chain())
    width, height = 360, TOP * 2 + ROW * (len(stages) - 1) + BOX[1]
    middle = {name: TOP + ROW * i + BOX[1] / 2 for i, name in enumerate(stages)}
    parts = []
    for writer, reader in edges():
        first, last = middle[writer], middle[reader]
        if stages.index(reader) - stages.index(writer) == 1:
            x = LEFT + BOX[0] / 2
            path = f"M{x} {first + BOX[1] / 2}V{last - BOX[1] / 2 - 6}"
        else:
            bow = LEFT - 22 * (stages.index(reader) - stages.index(writer))
            path = f"M{LEFT} {first}C{bow} {first} {bow} {last} {LEFT - 6} {last}"
        parts.append(f'<path class="edge" d="{path}" marker-end="url(#arrow)"/>')
    for name, y in middle.items():
        out = outputs(chain()[name])[0].replace("${item.dataset}", "<dataset>").rpartition("/")[2]
        parts.append(
            f'<a href="{name}.html"><rect x="{LEFT}" y="{y - BOX[1] / 2}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>'
            f'<text class="name" x="{LEFT + BOX[0] / 2}" y="{y + 5}">{name}</text></a>'
            f'<text class="file" x="{LEFT + BOX[0] + 8}" y="{y + 4}">{escape(out)}</text>'
        )
    return (
        f'<svg class="chain" viewBox="0 0 {width} {height}" role="group" aria-label="The chain of stages">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(parts)}</svg>'
    )
