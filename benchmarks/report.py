"""Size of a report with many predictions, how soon it can be used, and how soon a filter of its faces answers.

The predictions of the run in this folder are repeated until there are as many as wanted, each face under an id of its
own, and scored again; everything else is the run's. Pages are opened in turn, each in a window of its own. Measured are
the seconds until the document is complete and its first faces have been drawn, over a blank page in the same browser,
and then the slowest of several filters and orders until the faces have been drawn; both also as processor time of the
page's main thread, which other work on the machine hardly changes. The first round does not count: it starts processes.

    python benchmarks/report.py [predictions] [rounds]     (after `dvc repro`)
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from playwright.sync_api import Browser, sync_playwright

from pipeline.evaluation.metrics import scores
from pipeline.report.page import render
from pipeline.report.run import SCORES, FinishedRun
from pipeline.tables import paths, schema, store, vocabulary

# None: the browser that playwright has installed, if it has.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BLANK = '<!DOCTYPE html><html lang="en"><title>blank</title>'
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Control, value and event: what a reader chooses one after the other.
CHOICES = {
    "album-split": "0",
    "album-label": "1",
    "album-answer": "1",
    "album-sort": "sure",
    "album-id": "7",
    "album-from": "0.5",
}
CHOSEN = """async ([name, value]) => {
    const start = performance.now();
    const control = document.getElementById(name);
    control.value = value;
    control.dispatchEvent(new Event("input"));
    await DRAWN;
    // An image that is not decoded yet would appear later.
    await Promise.all([...new Set([...document.querySelectorAll("#album-faces .thumb")].map(
        (box) => getComputedStyle(box).backgroundImage.slice(5, -2)))].map((source) => {
            const image = new Image();
            image.src = source;
            return image.decode();
        }));
    return performance.now() - start;
}""".replace("DRAWN", DRAWN)


class Folder:
    """The files of a folder, and of this one what that does not have."""

    name, commit = "many", None

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, path: Path) -> Path | None:
        return next((place for place in (self.root / path, path) if place.exists()), None)


def repeat(root: Path, count: int) -> None:
    """Write predictions, their faces and metrics into a folder."""
    table = store.read_parquet(paths.PREDICTIONS, schema.predictions([]).names)
    rounds = -(-count // len(table))
    many = pa.concat_tables(
        table.set_column(0, "id", pc.binary_join_element_wise(table["id"], str(i), "-"))
        for i in range(rounds)
    ).slice(0, count)
    store.write_batches(root / paths.PREDICTIONS, table.schema, many.cast(table.schema).to_batches())
    for path in sorted(paths.ALIGNED.glob("*.arrow")):
        faces = store.Faces(path)
        side, _, channels = faces.shape

        def rows(faces: store.Faces = faces) -> Iterator[dict[str, object]]:
            for i in range(rounds):
                for row, id_ in enumerate(faces.ids()):
                    yield {"id": f"{id_}-{i}", "status": "whole", "face": faces[row].tobytes()}

        store.write_rows(root / path, schema.aligned(side, channels), rows())
    shutil.copytree(paths.METRICS, root / paths.METRICS)
    report = json.loads(Path(SCORES).read_text())
    for split in vocabulary.SPLITS:
        if split in report:
            of = many.filter(pc.equal(many["split"], split))
            classes = list(report[split]["per_class"])
            labels = np.array([classes.index(name) for name in of["label"].to_pylist()])
            probabilities = np.array(of["probabilities"].to_pylist(), np.float32)
            report[split] |= scores(labels, probabilities, classes)
    (root / SCORES).write_text(json.dumps(report))


class Seconds(NamedTuple):
    """Seconds until a page is drawn, and of the slowest choice; `cpu` is processor time of the page's main thread."""

    opened: float
    opened_cpu: float
    choice: float
    choice_cpu: float


def seconds(browser: Browser, file: Path, width: int) -> Seconds:
    """Open a page and choose among its faces."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cpu() -> float:
        figures = session.send("Performance.getMetrics")["metrics"]
        return next(figure["value"] for figure in figures if figure["name"] == "TaskDuration")

    start = time.perf_counter()
    page.goto(file.as_uri())
    page.evaluate(DRAWN)
    opened, opened_cpu = time.perf_counter() - start, cpu()
    choices = []
    for choice in CHOICES.items() if page.locator("#album").count() else ():
        before = cpu()
        choices.append((page.evaluate(CHOSEN, choice) / 1000, cpu() - before))
    page.close()
    return Seconds(opened, opened_cpu, *map(max, zip(*(choices or [(0.0, 0.0)]), strict=True)))


def main(count: str = "40000", rounds: str = "5") -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        repeat(root, int(count))
        files = {"blank page": root / "blank.html", "report": root / "report.html"}
        files["blank page"].write_text(BLANK)
        start = time.perf_counter()
        files["report"].write_text(render([FinishedRun(Folder(root))]).html)
        print(f"written in {time.perf_counter() - start:.1f} s")
        print(f"{int(count):,} predictions: {files['report'].stat().st_size / 1e6:.2f} MB")
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for width in (375, 1440):
            taken: dict[str, list[Seconds]] = {name: [] for name in files}
            for i in range(int(rounds) + 1):
                for name, file in files.items():
                    if (found := seconds(browser, file, width)) and i:
                        taken[name].append(found)
            print(f"{width} pixels wide:")
            for name, some in taken.items():
                columns = zip(Seconds._fields, zip(*some, strict=True), strict=True)
                told = (
                    f"{key} {statistics.median(values):.2f} s (most {max(values):.2f})"
                    for key, values in columns
                )
                print(f"  {name}: {', '.join(told)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
