"""Raw data and tables in an S3-compatible store: the same bytes as from and to folders."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from pipeline.core.errors import UserError
from pipeline.datasets import table
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.tables.storage import local_copy, open_store
from tests import doc_commands, toy

ROOT = Path(__file__).parents[1]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture
def store(project: Path, monkeypatch: pytest.MonkeyPatch):
    """A server with one bucket that holds the raw data set `table`; the folder holds the same data set."""
    folder = project / "data/raw/table"
    (folder / "images/sub").mkdir(parents=True)
    rows = ["image,split,label"]
    for index in range(30):
        name = f"sub/{index}.png" if index % 2 else f"{index} \u00e9.png"
        face = np.random.default_rng(index).integers(0, 256, (20, 20), dtype=np.uint8)
        (folder / "images" / name).write_bytes(cv2.imencode(".png", face)[1].tobytes())
        rows.append(f"{name},train,fear")
    (folder / "images/torn.png").write_bytes(b"torn")
    (folder / "labels.csv").write_text("\n".join([*rows, "torn.png,train,fear", "absent.png,train,fear"]))
    toy.set_params(project, **{"align.mode": "none"})

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    system, _ = open_store("s3://faces?allow_bucket_creation=true")
    system.create_dir("faces")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with system.open_output_stream(f"faces/raw/{path.relative_to(folder)}") as file:
            file.write(path.read_bytes())
    yield "s3://faces"
    server.stop()


def fer(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def content(address: str, name: str) -> bytes:
    with local_copy(address, name) as path:
        return path.read_bytes()


def test_a_store_holds_input_and_output(store: str) -> None:
    for command in (["ingest", "table"], ["align", "table"]):
        assert fer(*command).returncode == 0
    for documented in doc_commands.section("docs/cluster.md", "Read data from a bucket"):
        words = [word.replace("s3://bucket/raw/ferplus", f"{store}/raw") for word in documented.words[1:]]
        done = fer(*(word.replace("s3://bucket", store).replace("ferplus", "table") for word in words))
        assert done.returncode == 0, done.stderr
    assert content(f"{store}/ingested", "table.parquet") == Path("data/ingested/table.parquet").read_bytes()
    assert content(f"{store}/aligned", "table.arrow") == Path("data/aligned/table.arrow").read_bytes()
    rejected = content(f"{store}/ingested", "table.rejected.csv").decode()
    assert "torn.png,unreadable_image" in rejected
    assert "absent.png,missing_image" in rejected
    metrics = json.loads(content(f"{store}/ingested", "table.json"))
    assert metrics == json.loads(Path("metrics/ingest/table.json").read_text())


def test_the_tree_of_a_bucket_is_that_of_the_folder(store: str) -> None:
    folder, bucket = open_tree(Path("data/raw/table")), open_tree(f"{store}/raw")
    assert bucket.entries() == folder.entries() == ["images/", "labels.csv"]
    assert bucket.entries("images/sub") == folder.entries("images/sub")
    assert sorted(bucket.files()) == sorted(folder.files())
    place = "images/0 \u00e9.png"
    assert bucket.read(place) == folder.read(place)
    assert len(toy.listed(table.records(bucket, Options()))) == 32


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://faces/nowhere", "s3://faces/nowhere: cannot be listed: "),
        ("s3://no-such-bucket/raw", "s3://no-such-bucket/raw: "),
        ("s3://", "s3://: not an address of an object store"),
    ],
)
def test_a_wrong_address_is_one_line(store: str, address: str, message: str) -> None:
    done = fer("ingest", "table", "--source", address)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(f"fer: {message}")
    assert "Traceback" not in done.stderr


def test_a_table_that_is_not_there_is_one_line(store: str) -> None:
    with (
        pytest.raises(UserError, match=r"^s3://faces/none/x\.parquet: cannot be read"),
        local_copy(f"{store}/none", "x.parquet"),
    ):
        pass
