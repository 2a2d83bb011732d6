"""How many of the first suspects of `fer labels suspects` are labels that were made wrong on purpose.

FER+'s images get single labels, as FER2013's are: the class with most votes. Images whose class is none of
FER2013's seven are left out. Then a share of the labels of the training images is replaced by another class, drawn at
random. The command runs as a user runs it, on whole images, in a folder of its own. FER+'s own labels have errors
too, so not every other suspect is a false one.

    python benchmarks/suspects.py data/raw/ferplus [share] [epochs] [folds] [sheet.png]
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pipeline import params
from pipeline.datasets.fer2013 import CODES
from pipeline.datasets.ferplus import FOLDERS, LABEL_FILE
from pipeline.evaluation.intervals import wilson
from pipeline.params.rewrite import with_values
from pipeline.stages import align, ingest, label
from pipeline.tables.vocabulary import CLASSES, VOTES

ROOT = Path(__file__).parents[1]
FIRST = (100, 500, 1000)
SEED = 1
NAMES = [*CODES.values()]


def labelled(raw: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, split and label of each image of train and valid whose class is one of FER2013's."""
    for split in ("train", "valid"):
        with (raw / FOLDERS[split] / LABEL_FILE).open(encoding="utf-8", newline="") as file:
            for name, _, *votes in csv.reader(file):
                winner = VOTES[np.argmax([int(count) for count in votes])]
                if winner in NAMES:
                    yield f"{FOLDERS[split]}/{name}", split, winner


def write(folder: Path, raw: Path, share: float) -> dict[str, str]:
    """Write a project with wrong labels into a folder. Return the right label of each image that has a wrong one."""
    table = folder / "data/raw/table"
    table.mkdir(parents=True)
    (table / "images").symlink_to(raw.resolve())
    rng = np.random.default_rng(SEED)
    rows = pd.DataFrame(labelled(raw), columns=["image", "split", "label"])
    train = np.flatnonzero(rows["split"] == "train")
    wrong = rng.choice(train, round(share * len(train)), replace=False)
    right = rows["label"].to_numpy()[wrong]
    rows.loc[wrong, "label"] = [rng.choice([name for name in NAMES if name != own]) for own in right]
    rows.to_csv(table / "labels.csv", index=False)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values = YAML(typ="safe").load(text)
    values |= {"datasets": ["table"], "classes": [name for name in CLASSES if name in NAMES], "gan": "none"}
    values["align"]["mode"] = "none"
    (folder / "params.yaml").write_text(with_values(text, values), encoding="utf-8")
    return dict(zip("table/" + rows["image"].to_numpy()[wrong], right, strict=True))


def main(raw: str, share: str = "0.05", epochs: str = "4", folds: str = "4", sheet: str = "") -> None:
    with tempfile.TemporaryDirectory(prefix="suspects-") as scratch:
        wrong = write(Path(scratch), Path(raw), float(share))
        with contextlib.chdir(scratch):
            p = params.load()
            ingest.run(p, "table")
            align.run(p, "table")
            label.run(p)
            start, used = time.perf_counter(), children_time()
            command = [sys.executable, "-m", "pipeline", "labels", "suspects", "--count", "1000000"]
            subprocess.run([*command, "--folds", folds, "--epochs", epochs], check=True)
            minutes, used = (time.perf_counter() - start) / 60, (children_time() - used) / 60
            found = pd.read_csv("suspects.csv")
        if sheet:
            shutil.copy(Path(scratch, "suspects.png"), sheet)
    found["wrong"] = found["id"].isin(wrong)
    found["margin"] = found["label_probability"] - found["suggested_probability"]
    print(f"{len(wrong):,} wrong labels, {minutes:.1f} minutes, {used:.1f} of processor time")
    for first in FIRST:
        top, by_margin = found.head(first), found.sort_values("margin", kind="stable").head(first)
        hits = int(top["wrong"].sum())
        low, high = wilson(hits, len(top))
        named = (top["id"].map(wrong) == top["suggested"])[top["wrong"]].mean()
        print(
            f"first {len(top):5,}: {hits:4} wrong, {hits / len(top):.1%} (95 % {low:.1%} to {high:.1%}), "
            f"right label suggested for {named:.1%} of them; ranked by margin: {by_margin['wrong'].mean():.1%}"
        )


def children_time() -> float:
    """Return the processor time of finished child processes, seconds."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:])
