"""One's own images in the `table` form: every row arrives or is listed with a reason, whatever it holds."""

import csv
import io
import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.core import parallel
from pipeline.core.errors import UserError
from pipeline.datasets import table
from pipeline.intake import image
from pipeline.intake.guards import Rejection
from pipeline.intake.image import decode, fingerprint
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from tests import toy

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

HEADER = "image,split,neutral,happiness,unknown"
GOOD = ("a.png,train,7,2,1", "sub/b.jpg,valid,0,10,0")


def noise(seed: int, side: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)


def write_table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    (folder / "images" / "sub").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), noise(1))
    cv2.imwrite(str(folder / "images" / "sub" / "b.jpg"), noise(2))
    (folder / "labels.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The folder of the data set `table` in an empty project."""
    monkeypatch.chdir(tmp_path)
    return Path("data/raw/table")


def ingested() -> list[dict]:
    return pq.read_table("data/ingested/table.parquet").to_pylist()


def rejected() -> list[dict[str, str]]:
    with open("data/ingested/table.rejected.csv", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["reason"] != "not_read"]


def metrics() -> dict:
    return json.loads(Path("metrics/ingest/table.json").read_text())


def test_a_good_table_arrives_whole(raw):
    write_table(raw, *GOOD)
    ingest.run(toy.PARAMS, "table")

    first, second = ingested()
    assert first["id"] == "table/a.png"
    assert second["id"] == "table/sub/b.jpg"
    assert first["image"] == (raw / "images/a.png").read_bytes()
    assert (first["width"], first["height"]) == (16, 12)
    assert first["votes"] == {
        **dict.fromkeys(("surprise", "sadness", "anger", "disgust", "fear", "contempt", "NF"), 0),
        "neutral": 7,
        "happiness": 2,
        "unknown": 1,
    }
    assert first["source"] == "labels.csv, row 2"
    assert rejected() == []
    expected = {"records": 2, "kept": 2, "rejected": {}, "splits": {"train": 1, "valid": 1}}
    assert metrics() == {**expected, "notes": {"images_without_row": 0}}


def test_equal_pixels_have_equal_fingerprints_in_any_encoding(raw):
    write_table(raw, *GOOD, "c.bmp,train,1,0,0", "grey.png,train,1,0,0", "rgb.png,train,1,0,0")
    cv2.imwrite(str(raw / "images/c.bmp"), noise(1))
    cv2.imwrite(str(raw / "images/grey.png"), noise(3)[..., 0])
    cv2.imwrite(str(raw / "images/rgb.png"), np.repeat(noise(3)[..., :1], 3, axis=2))
    ingest.run(toy.PARAMS, "table")

    pixels = {row["id"]: row["pixels"] for row in ingested()}
    assert pixels["table/a.png"] == pixels["table/c.bmp"]
    assert pixels["table/grey.png"] == pixels["table/rgb.png"]
    assert len(set(pixels.values())) == 3


def test_a_fingerprint_knows_the_shape():
    assert fingerprint(np.zeros((2, 3, 3), np.uint8)) != fingerprint(np.zeros((3, 2, 3), np.uint8))


@settings(max_examples=300, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 30) | st.just(0),
)
def test_a_grey_png_is_accepted_and_decoded_as_opencv_does(shape, damage, cut):
    data = bytearray(cv2.imencode(".png", np.resize(noise(4, 40)[..., 0], shape))[1].tobytes())
    for place, value in damage:
        data[8 + int(place * (len(data) - 8))] = value
    width, height = struct.unpack_from(">II", data, 16)
    # OpenCV takes seconds to fill an image that a damaged header says is huge.
    assume(width * height < 10**7)
    data = bytes(data[: len(data) - cut])
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    try:
        found = decode(data)
    except Rejection:
        assert expected is None or not np.array_equal(shape, expected.shape)
    else:
        np.testing.assert_array_equal(found, np.dstack([expected] * 3))


def test_row_numbers_are_a_spreadsheets(raw):
    write_table(raw, GOOD[0], "", ",,,,", "absent.png,train,1,0,0", GOOD[1])
    ingest.run(toy.PARAMS, "table")
    assert [row["row"] for row in rejected()] == ["5"]
    assert [row["source"] for row in ingested()] == ["labels.csv, row 2", "labels.csv, row 6"]


def test_labels_groups_headers_and_line_ends_of_other_programs(raw):
    write_table(raw)
    text = (
        "\ufeff Image ,SPLIT, Label,group,notes\r\na.png,Train,HAPPINESS,ann,x\r\nsub/b.jpg,test, nf ,,\r\n"
    )
    (raw / "labels.csv").write_bytes(text.encode())
    ingest.run(toy.PARAMS, "table")
    assert [(row["split"], row["label"], row["group"], row["votes"]) for row in ingested()] == [
        ("train", "happiness", "ann", None),
        ("test", "NF", None, None),
    ]
    assert metrics()["notes"]["ignored_columns"] == "notes"


def test_every_record_may_have_a_file_of_its_own():
    listing = Listing(bytes)
    for i in range(40_000):
        listing.add(f"{i:05d}", "train", f"images/{i}.jpg", f"labels/{i}.npy", 0, label="fear")
        listing.reject(f"others/{i}.npy", 0, str(i), Rejection("no_label", "empty"))
    assert [row["file"] for row in toy.listed(listing)[:2]] == ["labels/0.npy", "labels/1.npy"]
    assert len(listing.rejected) == 40_000


def test_the_number_of_threads_does_not_show(raw, monkeypatch):
    names = [f"{i}.png" for i in range(90)]
    write_table(raw, *(f"{name},train,{i % 5 + 1},0,0" for i, name in enumerate(reversed(names))))
    for i, name in enumerate(names[:80]):  # ten are missing
        cv2.imwrite(str(raw / "images" / name), noise(i))
    written = []
    for threads in (1, 5):
        monkeypatch.setattr(parallel, "cores", lambda threads=threads: threads)
        ingest.run(toy.PARAMS, "table")
        written.append([path.read_bytes() for path in sorted(Path("data/ingested").iterdir())])
    assert written[0] == written[1]
    ids = [row["id"] for row in ingested()]
    assert ids == sorted(ids)
    assert len(ids) == 80


CELL = st.sampled_from(
    ["a.png", "train", "valid", "1", "0", "fear", '"', '"a', "..", "/", "\0", "é", "-1", "1e3", " "]
)
ROW = st.lists(CELL | st.text(max_size=5), max_size=6).map(",".join)
COLUMN = st.sampled_from(["image", "split", "label", "group", "neutral", "happiness", "Fear", "", "x"])
TEXT = st.builds(
    lambda header, rows, end: end.join((",".join(header), *rows)),
    st.just(["image", "split", "neutral", "happiness"]) | st.lists(COLUMN | st.text(max_size=4), max_size=6),
    st.lists(ROW, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


def listed(folder: Path) -> tuple[Listing | None, str]:
    try:
        return table.records(open_tree(folder), Options()), ""
    except UserError as error:
        return None, str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
def test_no_file_breaks_the_reader(tmp_path, content):
    folder = tmp_path / "table"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_bytes(content)
    listing, message = listed(folder)
    assert "\n" not in message
    if listing is None:
        return
    text = content.decode("utf-8-sig")
    rows = [line for line in io.StringIO(text, newline=None) if line.strip(", \t\n")]
    records = toy.listed(listing)
    assert len(records) + len(listing.rejected) == len(rows) - 1
    for record in records:
        assert (record["votes"] is None) != (record["label"] is None)
        assert ".." not in Path(record["name"]).parts


@settings(max_examples=200, deadline=None)
@given(
    position=st.integers(0, 10_000),
    value=st.integers(0, 255),
    kind=st.sampled_from([".png", ".jpg", ".webp"]),
)
def test_a_damaged_image_is_refused_or_decoded(position, value, kind):
    _, encoded = cv2.imencode(kind, noise(6))
    encoded[position % len(encoded)] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            image, "MOST_PIXELS", 10_000
        )  # a damaged header may claim more, and decoding it takes time
        try:
            pixels = decode(encoded.tobytes())
        except Rejection:
            return
    assert pixels.shape[2:] == (3,)
