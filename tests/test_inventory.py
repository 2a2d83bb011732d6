"""`fer data`: existing, missing and damaged data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.files import write_json
from pipeline.core.progress import in_bytes
from pipeline.tables import paths, schema, store, vocabulary
from tests import toy


def data() -> str:
    result = CliRunner().invoke(app, ["data"])
    assert result.exit_code == 0, result.output
    return result.output


def section(output: str, title: str) -> list[list[str]]:
    """Return the cells of the table below a title, without its rule, and the messages, each as one line."""
    block = output.split(f"{title}\n", 1)[1].split("\n\n")[0]
    block = re.sub(r"\n  (?=\S+ \S)", " ", block)
    rows = [re.split(r"  +", line.strip()) for line in block.splitlines()]
    return [row for row in rows if not row[0].startswith("--")]


@pytest.fixture
def full(project: Path) -> Path:
    """A project with a table of each kind."""
    toy.write(project)
    votes = dict.fromkeys(vocabulary.VOTES, 1)
    rows = [
        {"id": f"sample/{i}", "dataset": "sample", "split": split, "image": b"1234", "width": 2, "height": 2}
        | {"votes": votes, "source": "labels.csv", "pixels": str(i)}
        for i, split in enumerate(["train"] * 5 + ["valid"] * 2 + [None])
    ]
    store.write_rows(project / paths.INGESTED / "sample.parquet", schema.ingested(), rows)
    (project / paths.INGESTED / "sample.rejected.csv").write_text(
        'file,row,reason,detail\na,1,"torn","two\nlines"\nb,2,c,d\nnot_read,0,c,d\ne,0,not_read,\n'
    )
    predicted = [
        {"id": "a", "dataset": "sample", "split": "valid", "label": "fear", "predicted": "fear"}
        | {"probabilities": [1.0], "x": 0.0, "y": 0.0}
    ]
    store.write_rows(project / paths.PREDICTIONS, schema.predictions(["fear"]), predicted)
    near = {"valid_in_train": 2, "test_in_valid": 1000, "within": {"train": 9}}
    same = {"valid_in_train": 1, "test_in_valid": 0}
    metrics = {"dropped": {"unknown": 3}, "duplicates": same, "near_duplicates": near, "groups": {}}
    metrics["leaks"] = {"near_duplicates": {"valid_in_train": 1, "test_in_valid": 7}, "groups": {}}
    write_json(project / paths.METRICS / "label.json", metrics)
    (project / paths.RAW / "sample/images").mkdir(parents=True)
    (project / paths.RAW / "sample/images/a.png").write_bytes(b"12345")
    (project / paths.RAW / "sample/.hidden").write_bytes(b"1")
    (project / paths.RAW / "sample/again").symlink_to("images/../")  # round in a circle
    (project / paths.RAW / "rafdb").symlink_to("nowhere")
    (project / paths.RAW / "ckplus").write_bytes(b"x" * 2048)
    return project


def test_what_there_is(full: Path) -> None:
    output = data()
    size = {path: in_bytes((full / path).stat().st_size) for path in (paths.SYNTHETIC, paths.PREDICTIONS)}
    ingested = in_bytes((full / "data/ingested/sample.parquet").stat().st_size)
    aligned = in_bytes((full / "data/aligned/sample.arrow").stat().st_size)
    assert section(output, "data/raw") == [
        ["data set", "kind", "files", "size"],
        ["ckplus", "file", "1", "2.05 kB"],
        ["sample", "folder", "1", "5 bytes"],
        [
            "data/raw/rafdb: found a link to nowhere, which is not there, expected: the data set's folder, an archive "
            "of it, or a symbolic link to either"
        ],
    ]
    assert section(output, "data/ingested") == [
        ["data set", "rows", "train", "valid", "test", "no split", "rejected", "size"],
        ["sample", "8", "5", "2", "0", "1", "3", ingested],
    ]
    assert section(output, "data/ingested/*.rejected.csv") == [
        ["data set", "rejected because", "records"],
        ["sample", "c", "2"],
        ["sample", "torn", "1"],
    ]
    assert section(output, "data/aligned") == [
        ["data set", "images", "found", "whole", "missing", "found rate", "face", "size"],
        ["sample", "90", "0", "90", "0", "0.00%", "16 x 16 x 1", aligned],
    ]
    # tests/toy.py: of 90 faces every fifth is valid, every fifth test, and every second one happy.
    assert section(output, "data/labels.parquet") == [
        ["class", "train", "valid", "test"],
        ["neutral", "27", "9", "9"],
        ["happiness", "27", "9", "9"],
        ["all", "54", "18", "18"],
    ]
    assert section(output, "metrics/label.json, dropped images") == [
        ["left out because", "images"],
        ["unknown", "3"],
    ]
    assert section(output, "metrics/label.json, leaks") == [
        ["leak", "same image", "same or nearly", "same person", "kept: same or nearly", "kept: same person"],
        ["valid in train", "1", "2", "-", "1", "-"],
        ["test in valid", "0", "1,000", "-", "7", "-"],
    ]
    assert section(output, "data/synthetic.arrow")[1] == ["0", "16 x 16 x 1", size[paths.SYNTHETIC]]
    assert section(output, "data/predictions.parquet")[1] == ["1", "0", "1", "0", size[paths.PREDICTIONS]]


def test_a_file_of_dvc_is_no_data_set(project: Path) -> None:
    raw, cached = project / paths.RAW, project / ".dvc/cache/files/md5/00/0123456789abcdef0123456789abcd"
    for folder in (raw / "table", cached.parent):
        folder.mkdir(parents=True)
    for name in ("table", "folder"):
        (raw / f"{name}.dvc").write_text("outs:\n")
    cached.write_bytes(b"1234")
    (raw / "table/a.png").symlink_to(cached)  # as DVC's `cache.type: symlink` does
    (raw / "table/b.png").symlink_to("nowhere")
    size = in_bytes(4 + len("nowhere"))
    assert section(data(), "data/raw")[1:] == [
        ["table", "folder", "2", size],
        [
            "data/raw/folder: found only data/raw/folder.dvc, whose data `dvc pull data/raw/folder.dvc` fetches, "
            "expected: the data set's folder, an archive of it, or a symbolic link to either"
        ],
        ["data/raw/sample: not found; `dvc repro` makes it, `dvc checkout` restores it"],
    ]


def test_what_is_not_there_is_named_with_what_makes_it(project: Path) -> None:
    (project / "data").mkdir()
    output = data()
    for place in (
        *("raw/sample", "ingested/sample.parquet", "aligned/sample.arrow"),
        *("labels.parquet", "synthetic.arrow", "predictions.parquet"),
    ):
        assert f"data/{place}: not found; `dvc repro` makes it, `dvc checkout` restores it" in output
    assert "metrics/label.json: not found; `dvc repro` makes it" in output


def test_what_is_damaged_is_a_line(full: Path) -> None:
    aligned = full / "data/aligned/sample.arrow"
    aligned.write_bytes(aligned.read_bytes()[:5000])
    (full / "data/aligned/other.arrow").write_bytes(b"")
    (full / "data/ingested/sample.rejected.csv").write_bytes(b"\xff\xfe\x00")
    (full / paths.LABELS).write_text("no table")
    (full / paths.METRICS / "label.json").write_text("{}")
    (full / paths.PREDICTIONS).unlink()
    (full / paths.PREDICTIONS).mkdir()
    store.write_rows(full / paths.SYNTHETIC, schema.aligned(16, 1), [])
    (full / "params.yaml").write_text("[")
    output = data()
    assert "data/aligned/sample.arrow: not a table of faces: " in output
    assert "data/aligned/other.arrow: not a table of faces: " in output
    assert "data/ingested/sample.rejected.csv: not a list of rejected rows: " in output
    assert "data/labels.parquet: not a table with split, label: " in output
    assert "data/predictions.parquet: not a table with split: " in output
    assert "data/synthetic.arrow: not a table of faces: it has no column label" in output
    assert "metrics/label.json: not the metrics of `label`: " in output
    assert section(output, "data/raw")[1][0] == "ckplus"


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data"])
    assert str(result.exception) == (
        "data: not found; run this in the folder that holds params.yaml and dvc.yaml"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (999_700, "1 MB"),
        (2.5e9, "2.5 GB"),
        (7e15, "7,000.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert in_bytes(size) == text
