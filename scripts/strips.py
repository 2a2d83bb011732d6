"""Draw rows of faces as one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

COLUMNS = 8
# Pixels of a strip: a face, the space between faces, the height of a line of text, the width of a row's name.
SIDE, GAP, LINE, NAME = 96, 4, 14, 18
FONT = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)
GREYS = 48


class Row(NamedTuple):
    """Faces beside each other.

    Attributes:
        name: stands at the left.
        images: float [N, C, H, W] in 0..1.
        texts: lines below each face.
    """

    name: str
    images: Tensor
    texts: Sequence[Sequence[str]]


def drawn(rows: Sequence[Row]) -> Image.Image:
    """Return rows of faces as an image, each with its name at the left and its texts below."""
    heights = [SIDE + LINE * max(map(len, row.texts)) + 2 * GAP for row in rows]
    count = len(rows[0].images)
    strip = Image.new("L", (NAME + count * (SIDE + GAP) - GAP, sum(heights)), 255)
    pen = ImageDraw.Draw(strip)
    top = 0
    for (name, images, texts), height in zip(rows, heights, strict=True):
        title = Image.new("L", (SIDE, LINE), 255)
        ImageDraw.Draw(title).text((SIDE / 2, LINE / 2), name, 90, FONT, "mm")
        strip.paste(title.rotate(90, expand=True), (0, top))
        for column, (image, lines) in enumerate(zip(images, texts, strict=True)):
            left = NAME + column * (SIDE + GAP)
            face = Image.fromarray((image.mean(0) * 255).round().byte().numpy())
            strip.paste(face.resize((SIDE, SIDE), Image.Resampling.BOX), (left, top))
            for line, text in enumerate(lines):
                pen.text((left + SIDE / 2, top + SIDE + 2 + line * LINE), text, 0, FONT, "ma")
        top += height
    return strip
