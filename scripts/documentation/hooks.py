"""What mkdocs calls while it builds the site: pages made from code, and documents that lie outside docs/.

Built with `make docs`, or `python -m mkdocs build --strict` in the project's folder.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.documentation import methods, parameters, recipes, stages

ROOT = Path(__file__).parents[2]
# Documents at home elsewhere in the project, and pages that stand in the place of a file.
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
    """Add the pages that have no file in docs/, and put methods and stages into the navigation."""
    for uri, source in DOCUMENTS.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for uri in made():
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=""))
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


def made() -> list[str]:
    """Return the pages that are made from the code, also where docs/ has nothing to add."""
    indices = [f"methods/{kind}/index.md" for kind in methods.KINDS]
    return [*methods.pages(), *indices, *(f"stages/{name}.md" for name in stages.chain())]


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put what the code says into a page."""
    return composed(page.file.src_uri, markdown)


def composed(uri: str, written: str) -> str:
    """Return the Markdown of the page at `uri`; `written` is what its file in docs/ holds."""
    folder, _, name = uri.removesuffix(".md").rpartition("/")
    written = linked(uri, written)
    if uri in methods.pages():
        return methods.page(*methods.pages()[uri], written)
    if folder.startswith("methods/"):
        return methods.overview(folder.removeprefix("methods/"), written)
    if uri == "stages/index.md":
        return written.replace("<!-- chain -->", stages.drawing())
    if folder == "stages":
        return stages.page(name, written)
    if uri == "reference/parameters.md":
        return written + parameters.sections()
    if uri == "reference/recipes.md":
        return written + recipes.page()
    return written


def linked(uri: str, markdown: str) -> str:
    """Return Markdown whose links to files of the project lead to their pages; a file without a page is named only."""
    home = DOCUMENTS.get(uri, f"docs/{uri}")
    places = {source: place for place, source in DOCUMENTS.items()} | STAND_INS

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), found["path"]))
        target = places.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if target is None:
            return found["text"] if (ROOT / path).exists() else found[0]
        target = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"{found['mark']}[{found['text']}]({target}{found['rest'] or ''})"

    return _LINK.sub(link, markdown)
