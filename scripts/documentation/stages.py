"""The generated parts of the stages' pages, from dvc.yaml, and a drawing of the chain."""

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
STYLE = """
rect { fill: #eef0fa; stroke: #3f51b5 }
text { font: 11px monospace; fill: #5f6368 }
.name { font: 600 14px sans-serif; fill: #303f9f; text-anchor: middle }
.edge { fill: none; stroke: #5f6368 }
marker path { fill: #5f6368 }
@media (prefers-color-scheme: dark) {
  rect { fill: #252a41; stroke: #9db2ff }
  text, marker path { fill: #b3b7c6 }
  .name { fill: #9db2ff }
  .edge { stroke: #b3b7c6 }
}
"""


@cache
def chain() -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml in their order."""
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def outputs(stage: dict[str, Any]) -> list[str]:
    """Return what a stage writes, its metrics included."""
    entries = [*stage["outs"], *stage.get("metrics", [])]
    return [name for entry in entries for name in ([entry] if isinstance(entry, str) else entry)]


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


def parts(name: str) -> dict[str, str]:
    """Return the generated parts of a stage's page."""
    stage = chain()[name]
    code = [dep for dep in stage["deps"] if dep.startswith("pipeline/")]
    rows = {
        "stage": f"`{name}@<dataset>`" if "matrix" in stage else f"`{name}`",
        "command": _codes([stage["cmd"]]),
        "reads": _codes([dep for dep in stage["deps"] if dep not in code]),
        "parameters": "<br>".join(map(_parameter, stage.get("params", []))),
        "writes": _codes(outputs(stage)),
    }
    lines = [f"| {title} | {values} |" for title, values in rows.items() if values]
    table = "\n".join([lines[0], "| --- | --- |", *lines[1:]])
    changes = "DVC runs the stage again when one of these files changes:"
    return {
        "head": f"{stage['desc']}\n\n{table}",
        "code": "\n\n".join(["## Code", changes, "\n".join(f"- {_file(path)}" for path in code)]),
    }


def table() -> str:
    """Return a table of the stages."""
    lines = ["| stage | what it does | writes |", "| --- | --- | --- |"]
    for name, stage in chain().items():
        lines.append(f"| [`{name}`]({name}.md) | {stage['desc']} | {_codes(outputs(stage)[:1])} |")
    return "\n".join(lines)


def _codes(values: list[str]) -> str:
    return "<br>".join(f"`{_shown(value)}`" for value in values)


def _shown(value: str) -> str:
    return value.replace("${item.dataset}", "<dataset>")


def _file(path: str) -> str:
    """Return the path of a file or folder, as a link unless a parameter is part of it."""
    return f"`{_shown(path)}`" if "$" in path else f"[`{path}`](../../{path})"


def _parameter(key: str) -> str:
    """Return a parameter as a link to its section, or to the page of the methods that it stands for."""
    block = key.partition(".")[0]
    switch = next((kind for kind, plural in BLOCKS.items() if plural == block and "$" in key), None)
    if switch:
        return f"[`{block}.<{switch}>`](../methods/{switch}/index.md)"
    known = block if parameters.is_block(block) else "switches"
    return f"[`{key}`](../reference/parameters.md#{known})"


def drawing() -> str:
    """Return the chain as SVG: a box per stage, an arrow from a stage to the next, an arc to a later one."""
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
        out = _shown(outputs(chain()[name])[0]).rpartition("/")[2]
        parts.append(
            f'<rect x="{LEFT}" y="{y - BOX[1] / 2}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>'
            f'<text class="name" x="{LEFT + BOX[0] / 2}" y="{y + 5}">{name}</text>'
            f'<text x="{LEFT + BOX[0] + 8}" y="{y + 4}">{escape(out)}</text>'
        )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{STYLE}</style>",
        '<marker id="arrow" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
        *parts,
        "</svg>\n",
    ]
    return "\n".join(lines)
