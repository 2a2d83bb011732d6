"""The image at the head of a method's page. Its alternative text and its caption are in the file itself."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

DOCS = Path(__file__).parents[2] / "docs"


def save(image: Image.Image, path: Path, seen: str, caption: str, colours: int) -> None:
    """Write an image as a PNG with at most `colours` colours, together with its alternative text and caption."""
    info = PngInfo()
    info.add_text("Description", seen)
    info.add_text("Title", caption)
    path.parent.mkdir(parents=True, exist_ok=True)
    small = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    small.save(path, optimize=True, pnginfo=info)


def shown(kind: str, name: str) -> str:
    """Return the lines that show a method's image on its page; nothing if `save` has written none."""
    path = DOCS / f"methods/{kind}/{name}.png"
    if not path.exists():
        return ""
    with Image.open(path) as image:
        seen, caption = (image.info.get(key, "") for key in ("Description", "Title"))
    return f"![{seen}]({path.name})\n\n*{caption}*" if seen else ""
