"""Write the generated parts of the pages in docs/, and the copy of params.yaml as shipped: `make pages`.

A generated part lies between two comments. The rest of a page is written by hand and stays.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.export.usage import usage
from pipeline.params import load
from pipeline.params.settings import SHIPPED
from pipeline.tables.paths import MODELS
from scripts.documentation import methods, papers, parameters, recipes, stages
from scripts.documentation.images import DOCS

ROOT = Path(__file__).parents[2]
_PART = re.compile(r"(?s)<!-- generated: (?P<name>\w+),.*?<!-- end of (?P=name) -->")


def parts() -> dict[str, dict[str, str]]:
    """Return the generated parts by page and name; pages are paths in docs/."""
    return {
        **{f"methods/{kind}/index.md": {"head": methods.overview(kind)} for kind in methods.KINDS},
        **{page: methods.parts(kind, name) for page, (kind, name) in methods.pages().items()},
        **{f"stages/{name}.md": stages.parts(name) for name in stages.chain()},
        "stages/index.md": {"chain": stages.table()},
        "reference/parameters.md": {"tables": parameters.sections()},
        "reference/recipes.md": {"tables": recipes.sections()},
        "papers.md": papers.parts(),
        "export.md": {"usage": _usage()},
    }


def _usage() -> str:
    """Return the code on the card of a model with the shipped settings."""
    align = load(ROOT / "params.yaml").align
    return f"```python\n{usage((MODELS / 'classifier.onnx').as_posix(), align.model_dump())}```"


def written() -> dict[Path, str]:
    """Return the text of every generated file, and of every page with generated parts, as the code would write it."""
    texts = {
        SHIPPED: (ROOT / "params.yaml").read_text(encoding="utf-8"),
        DOCS / "stages/chain.svg": stages.drawing(),
    }
    for page, generated in parts().items():
        path = DOCS / page
        text = path.read_text(encoding="utf-8") if path.exists() else f"# {path.stem}\n"
        texts[path] = renewed(text, generated)
    return texts


def renewed(text: str, generated: dict[str, str]) -> str:
    """Return a page with new generated parts; a missing one goes below the title (`head`) or to the end."""
    marked = {
        name: f"<!-- generated: {name}, by `make pages` -->\n\n{part.strip()}\n\n<!-- end of {name} -->"
        for name, part in generated.items()
        if part
    }
    present = {found["name"] for found in _PART.finditer(text)}
    text = _PART.sub(lambda found: marked.get(found["name"], ""), text)
    for name, part in marked.items():
        if name in present:
            continue
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n{part}\n\n{rest}" if name == "head" else f"{text}\n\n{part}"
    # Code blocks keep the two lines between their definitions.
    return re.sub(r"(?s)(```.*?```)|\n{3,}", lambda found: found[1] or "\n\n", text.strip()) + "\n"


def main() -> None:
    """Write every file that is not as the code would write it."""
    for path, text in written().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
