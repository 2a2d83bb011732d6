"""Draw docs/report_*.png, the images of a report, from the report of a run on the embedded sample.

Usage: python scripts/screenshots.py [EXPERIMENT]

Run it after `dvc repro` in the project's folder; it needs Chromium on the PATH. With an experiment, it also draws the
comparison of the run with it.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pipeline.report.page import render
from pipeline.report.revisions import Workspace, run_files
from pipeline.report.run import FinishedRun

DOCS = Path("docs")
# None: the browser that playwright has installed, if it has.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COLOURS = 256  # of an image: half of its size, and no difference to be seen


class Shot(NamedTuple):
    """A window, and what it shows.

    Attributes:
        width: of the window in pixels of CSS.
        height: likewise.
        scheme: light or dark mode.
        tops: selectors of the elements whose tops it shows.
        scale: pixels of the image for each of CSS.
    """

    width: int
    height: int
    scheme: Literal["light", "dark"]
    tops: list[str]
    scale: int = 1


SHOTS = {
    "report_top": Shot(1440, 800, "light", ["body"]),
    "report_scores": Shot(1440, 1500, "dark", ["#scores"]),
    "report_faces": Shot(1440, 900, "light", ["#faces"]),
    "report_phone": Shot(375, 800, "dark", ["body", "#confusion", "#curves", "#faces"]),
}
COMPARED = {"report_comparison": Shot(1440, 1500, "light", ["body"])}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser without a window."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )


def shoot(browser: Browser, file: Path, shot: Shot) -> Image.Image:
    """Return what a window shows at some places, beside each other."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.scheme,
        device_scale_factor=shot.scale,
    )
    page = context.new_page()
    page.goto(file.as_uri())
    # Beside each other the bar of sections would be in each.
    page.add_style_tag(content="nav { position: static !important }")
    shots = []
    for top in shot.tops:
        page.evaluate(
            f"scrollTo(0, document.querySelector({top!r}).getBoundingClientRect().top + scrollY - 10)"
        )
        shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    gap, (width, height) = 16, shots[0].size
    whole = Image.new("RGB", (len(shots) * (width + gap) - gap, height), "#808080")
    for i, part in enumerate(shots):
        whole.paste(part, (i * (width + gap), 0))
    return whole


def main(experiment: str = "") -> None:
    """Draw all of them."""
    run = FinishedRun(Workspace())
    if run.datasets != ["sample"]:
        sys.exit(f"screenshots: found {', '.join(run.datasets)}, allowed: sample, whose faces are drawn")
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        reports = [([run], SHOTS)]
        if experiment:
            reports.append(([run, FinishedRun(run_files(experiment, Path(folder)))], COMPARED))
        for runs, shots in reports:
            file.write_text(render(runs).html, encoding="utf-8")
            for name, shot in shots.items():
                image = shoot(browser, file, shot).quantize(
                    COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                )
                image.save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
