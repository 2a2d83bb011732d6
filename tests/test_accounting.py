"""Whatever lies in a data set's folder is a record's image, part of a rejected row, an annotation, or named.

Each adapter reads 200 random trees in its layout, with foreign files, folders and links mixed in.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from pipeline.core.errors import UserError
from pipeline.datasets import listed
from pipeline.intake.guards import Rejection
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.intake.unread import unread
from pipeline.params.methods import choices
from tests.layouts import FORMS, Layout, layouts

TREES = 200
# Names that a listing must not take for its own: a place may end in "|<row>", and FER2013's are offsets.
NAMES = [
    "notes.txt", "README.md", "x.png", "a|b.png", "a", "1234", "21", " space .jpg", "größe 顔.png", "no ending",
    ".DS_Store", "Thumbs.db", "weights.pt", "copy of 1.png", "0.png", "1.jpg", "happy",
]  # fmt: skip
FOLDERS = ["notes", "extra/deep", "old", ".hidden", "Fear", "train", "a|b"]


def test_every_adapter_is_here():
    assert FORMS.keys() == {*choices("dataset")} - {"sample"}  # which is a table


def add_foreign(rng: Random, root: Path, outside: Path, layout: Layout) -> bool:
    """Mix foreign files and links into a tree, anywhere; return whether an image is then there twice."""
    twice = False
    inside = sorted({str(Path(place).parent) for place in layout.files} | {"."})
    for _ in range(rng.randint(0, 6)):
        path = root / rng.choice([*inside, *FOLDERS]) / rng.choice(NAMES)
        kind = rng.choice(["file", "file", "file", "link", "dangling", "outside", "folder", "loop", "far"])
        target = {
            "link": root / rng.choice(sorted(layout.files)),
            "dangling": root / "nowhere",
            "outside": outside / "secret.png",
            "folder": root / rng.choice(inside),
            "loop": path.parent,
            "far": outside,
        }.get(kind)
        if os.path.lexists(path) or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        twice |= kind in ("link", "folder", "loop") or path.name in ("0.png", "1.jpg")
        if target:
            path.symlink_to(target)
        else:
            path.write_bytes(b"foreign")
    return twice


def visible(root: Path) -> set[str]:
    """The files in a folder, apart from those that are reached through a link to a folder."""
    found = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {os.path.relpath(f"{folder}/{name}", root) for name in files if not name.startswith(".")}
    return found


def check(root: Path, layout: Layout, twice: bool) -> None:
    tree = open_tree(root)
    listing, part = listed(layout.dataset, tree, Options(rafdb=layout.rafdb))
    files, above = set(tree.files()), f"{part.folder}/" if part.folder else ""
    assert files >= visible(root) - {""}
    records = []
    for record in listing:  # as the stage does
        try:
            assert listing.read(record.place)
            records.append(record)
        except Rejection as why:
            listing.reject(record.file, record.row, record.name, why)
    not_read = unread(tree, part, listing)

    def places(names: set[str]) -> set[str]:
        whole = {above + name for name in names}
        return {name if name in files else name.rpartition("|")[0] for name in whole} & files

    images = places({record.place for record in records})
    rejected = places({row.file for row in listing.rejected if not row.row})
    about, opened = places(listing.used()), places(part.opened)

    # Each file is counted once.
    assert not images & rejected, "an image that is kept and rejected"
    missing = files - images - about - opened
    named: Counter[str] = Counter()
    rows = sorted(not_read, key=lambda row: -len(row.place))
    for file in missing:
        row = next(r for r in rows if file == r.place or file.startswith(r.place) or r.place == "/")
        assert row.place == file or row.place.endswith("/")
        named[row.place] += 1
    assert named == {row.place: row.files for row in not_read}, (
        "files that are named, and those that nobody read"
    )
    assert not {row.place for row in not_read} & (images | rejected | opened)

    # So is each row of a file of labels, and each record.
    counted = Counter((record.file, record.row) for record in records if record.row)
    counted += Counter(
        (row.file, row.row) for row in listing.rejected if row.row and row.file not in layout.aside
    )
    assert not counted or max(counted.values()) == 1
    # A link shows a file of labels once more, and a foreign text among YOLO's is one.
    assert {(file, row) for file, row in counted if file in layout.rows} == {
        (file, row) for file, rows in layout.rows.items() for row in rows
    }
    assert len({record.name for record in records}) == len(records)
    alone = Counter(row.file for row in listing.rejected if not row.row)
    alone += Counter(record.file for record in records if not record.row)
    assert not alone or max(alone.values()) == 1
    # And nothing foreign costs an image, unless it has the image's name.
    assert twice or layout.good <= images


@pytest.mark.parametrize("dataset", FORMS)
def test_no_file_and_no_row_is_lost_or_counted_twice(tmp_path, dataset):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    for number, (rng, layout) in enumerate(layouts(dataset, TREES)):
        root = tmp_path / str(number)
        for place, content in layout.files.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(content)
        twice = add_foreign(rng, root, outside, layout)
        try:
            check(root, layout, twice)
        except UserError as refusal:  # the whole is refused, because of another folder with Parquet files
            if "found Parquet files in ./, " not in str(refusal):
                raise
        except BaseException as error:
            error.add_note(f"tree {number} of {dataset}: {sorted(visible(root))}")
            raise
        shutil.rmtree(root)
