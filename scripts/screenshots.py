"""Draw docs/report_*.png, the pictures of a report, from the report of a run on the embedded sample.

Usage: python scripts/screenshots.py [EXPERIMENT]

Run it after `dvc repro` in the project's folder; it needs Chromium on the PATH. With an experiment, it also draws the
comparison of the run with it.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pipeline.report.page import render
from pipeline.report.revisions import Workspace, run_files
from pipeline.report.run import FinishedRun

DOCS = Path("docs")
# None: the browser that playwright has installed, if it has.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COLOURS = 256  # of a picture: half of its size, and no difference to be seen
# A window's width and height in pixels, light or dark, and the elements whose tops it shows.
SHOTS = {
    "report_top": (1440, 800, "light", ["body"]),
    "report_scores": (1440, 1500, "dark", ["#scores"]),
    "report_faces": (1440, 900, "light", ["#faces"]),
    "report_phone": (375, 800, "dark", ["body", "#confusion", "#curves", "#faces"]),
}
COMPARED = {"report_comparison": (1440, 1500, "light", ["body"])}


def shoot(browser: Browser, file: Path, width: int, height: int, scheme: str, tops: list[str]) -> Image.Image:
    """Return what a window shows at some places, beside each other."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(file.as_uri())
    # Beside each other the bar of sections would be in each.
    page.add_style_tag(content="nav { position: static !important }")
    shots = []
    for top in tops:
        page.evaluate(
            f"scrollTo(0, document.querySelector({top!r}).getBoundingClientRect().top + scrollY - 10)"
        )
        shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    gap = 16
    whole = Image.new("RGB", (len(shots) * (width + gap) - gap, height), "#808080")
    for i, shot in enumerate(shots):
        whole.paste(shot, (i * (width + gap), 0))
    return whole


def main(experiment: str = "") -> None:
    """Draw all of them."""
    run = FinishedRun(Workspace())
    if run.datasets != ["sample"]:
        sys.exit(f"screenshots: found {', '.join(run.datasets)}, allowed: sample, whose faces are drawn")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        file = Path(folder) / "report.html"
        reports = [([run], SHOTS)]
        if experiment:
            reports.append(([run, FinishedRun(run_files(experiment, Path(folder)))], COMPARED))
        for runs, shots in reports:
            file.write_text(render(runs), encoding="utf-8")
            for name, shot in shots.items():
                picture = shoot(browser, file, *shot).quantize(
                    COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                )
                picture.save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
