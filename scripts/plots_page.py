"""Write `.dvc/plots.html`, the page of `dvc plots` with its scripts inside, so that it opens without a network.

    npm pack vega@VERSION vega-lite@VERSION vega-embed@VERSION
    python -m scripts.plots_page FOLDER

FOLDER holds the three archives. The versions are those that DVC's own page names; a call without them says which.
"""

from __future__ import annotations

import re
import sys
import tarfile
from pathlib import Path

from dvc_render.vega import VegaRenderer

PAGE = Path(__file__).parents[1] / ".dvc" / "plots.html"
HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{{refresh_tag}}
<title>DVC plots</title>
<style>
body {{ font-family: sans-serif }}
table {{ border-spacing: 15px }}
img {{ max-width: 44vw }}
</style>
<!-- Written by scripts/plots_page.py. The scripts below are under this licence:

{licence}
-->
{scripts}
</head>
<body>
{{plot_divs}}
</body>
</html>
"""


def versions() -> dict[str, str]:
    """Return the version of each script that DVC's own page loads, by the package's name."""
    return dict(re.findall(r"/npm/([\w-]+)@([\d.]+)", VegaRenderer.SCRIPTS))


def page(archives: Path) -> str:
    """Return the page, made of the archives in a folder."""
    licences, scripts = [], []
    for name, version in versions().items():
        with tarfile.open(archives / f"{name}-{version}.tgz") as archive:
            licence, script = (
                archive.extractfile(f"package/{path}").read().decode()  # type: ignore[union-attr]
                for path in ("LICENSE", f"build/{name}.min.js")
            )
        licences.append(licence.strip().split("\n", 1))
        code = re.sub(r"\s*//# sourceMappingURL=.*\s*$", "", script)  # a browser would look for that file
        scripts.append(f"<script>/* {name} {version} */\n{code}\n</script>")
    owners = list(dict.fromkeys(owner.rstrip(".") for owner, _ in licences))
    [terms] = {terms for _, terms in licences}
    return HTML.format(licence="\n".join([*owners, terms]), scripts="\n".join(scripts))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("npm pack " + " ".join(f"{name}@{version}" for name, version in versions().items()))
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
