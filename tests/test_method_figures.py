"""The pages of augmentations and losses begin with a picture of what the method does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.params.methods import choices
from scripts import loss_figures
from scripts.documentation.pages import DOCS
from scripts.method_figures import COLUMNS, GAP, LINE, NAME, SEED, SIDE, Batch, strip

CLASSES = ["happiness", "surprise"]
DARK, LIGHT = 64, 191


@pytest.mark.parametrize("page", [f"{kind}/{name}" for kind in ("augment", "loss") for name in choices(kind)])
def test_a_page_begins_with_its_picture(page: str) -> None:
    head = (DOCS / f"methods/{page}.md").read_text(encoding="utf-8").splitlines()[:25]
    name = page.split("/")[1]
    [seen] = [found[1] for line in head if (found := re.fullmatch(rf"!\[(.*)\]\({name}\.png\)", line))]
    assert len(seen) > 20
    path = DOCS / f"methods/{page}.png"
    assert path.stat().st_size < 60_000
    with Image.open(path) as picture:
        assert 600 < picture.width < 850, "as wide as a page on GitHub, or text becomes too small to read"


def rows(name: str, folder: Path) -> np.ndarray:
    """Return the faces in the strip of an augmentation: dark happy ones whose partners are light and surprised."""
    images = torch.ones(COLUMNS, 1, 48, 48)
    targets = torch.eye(2)
    first = Batch(images * DARK / 255, targets[[0] * COLUMNS])
    second = Batch(images * LIGHT / 255, targets[[1] * COLUMNS])
    strip(name, first, second, CLASSES, folder / f"{name}.png")
    with Image.open(folder / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    tops = [0, SIDE + LINE + 2 * GAP, 2 * (SIDE + LINE + 2 * GAP)]
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


def test_every_loss_is_drawn(tmp_path: Path) -> None:
    loss_figures.write(tmp_path, steps=2)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(choices("loss"))
