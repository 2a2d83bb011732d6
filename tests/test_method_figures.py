"""The pages of augmentations, losses and GANs begin with an image of what the method does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import params
from pipeline.params.methods import choices
from scripts import gan_figures, loss_figures
from scripts.documentation.pages import DOCS
from scripts.method_figures import SEED, Batch, strip
from scripts.strips import COLUMNS, GAP, LINE, NAME, SIDE

ROOT = Path(__file__).parents[1]
CLASSES = ["happiness", "surprise"]
DARK, LIGHT = 64, 191


@pytest.mark.parametrize(
    "page", [f"{kind}/{name}" for kind in ("augment", "loss", "gan") for name in choices(kind)]
)
def test_a_page_begins_with_its_image(page: str) -> None:
    head = (DOCS / f"methods/{page}.md").read_text(encoding="utf-8").splitlines()[:25]
    name = page.split("/")[1]
    [seen] = [found[1] for line in head if (found := re.fullmatch(rf"!\[(.*)\]\({name}\.png\)", line))]
    assert len(seen) > 20
    path = DOCS / f"methods/{page}.png"
    assert path.stat().st_size < 60_000
    with Image.open(path) as image:
        assert 600 < image.width < 850, "as wide as a page on GitHub, or text becomes too small to read"


def rows(name: str, folder: Path) -> np.ndarray:
    """Return the faces in the strip of an augmentation: dark happy ones whose partners are light and surprised."""
    images = torch.ones(COLUMNS, 1, 48, 48)
    targets = torch.eye(2)
    first = Batch(images * DARK / 255, targets[[0] * COLUMNS])
    second = Batch(images * LIGHT / 255, targets[[1] * COLUMNS])
    strip(name, first, second, CLASSES, folder / f"{name}.png")
    return cells(folder / f"{name}.png", LINE)


def cells(path: Path, *lines: int) -> np.ndarray:
    """Return the faces in a strip, [rows, columns, SIDE, SIDE], by the height of the text below the first rows."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    tops = np.cumsum([0, *(SIDE + height + 2 * GAP for height in (*lines, *lines[-1:] * 4))])
    lefts = [NAME + column * (SIDE + GAP) for column in range(COLUMNS)]
    return np.array(
        [
            [pixels[top : top + SIDE, left : left + SIDE] for left in lefts]
            for top in tops
            if top + SIDE < len(pixels)
        ]
    )


def test_a_strip_shows_faces_partners_and_mixtures(tmp_path: Path) -> None:
    face, partner, mixed = rows("mixup", tmp_path)
    assert np.abs(face - DARK).max() <= 2
    assert np.abs(partner - LIGHT).max() <= 2
    rng = np.random.default_rng(SEED)
    rng.random(COLUMNS)
    lam = rng.beta(1, 1, COLUMNS)
    assert np.abs(mixed - (lam * DARK + (1 - lam) * LIGHT)[:, None, None]).max() <= 3


def test_a_strip_shows_no_partners_where_they_do_not_matter(tmp_path: Path) -> None:
    assert len(rows("none", tmp_path)) == 1
    face, cut = rows("cutout", tmp_path)
    assert face.min() > 0
    assert (cut == 0).any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", choices("gan"))
def test_a_strip_shows_real_faces_and_those_of_a_gan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    p = params.load(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    labels = np.arange(10 * len(p.classes)) % len(p.classes)
    noise = np.random.default_rng(0).integers(-9, 10, (len(labels), 32, 32, 1))
    faces = (20 + 3 * np.arange(len(labels))[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
    trained = name not in ("none", "repeat")
    settings = {"width": 4, "latent": 4, "epochs": 4, "least_steps": 0} if trained else {}
    short = gan_figures.Short(settings, side=16, faces=9)
    gan_figures.strip(name, p, faces, labels, tmp_path / "x.png", short)

    every = name in ("none", "cgan")  # each class, instead of the first in `gans.classes`
    real, *others = cells(tmp_path / "x.png", LINE * every, 0)
    own = p.classes.index(p.gans.classes[0])
    expected = faces[:COLUMNS] if every else faces[labels == own][:COLUMNS]
    shades = expected.mean(axis=(1, 2, 3))
    assert np.abs(real.mean(axis=(1, 2)) - shades).max() < 4
    assert len(others) == (len(gan_figures.STAGES) if trained else name == "repeat")
    if name == "repeat":
        drawn = others[0].mean(axis=(1, 2))
        assert np.abs(drawn[:, None] - shades).min(axis=1).max() < 4
    with Image.open(tmp_path / "x.png") as image:
        assert ("after 1, 2 and 4 epochs" in image.info["Title"]) == trained


def test_every_loss_is_drawn(tmp_path: Path) -> None:
    loss_figures.write(tmp_path, steps=2)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(choices("loss"))
