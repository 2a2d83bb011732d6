"""The stage `align`: rows in, rows out, whatever is found, on however many processes."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from insightface.data import get_image

from pipeline.core.errors import UserError
from pipeline.core.parallel import ordered
from pipeline.faces import alignment
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.faces.extraction import Extraction
from pipeline.intake.image import cost, decode_ingested
from pipeline.params.load import load
from pipeline.params.model import Params
from pipeline.stages import align
from pipeline.tables import schema, store
from pipeline.tables.journal import journaled
from pipeline.tables.paths import ALIGNED, INGESTED, INTERRUPTED, METRICS

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("FER_SHARED", ROOT.parent / "shared")) / "data"


def settings(**changes: object) -> Params:
    p = load(ROOT / "params.yaml")
    return p.model_copy(update={"align": p.align.model_copy(update=changes)})


def encoded(image: np.ndarray, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


def ingested(folder: Path, images: dict[str, bytes], sizes: Sequence[tuple[int, int]] = ()) -> None:
    """Write data/ingested/toy.parquet with encoded images by name, and their height and width if it matters."""
    rows = [
        {"id": f"toy/{name}", "dataset": "toy", "split": "train", "image": image, "width": width}
        | {"height": height, "votes": None, "label": "fear", "group": None, "source": name, "pixels": ""}
        for (name, image), (height, width) in zip(images.items(), sizes or repeat((9, 9)), strict=False)
    ]
    store.write_rows(folder / INGESTED / "toy.parquet", schema.ingested(), rows)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set of three images: a face, a grey face, no face."""
    photo = get_image("t1")[:500, :640]
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    empty = np.full((120, 200, 3), (200, 30, 90), np.uint8)
    ingested(tmp_path, {"a": encoded(photo), "b": encoded(grey), "c": encoded(empty)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_weights(project: Path, weights_file: Path) -> None:
    (project / "models" / "detector").mkdir(parents=True)
    shutil.copy(weights_file, project / "models" / "detector")


def result() -> tuple[store.Faces, dict]:
    return store.Faces(ALIGNED / "toy.arrow"), json.loads((METRICS / "align" / "toy.json").read_text())


def test_no_face_keeps_the_whole_image(project: Path, weights_file: Path, capsys) -> None:
    with_weights(project, weights_file)
    align.run(settings(missing="keep", colour=True), "toy")
    found, metrics = result()
    assert found.table.column("id").to_pylist() == ["toy/a", "toy/b", "toy/c"]
    assert found.table.column("status").to_pylist() == ["found", "found", "whole"]
    assert found.shape == (48, 48, 3)
    assert (found[2] == (90, 30, 200)).all(), "RGB of the whole image"
    assert (found[1][..., 0] == found[1][..., 2]).all()
    for column in ("box", "landmarks", "score"):
        values = found.table.column(column).to_pylist()
        assert values[0] is not None
        assert values[2] is None
    wanted = {"images": 3, "found": 2, "found_rate": 2 / 3, "fallback": 1, "missing": 0}
    assert wanted.items() <= metrics.items()
    assert metrics["weights_sha256"] == PACKAGED.sha256
    assert "non-commercial" in capsys.readouterr().out


def test_no_face_can_be_dropped(project: Path, weights_file: Path) -> None:
    with_weights(project, weights_file)
    align.run(settings(missing="drop"), "toy")
    found, metrics = result()
    assert found.table.column("status").to_pylist() == ["found", "found", "missing"]
    assert not found[2].any()
    assert (metrics["fallback"], metrics["missing"]) == (0, 1)


def test_crop_and_five_point_cut_the_same_face_differently(project: Path, weights_file: Path) -> None:
    with_weights(project, weights_file)
    align.run(settings(mode="five_point", face_size=64), "toy")
    five, _ = result()
    aligned = np.array(five[0])
    align.run(settings(mode="crop", face_size=64), "toy")
    box, metrics = result()
    assert five.shape == box.shape == (64, 64, 1)
    assert box.table.equals(five.table)
    assert metrics["mode"] == "crop"
    assert not np.array_equal(aligned, box[0])


@pytest.mark.parametrize("mode", [{"mode": "none"}, {"modes": {"toy": "none", "other": "crop"}}])
def test_none_loads_no_detector(project: Path, monkeypatch, capsys, mode: dict[str, object]) -> None:
    monkeypatch.setattr(align, "load_detector", lambda *_: pytest.fail("asked for weights"))
    align.run(settings(missing="drop", **mode), "toy")
    found, metrics = result()
    assert metrics["mode"] == "none"
    assert found.table.column("status").to_pylist() == ["whole"] * 3
    assert (metrics["found"], metrics["fallback"], metrics["missing"]) == (0, 3, 0)
    assert metrics["found_rate"] is None
    assert "toy: 3 images, used whole: mode none looks for no face" in capsys.readouterr().out


def test_prediction_has_the_mode_of_the_faces_that_the_model_learned_from() -> None:
    own = settings(mode="five_point", modes={"rafdb": "none", "affectnet": "crop"}).align
    learned = (["rafdb"], ["ferplus"], ["rafdb", "affectnet"])
    assert [own.for_prediction(names).mode for names in learned] == ["none", "five_point", "five_point"]


def test_images_lie_as_their_exif_data_says() -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:, :30] = 255
    jpeg = encoded(upright, ".jpg")
    # Orientation 3: turned by 180 degrees.
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + jpeg[2:]
    assert decode_ingested("a", jpeg)[20, 10].min() > 200
    assert decode_ingested("a", turned)[20, 10].max() < 50


def test_faces_do_not_depend_on_the_number_of_processes(weights_file: Path) -> None:
    folder = SHARED / "ferplus" / "FER2013Valid"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    files = sorted(folder.glob("*.png"))[:150]
    names, images = [file.name for file in files], [file.read_bytes() for file in files]
    table = pa.record_batch({"id": names, "image": pa.array(images, pa.binary())})
    chunks = [table.slice(start, 16) for start in range(0, len(table), 16)]
    cut = Extraction(settings().align, weights_file.read_bytes())
    alone, together = (pa.Table.from_batches(ordered(cut, chunks, workers=n)) for n in (1, 3))
    assert alone.equals(together)
    assert alone["id"].to_pylist() == names
    assert set(alone["status"].to_pylist()) <= {"found", "whole"}


def test_a_run_that_was_killed_goes_on_where_it_stopped(project: Path, monkeypatch, capsys) -> None:
    image = encoded(np.full((20, 20, 3), 9, np.uint8))
    ingested(project, {f"{i:03d}": image for i in range(5 * align.CHUNK)})
    align.run(settings(mode="none"), "toy")
    whole = (ALIGNED / "toy.arrow").read_bytes()
    (ALIGNED / "toy.arrow").unlink()

    seen = []

    def stopping(function, chunks, *_):
        for chunk in chunks:
            seen.append(chunk["id"][0].as_py())
            yield function(chunk)
            if seen[-1] == f"toy/{2 * align.CHUNK:03d}":
                raise KeyboardInterrupt

    monkeypatch.setattr(align, "ordered", stopping)
    with pytest.raises(KeyboardInterrupt):
        align.run(settings(mode="none"), "toy")
    (journal,) = (project / INTERRUPTED).iterdir()
    with journal.open("ab") as file:
        file.write((10**6).to_bytes(8) + b"cut short")
    align.run(settings(mode="none"), "toy")
    assert (ALIGNED / "toy.arrow").read_bytes() == whole
    assert seen == [f"toy/{i * align.CHUNK:03d}" for i in (0, 1, 2, 3, 4)]
    assert f"an interrupted run at image {3 * align.CHUNK + 1}" in capsys.readouterr().out
    assert not any((project / INTERRUPTED).iterdir())


def test_a_batch_of_large_images_is_short_and_gives_the_same_faces(project: Path, monkeypatch) -> None:
    rng = np.random.default_rng(1)
    sizes = [(20, 20), (60, 20), (20, 20), (20, 20), (90, 90), (20, 20)]
    images = [encoded(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
    ingested(project, {str(i): image for i, image in enumerate(images)}, sizes)
    align.run(settings(mode="none"), "toy")
    whole = (ALIGNED / "toy.arrow").read_bytes()

    monkeypatch.setattr(align, "LARGEST", cost(60, 60, 10_800))
    batches = list(align._batches(INGESTED / "toy.parquet", ["id", "image"]))
    assert [batch["id"].to_pylist() for batch in batches] == [
        ["toy/0", "toy/1", "toy/2", "toy/3"],
        ["toy/4"],  # alone, although it is larger than allowed
        ["toy/5"],
    ]
    assert len(pickle.dumps(batches[2])) < len(images[4]), "a worker receives its own images only"
    align.run(settings(mode="none"), "toy")
    assert (ALIGNED / "toy.arrow").read_bytes() == whole


def test_landmarks_that_ask_for_a_face_larger_than_any_image_take_no_more_memory(monkeypatch) -> None:
    monkeypatch.setattr(alignment, "MOST_SAMPLES", 480)
    image = np.full((40, 60, 3), 90, np.uint8)
    for scale in (0, 1e-9):
        transform = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
        assert (alignment.warp(image, transform, 48) == 90).all()


def test_two_runs_at_once_do_not_mix(project: Path, monkeypatch) -> None:
    def another(function, chunks, *_):
        (path,) = INTERRUPTED.iterdir()
        with (
            pytest.raises(UserError, match="another process is doing this work"),
            journaled(path, schema.aligned(48, 1), lambda done: iter(())),
        ):
            pass
        yield from map(function, chunks)

    monkeypatch.setattr(align, "ordered", another)
    align.run(settings(mode="none"), "toy")
    assert len(result()[0]) == 3


def test_a_file_system_without_locks_is_enough(project: Path, monkeypatch) -> None:
    def refused(path: Path) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("pipeline.tables.journal.hold", refused)
    align.run(settings(mode="none"), "toy")
    assert len(result()[0]) == 3


def test_a_missing_or_broken_table_is_one_line(project: Path) -> None:
    with pytest.raises(UserError, match=r"data/ingested/other\.parquet: not found; `dvc repro` makes it"):
        align.run(settings(mode="none"), "other")
    (project / INGESTED / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match=r"torn\.parquet: not a table"):
        align.run(settings(mode="none"), "torn")


def test_an_image_that_cannot_be_decoded_names_itself_and_nothing_is_lost(project: Path) -> None:
    align.run(settings(mode="none"), "toy")
    before = (ALIGNED / "toy.arrow").read_bytes()
    images = pq.read_table(INGESTED / "toy.parquet").column("image").to_pylist()
    ingested(project, {"a": images[0], "b": b"torn"})
    with pytest.raises(UserError, match=r"toy/b: 4 bytes that are no image"):
        align.run(settings(mode="none"), "toy")
    assert (ALIGNED / "toy.arrow").read_bytes() == before
    assert [path.name for path in (project / ALIGNED).iterdir()] == ["toy.arrow"]
