"""The hooks that mkdocs calls while it builds the site: navigation, and documents that lie outside docs/.

Build it with `make docs`, or with `python -m mkdocs build --strict` in the project's folder.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.documentation import methods, stages

ROOT = Path(__file__).parents[2]
# Documents outside docs/ by their page, and the pages that stand for other files of the project.
DOCUMENTS = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
}
STAND_INS = {
    "params.yaml": "reference/parameters.md",
    "dvc.yaml": "stages/index.md",
    "recipes": "reference/recipes.md",
    "LICENSE": "licences.md",
}
_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^]]*)\]\((?P<path>[^)#\s:]+)(?P<rest>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents outside docs/, and put methods and stages into the navigation."""
    for uri, source in DOCUMENTS.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for section in config.nav:
        if "Methods" in section:
            section["Methods"] += [
                {
                    kind.title: [
                        f"methods/{name}/index.md",
                        *(methods.uri(name, m) for m in methods.names(name)),
                    ]
                }
                for name, kind in methods.KINDS.items()
            ]
        if "Stages" in section:
            section["Stages"] += [f"stages/{name}.md" for name in stages.chain()]
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files outside docs/ to their pages."""
    return linked(page.file.src_uri, markdown)


def linked(uri: str, markdown: str) -> str:
    """Return Markdown whose links to files of the project lead to their pages; a file without a page is only named."""
    home = DOCUMENTS.get(uri, f"docs/{uri}")
    pages = {source: page for page, source in DOCUMENTS.items()} | STAND_INS

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), found["path"]))
        target = pages.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if target is None:
            return found["text"] if (ROOT / path).exists() else found[0]
        target = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"{found['mark']}[{found['text']}]({target}{found['rest'] or ''})"

    return _LINK.sub(link, markdown)
