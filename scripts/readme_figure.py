"""Draw docs/sample.png, the image in the README, from the outputs of a run on the embedded sample.

Usage: python -m scripts.readme_figure   (in the project's folder, after `dvc repro`; it needs Chromium on the PATH)

It shows what `fer predict --annotate` draws, an aligned face of each class, and the top of the report. GitHub shows the
image at half of its size. All lengths here are pixels as shown.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline import params
from pipeline.cli import app
from pipeline.report.page import render
from pipeline.report.revisions import Workspace
from pipeline.report.run import FinishedRun
from pipeline.tables.paths import ALIGNED, LABELS, RAW
from pipeline.tables.store import Faces
from scripts.screenshots import Shot, chromium, shoot

SCENES, SCENE = RAW / "sample/images", "0885.jpg"  # of the split test
FILE = Path("docs/sample.png")
SCALE = 2  # pixels of the file for each one shown
WIDTH, MARGIN, GAP = 830, 14, 8
# Sizes of a heading's line and its text, and of a label's below a face.
HEADING, LABEL, TITLE, TEXT = 26, 18, 13, 12
FACE, COLUMNS = 106, 4
# The report's window is scaled to the image's width. Its smallest font is then one of 12 pixels.
REPORT = Shot(900, 612, "light", ["body"], SCALE)
BITS = 6  # of each colour of the scene and the faces: they look like 8 and take less space
PAPER, INK, EDGE = "#ffffff", "#1b1f24", "#c5ccd5"


def annotated(path: Path, width: int, folder: Path) -> Image.Image:
    """Return an image as `fer predict --annotate` draws it, enlarged first so that its text has a fixed size."""
    large = folder / f"{path.stem}.png"
    with Image.open(path) as image:
        height = round(width * image.height / image.width)
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(large)
    marked = folder / "marked"
    table = ["--output", str(folder / "faces.csv")]
    app(["predict", str(large), "--annotate", str(marked), "--workers", "1", *table], standalone_mode=False)
    return Image.open(marked / large.name).convert("RGB")


def faces_of_classes() -> list[tuple[str, Image.Image]]:
    """Return each class with its first face that training has not seen."""
    labels, faces = pd.read_parquet(LABELS), Faces(ALIGNED / "sample.arrow")
    rows = {id_: row for row, id_ in enumerate(faces.ids())}
    first = labels[labels.split != "train"].sort_values("id").groupby("label").id.first()
    return [
        (name, Image.fromarray(faces[rows[first[name]]].squeeze()))
        for name in params.load().classes
        if name in first
    ]


def report(folder: Path) -> Image.Image:
    """Return the top of the run's report, down to what limits the scores."""
    file = folder / "report.html"
    file.write_text(render([FinishedRun(Workspace())]).html, encoding="utf-8")
    with chromium() as browser:
        return shoot(browser, file, REPORT)


def composed(scene: Image.Image, faces: list[tuple[str, Image.Image]], top: Image.Image) -> Image.Image:
    """Return the parts as one image with a heading each: scene and faces beside each other, the report below."""
    bold, plain = _font(TITLE, "bold"), _font(TEXT, "normal")
    inner = (WIDTH - 2 * MARGIN) * SCALE
    top = top.resize((inner, round(top.height * inner / top.width)), Image.Resampling.LANCZOS)
    margin, heading, side = (length * SCALE for length in (MARGIN, HEADING, FACE))
    step = (FACE + GAP) * SCALE
    below = margin + heading + scene.height + margin
    whole = Image.new("RGB", (WIDTH * SCALE, below + heading + top.height + margin), PAPER)
    pen = ImageDraw.Draw(whole)
    right = WIDTH * SCALE - margin - COLUMNS * step + GAP * SCALE

    def put(part: Image.Image, left: int, upper: int) -> None:
        whole.paste(part, (left, upper))
        pen.rectangle(
            (left - 1, upper - 1, left + part.width, upper + part.height), outline=EDGE, width=SCALE
        )

    for text, left, upper in (
        ("fer predict --annotate", margin, margin),
        ("aligned faces and their labels", right, margin),
        ("fer report", margin, below),
    ):
        pen.text((left, upper), text, INK, bold)
    put(ImageOps.posterize(scene, BITS), margin, margin + heading)
    put(top, margin, below + heading)
    row = scene.height - side - LABEL * SCALE
    for place, (name, face) in enumerate(faces):
        left, upper = right + place % COLUMNS * step, margin + heading + place // COLUMNS * row
        large = face.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        whole.paste(ImageOps.posterize(large, BITS), (left, upper))
        pen.text((left + side / 2, upper + side + GAP), name, INK, plain, "ma")
    pen.rectangle((0, 0, whole.width - 1, whole.height - 1), outline=EDGE, width=SCALE)
    return whole


def _font(size: int, weight: str) -> ImageFont.FreeTypeFont:
    properties = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(properties), size * SCALE)


def main(scene: str = SCENE) -> None:
    """Draw the image.

    Args:
        scene: name of the sample's image that is annotated.
    """
    width = (WIDTH - 3 * MARGIN - COLUMNS * (FACE + GAP) + GAP) * SCALE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = annotated(SCENES / scene, width, folder), faces_of_classes(), report(folder)
        composed(*parts).save(FILE, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
