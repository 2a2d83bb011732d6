"""DVC's page of plots in a browser: it shows the curves, the matrices and the images of two commits, offline."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dvc_render.vega import OPTIONAL_ANCHOR_RANGES
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from ruamel.yaml import YAML

from scripts import plots_page
from scripts.screenshots import CHROMIUM
from tests.doc_project import run

ROOT = Path(__file__).parents[1]
CLASSES = ["neutral", "happiness", "fear"]
CURVES = ["train/loss", "valid/loss", "train/accuracy", "valid/accuracy", "train/learning_rate"]
# DVC's colours of the two commits' curves, as red, green and blue.
COLOURS = [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in OPTIONAL_ANCHOR_RANGES["color"][:2]]  # type: ignore[misc]


def write_plots(project: Path, seed: int) -> None:
    """Write the files that the stages would write, with other values for each seed."""
    rng = np.random.default_rng(seed)
    for name in CURVES:
        path = project / "plots/train/plots/metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{epoch}\t{value}\n" for epoch, value in enumerate(rng.random(5))]
        path.write_text(f"step\t{path.stem}\n" + "".join(rows))
    for name in ("train/results", "train/faces", "evaluate/test/reliability", "label/toy", "synthesize/fear"):
        path = project / "plots" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (seed, 100, 200)).save(path)
    with (project / "plots/evaluate/test/confusion.csv").open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["split", "actual", "predicted"])
        for _ in range(40):
            write(["test", *rng.choice(CLASSES, 2)])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page of `dvc plots diff` in a repository with the project's plots and two commits."""
    folder = tmp_path_factory.mktemp("plots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        run(folder, "git", "init", "-q")
        run(folder, "dvc", "init", "-q")
        for name in ("config", "plots.html"):
            shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
        plots = YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]
        YAML().dump({"plots": plots}, folder / "dvc.yaml")
        for seed in range(2):
            write_plots(folder, seed)
            run(folder, "git", "add", ".")
            run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", f"{seed}")
        run(folder, "dvc", "plots", "diff", "HEAD~1", "HEAD")
        yield folder / "dvc_plots/index.html"


def near(pixels: np.ndarray, colour: list[int]) -> int:
    """Return the number of pixels [N, 3] that have a colour, or nearly."""
    return int((np.abs(pixels - np.array(colour)).max(1) < 12).sum())


def drawn(browser: Page) -> dict[str, np.ndarray]:
    """Return the pixels of each plot by its heading, int [N, 3]."""
    script = (
        "[...document.querySelectorAll('canvas')].map((c) => [c.closest('.vega-embed').id, c.toDataURL()])"
    )
    files = {name: base64.b64decode(url.partition(",")[2]) for name, url in browser.evaluate(script)}
    images = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in files.items()}
    return {name: np.asarray(image, int).reshape(-1, 3) for name, image in images.items()}


@pytest.mark.skipif(CHROMIUM is None, reason="found no chromium on the PATH")
def test_plots_diff_shows_curves_and_matrices_without_a_network(page: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(offline=True)
        shown = context.new_page()
        faults: list[str] = []
        requests: list[str] = []
        shown.on("console", lambda message: message.type == "error" and faults.append(message.text))
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.on("request", lambda request: requests.append(request.url))
        shown.goto(page.as_uri())
        shown.wait_for_function("document.querySelectorAll('canvas').length === 6")
        plots = drawn(shown)
        assert shown.evaluate("[...document.images].every((image) => image.naturalWidth === 30)")
        assert shown.evaluate("document.images.length") == 2 * 5
    assert faults == []
    assert {url for url in requests if not url.startswith("file:")} == set()

    matrices = [name for name in plots if "confusion" in name]
    assert len(matrices) == 1
    for name, pixels in plots.items():
        if name in matrices:  # cells from white to dark blue
            blue = pixels[pixels[:, 2] > pixels[:, 0] + 40]
            assert len(np.unique(blue, axis=0)) >= 5
            assert len(blue) > 5_000
        else:  # a line for each commit
            assert all(near(pixels, colour) > 100 for colour in COLOURS), name


def test_the_page_holds_the_versions_that_dvc_names() -> None:
    text = plots_page.PAGE.read_text(encoding="utf-8")
    for name, version in plots_page.versions().items():
        assert f"<script>/* {name} {version} */" in text, "see scripts/plots_page.py"
