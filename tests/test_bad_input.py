"""What strangers' files and short machines do: one line and a failure, or a listed row; never a traceback or a loss.

Each kind of bad input is one test, whose id is its name. Around what is bad lie two good records, which arrive.
"""

import csv
import ctypes
import errno
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.intake import archive as _archive
from pipeline.intake import guards, image_reader, pixel_table
from pipeline.intake.guards import Rejection
from pipeline.intake.image import decode, decode_ingested, fingerprint
from pipeline.params.load import load
from pipeline.params.model import Params
from pipeline.stages import align, ingest
from pipeline.tables import schema, store
from pipeline.tables.journal import journaled
from tests import odd_images as odd
from tests import toy

ROOT = Path(__file__).parents[1]
HEADER = "image,split,neutral,happiness,unknown"
FIRST, LAST = "a.png,train,7,2,1", "sub/b.jpg,valid,0,10,0"
GOOD_IDS = ["table/a.png", "table/sub/b.jpg"]


@pytest.fixture
def raw(project) -> Path:
    """The data set `table` in a project: two good images with their rows."""
    folder = Path("data/raw/table")
    (folder / "images/sub").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/a.png"), odd.pixels(1))
    cv2.imwrite(str(folder / "images/sub/b.jpg"), odd.pixels(2))
    write_rows(folder)
    toy.set_params(project, **{"ingest.rejected": "accept"})
    return folder


def write_rows(folder: Path, *rows: str) -> None:
    """Write `labels.csv`: a good row, these, a good row."""
    (folder / "labels.csv").write_text("\n".join((HEADER, FIRST, *rows, LAST)) + "\n", encoding="utf-8")


def rows_of(dataset: str = "table") -> list[dict]:
    return pq.read_table(f"data/ingested/{dataset}.parquet").to_pylist()


def ids(dataset: str = "table") -> list[str]:
    return [row["id"] for row in rows_of(dataset)]


def rejected(dataset: str = "table") -> list[dict[str, str]]:
    with open(f"data/ingested/{dataset}.rejected.csv", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["reason"] != "not_read"]


def metrics(dataset: str = "table") -> dict:
    return json.loads(Path(f"metrics/ingest/{dataset}.json").read_text())


def results() -> dict[str, bytes]:
    """Return all that the stages have written, hidden files too."""
    found = (path for folder in ("data/ingested", "data/aligned") for path in Path(folder).glob("*"))
    return {str(path): path.read_bytes() for path in found}


def stopped(dataset: str = "table") -> str:
    """Return the one line with which a run stops; it leaves what earlier ones wrote."""
    before = results()
    with pytest.raises(UserError) as error:
        ingest.run(toy.PARAMS, dataset)
    assert results() == before
    line = str(error.value)
    assert line.isprintable()
    return line


def fer(*arguments: str, prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start the command line in the current folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # Where a file has a limit, no compiled module is cut off.
    command = [sys.executable, *(["-B"] if prepare else []), "-m", "pipeline", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, preexec_fn=prepare, **pipes)


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the one line with which a command fails; progress may stand before it, nothing after it."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    lines = errors.splitlines()
    assert [line for line in lines if line.startswith("fer: ")] == lines[-1:], errors
    return lines[-1]


def succeed(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return output


# ------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("c.jpg", odd.encoded(odd.smooth(1), "WEBP"), id="WebP in .jpg"),
        pytest.param("c.png", odd.encoded(odd.smooth(1), "JPEG"), id="JPEG in .png"),
        pytest.param("c", odd.encoded(odd.smooth(1), "PNG"), id="name without extension"),
        pytest.param("c.jpg", odd.encoded(odd.smooth(1).convert("CMYK"), "JPEG"), id="CMYK JPEG"),
        pytest.param("c.jpg", odd.encoded(odd.smooth(1), "JPEG", progressive=True), id="progressive JPEG"),
        pytest.param("c.jpg", odd.encoded(odd.smooth(1), "JPEG") + bytes(99), id="bytes after a JPEG"),
        pytest.param("c.png", odd.deep_png(colour=False), id="16-bit grey PNG"),
        pytest.param("c.png", odd.deep_png(colour=True), id="16-bit colour PNG"),
        pytest.param("c.png", odd.encoded(odd.smooth(1).quantize(17), "PNG"), id="palette PNG"),
        pytest.param("c.png", odd.encoded(odd.smooth(1).quantize(17), "PNG", transparency=3), id="tRNS PNG"),
        pytest.param("c.png", odd.encoded(odd.smooth(1).convert("1"), "PNG"), id="1-bit PNG"),
        pytest.param("c.png", odd.encoded(odd.alpha(), "PNG"), id="alpha PNG"),
        pytest.param("c.png", odd.encoded(odd.alpha().convert("LA"), "PNG"), id="grey PNG with alpha"),
        pytest.param("c.webp", odd.encoded(odd.alpha(), "WEBP", lossless=True), id="alpha WebP"),
        pytest.param("c.gif", odd.encoded(odd.smooth(1).quantize(9), "GIF"), id="GIF of one frame"),
        pytest.param("c.tif", odd.encoded(odd.smooth(1), "TIFF", compression="tiff_lzw"), id="TIFF"),
        pytest.param("c.bmp", odd.encoded(odd.smooth(1).quantize(9), "BMP"), id="palette BMP"),
        pytest.param("c.pbm", odd.encoded(odd.smooth(1).convert("1"), "PPM"), id="PBM"),
        *(pytest.param("c.jpg", odd.turned("JPEG", n), id=f"EXIF rotation {n}") for n in range(2, 9)),
        pytest.param("c.jpg", odd.turned("JPEG", 99), id="EXIF rotation out of range"),
        pytest.param("c.png", odd.turned("PNG", 6), id="EXIF rotation in a PNG"),
        pytest.param("c.webp", odd.turned("WEBP", 6), id="EXIF rotation in a WebP"),
        pytest.param("c.png", odd.encoded(odd.smooth(1).resize((1, 9_999)), "PNG"), id="1x9999"),
    ],
)
def test_an_odd_image_is_accepted_and_decoded_as_pillow_does(raw, name, data):
    (raw / "images" / name).write_bytes(data)
    write_rows(raw, f"{name},train,1,0,0")
    ingest.run(toy.PARAMS, "table")

    _, row, _ = rows_of()
    assert ids() == [GOOD_IDS[0], f"table/{name}", GOOD_IDS[1]]
    assert row["image"] == data
    expected, found = odd.as_pillow(data), decode(data)
    assert (row["height"], row["width"]) == expected.shape[:2]
    assert row["pixels"] == fingerprint(found)
    # Inks become colours by a formula whose last bit each library rounds in its own way.
    rounding = 1 if b"Adobe" in data else 0
    assert np.abs(found - expected.astype(int)).max() <= rounding
    assert np.array_equal(decode_ingested("c", data), found)


JPEG, PNG = odd.encoded(odd.smooth(1), "JPEG"), odd.encoded(odd.smooth(1), "PNG")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        pytest.param("c.jpg", JPEG[: len(JPEG) // 2], "unreadable_image", id="truncated JPEG"),
        pytest.param("c.png", PNG[: len(PNG) // 2], "unreadable_image", id="truncated PNG"),
        pytest.param("c.png", PNG[:20], "unreadable_image", id="PNG cut in its header"),
        pytest.param("c.gif", odd.encoded(odd.smooth(1), "GIF")[:-9], "unreadable_image", id="truncated GIF"),
        pytest.param(
            "c.webp", odd.encoded(odd.smooth(1), "WEBP")[:-9], "unreadable_image", id="truncated WebP"
        ),
        pytest.param("c.png", b"", "unreadable_image", id="zero bytes"),
        pytest.param("c.png", bytes(5_000), "unreadable_image", id="nothing but zeros"),
        pytest.param("c.png", b"no image", "unreadable_image", id="text renamed to .png"),
        pytest.param("c.svg", b"<svg xmlns='x'/>", "unreadable_image", id="SVG"),
        pytest.param("c.ico", odd.encoded(odd.smooth(1), "ICO"), "unreadable_image", id="icon"),
        *(
            pytest.param("c.png", odd.bomb(kind), "too_large", id=f"20,000 x 20,000 {kind} header")
            for kind in ("PNG", "JPEG", "GIF", "BMP", "PPM")
        ),
        *(
            pytest.param("c.png", odd.animation(kind), "animated", id=f"animated {kind}")
            for kind in ("GIF", "PNG", "WEBP")
        ),
        pytest.param("c.png", odd.encoded(odd.smooth(1).resize((1, 1)), "PNG"), "no_contrast", id="1x1 PNG"),
        pytest.param(
            "c.jpg", odd.encoded(odd.smooth(1).resize((1, 1)), "JPEG"), "no_contrast", id="1x1 JPEG"
        ),
        pytest.param("c.gif", odd.encoded(Image.new("P", (9, 9)), "GIF"), "no_contrast", id="black GIF"),
    ],
)
def test_an_image_that_cannot_be_used_is_listed(raw, name, data, reason):
    (raw / "images" / name).write_bytes(data)
    write_rows(raw, f"{name},train,1,0,0")
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected(reason)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "PPM"])
def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch, kind):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Rejection, match="pixels, allowed: ") as refused:
        decode(odd.bomb(kind))
    assert refused.value.reason == "too_large"


def test_a_fingerprint_copies_no_more_than_a_part_of_an_image():
    colour = np.zeros((2_000, 2_000, 3), np.uint8)
    colour[-1, -1] = 1, 2, 3
    for pixels in (colour, np.zeros_like(colour)):
        tracemalloc.start()
        try:
            found = fingerprint(pixels)
            assert tracemalloc.get_traced_memory()[1] < 0.8 * pixels.nbytes
        finally:
            tracemalloc.stop()
        values = pixels if pixels.any() else pixels[..., 0]
        assert found == hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def expect_one_rejected(reason: str) -> None:
    assert ids() == GOOD_IDS
    (row,) = rejected()
    assert (row["file"], row["row"], row["reason"]) == ("labels.csv", "3", reason)
    assert row["detail"]
    assert row["detail"].isprintable()
    assert (metrics()["records"], metrics()["kept"], metrics()["rejected"]) == (3, 2, {reason: 1})


# ----------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("absent.png,train,1,0,0", "missing_image", id="missing file"),
        pytest.param("A.PNG,train,7,2,1", "duplicate_name", id="name in another case"),
        pytest.param("a.png/x.png,train,1,0,0", "missing_image", id="path through a file"),
        pytest.param("sub\\x.jpg,train,1,0,0", "missing_image", id="Windows path"),
        pytest.param("C:\\Users\\x\\absent.png,train,1,0,0", "outside_folder", id="Windows drive"),
        pytest.param("sub,train,1,0,0", "unreadable_image", id="directory in place of an image"),
        pytest.param("x" * 300 + ".png,train,1,0,0", "unreadable_image", id="name too long for a file"),
        pytest.param("x/" * 3_000 + "a.png,train,1,0,0", "missing_image", id="path too long for a file"),
        pytest.param(",train,1,0,0", "no_image_name", id="no name"),
        pytest.param(".,train,1,0,0", "no_image_name", id="a dot as a name"),
        pytest.param("../secret.png,train,1,0,0", "outside_folder", id="../ in a CSV"),
        pytest.param("sub/../../secret.png,train,1,0,0", "outside_folder", id="../ inside a path"),
        pytest.param("/etc/passwd,train,1,0,0", "outside_folder", id="absolute path in a CSV"),
        pytest.param("a\x00.png,train,1,0,0", "bad_image_name", id="NUL in a name"),
        pytest.param("a\x1b[2J.png,train,1,0,0", "bad_image_name", id="escape sequence in a name"),
        pytest.param("a\u2028.png,train,1,0,0", "bad_image_name", id="Unicode line break in a name"),
        pytest.param("./a.png,train,7,2,1", "duplicate_name", id="duplicate name"),
        pytest.param("c.png,holdout,1,0,0", "bad_split", id="unknown split"),
        pytest.param("c.png,train,x,0,0", "bad_votes", id="non-numeric votes"),
        pytest.param("c.png,train,1.5,0,0", "bad_votes", id="fractional votes"),
        pytest.param("c.png,train,nan,0,0", "bad_votes", id="NaN votes"),
        pytest.param("c.png,train,-1,2,0", "bad_votes", id="negative votes"),
        pytest.param("c.png,train,,2,0", "bad_votes", id="empty cell of votes"),
        pytest.param("c.png,train,²,2,0", "bad_votes", id="digits of another kind"),
        pytest.param("c.png,train,99999999999,2,0", "bad_votes", id="more votes than people"),
        pytest.param("c.png,train,0,0,0", "no_votes", id="all-zero votes"),
        pytest.param("c.png,train,1,0", "bad_row", id="missing column in a row"),
        pytest.param("c.png,train,1,0,0,0", "bad_row", id="extra column in a row"),
        pytest.param('"c.png,train,1,0,0', "bad_row", id="quote left open"),
        pytest.param('"c.png"x,train,1,0,0', "bad_row", id="text after a quote"),
        pytest.param("c" * 200_000 + ",train,1,0,0", "bad_row", id="row of 200,000 characters"),
    ],
)
def test_a_bad_row_is_listed(raw, row, reason):
    cv2.imwrite(str(raw.parent / "secret.png"), odd.pixels(9))
    cv2.imwrite(str(raw / "images/c.png"), odd.pixels(5))
    write_rows(raw, row)
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected(reason)


@pytest.mark.parametrize("label", ["merry", "7", "", "surprise ", "Happy"])
def test_label_out_of_range(raw, label):
    (raw / "labels.csv").write_text(f"image,label,split\na.png,NF,val\nsub/b.jpg,{label},Test\n")
    ingest.run(toy.PARAMS, "table")
    if label in ("surprise ", "Happy"):  # white space around a cell means nothing
        assert ids() == GOOD_IDS
        assert pq.read_table("data/ingested/table.parquet")["split"].to_pylist() == ["valid", "test"]
        return
    assert ids() == GOOD_IDS[:1]
    (row,) = rejected()
    told = f"found {label!r}, allowed: neutral, happiness, " if label else "the row has no label"
    assert row["reason"] == ("unknown_label" if label else "no_label")
    assert told in row["detail"]


FACE = " ".join(map(str, range(48))) + " 255" * (48 * 47)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(f"7,{FACE},Training", "unknown_label", id="code 7"),
        pytest.param(f"-1,{FACE},Training", "unknown_label", id="code -1"),
        pytest.param(f"3.0,{FACE},Training", "unknown_label", id="code 3.0"),
        pytest.param(f",{FACE},Training", "unknown_label", id="no code"),
        pytest.param(f"3,{FACE},Holdout", "bad_split", id="unknown usage"),
        pytest.param(f"3,{FACE},Trainé", "bad_split", id="usage that is not ASCII"),
        pytest.param(f"3,{FACE}", "bad_row", id="missing cell"),
        pytest.param(f"3,{FACE},Training,4", "bad_row", id="extra cell"),
        pytest.param("3,1 2 3,Training", "unreadable_image", id="wrong pixel count"),
        pytest.param(f"3,{FACE} 0,Training", "unreadable_image", id="one pixel too many"),
        pytest.param("3,,Training", "unreadable_image", id="no pixels"),
        pytest.param("3," + "256 " * 2304 + ",Training", "unreadable_image", id="pixel of 256"),
        pytest.param("3," + "-1 " * 2304 + ",Training", "unreadable_image", id="negative pixel"),
        pytest.param("3," + "1.0 " * 2304 + ",Training", "unreadable_image", id="fractional pixel"),
    ],
)
def test_a_bad_row_of_pixels_is_listed(project, row, reason):
    Path("data/raw/fer2013").mkdir(parents=True)
    good = f"0,{FACE},Training"
    Path("data/raw/fer2013/fer2013.csv").write_text(f"emotion,pixels,Usage\n{good}\n{row}\n{good}\n")
    ingest.run(toy.PARAMS, "fer2013")
    assert ids("fer2013") == ["fer2013/00000", "fer2013/00002"]
    assert [(r["file"], r["row"], r["reason"]) for r in rejected("fer2013")] == [("fer2013.csv", "3", reason)]
    assert metrics("fer2013")["records"] == 3


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        pytest.param("my face (1).png", "my face (1).png", id="spaces"),
        pytest.param("a,b.png", '"a,b.png"', id="comma, quoted"),
        pytest.param('a"b.png', '"a""b.png"', id="quote, doubled"),
        pytest.param("größe Åsa 顔 😀.png", "größe Åsa 顔 😀.png", id="non-ASCII letters"),
        pytest.param("a\u3000b.png", "a\u3000b.png", id="ideographic space"),
        pytest.param("100%23#&?;*.png", "100%23#&?;*.png", id="signs of shells and addresses"),
        pytest.param("-rf.png", "-rf.png", id="a dash in front"),
        pytest.param(".hidden.png", ".hidden.png", id="a dot in front"),
        pytest.param("A.png", "A.png", id="names that differ in case"),
        pytest.param("x\\y.png", "x\\y.png", id="backslash"),
    ],
)
def test_a_strange_name_is_accepted(raw, name, cell):
    cv2.imwrite(str(raw / "images/c.png"), odd.pixels(5))
    (raw / "images/c.png").rename(raw / "images" / name)
    write_rows(raw, f"{cell},train,1,0,0")
    ingest.run(toy.PARAMS, "table")
    assert set(ids()) == {*GOOD_IDS, f"table/{name}"}
    assert rejected() == []
    assert metrics()["notes"] == {"images_without_row": 0}


def test_a_line_break_in_a_name_costs_that_row(raw):
    write_rows(raw, '"c\nd.png",train,1,0,0')
    ingest.run(toy.PARAMS, "table")
    assert ids() == GOOD_IDS
    assert [(row["row"], row["reason"]) for row in rejected()] == [("3", "bad_row"), ("4", "missing_image")]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"a\nb.png", id="line break"),
        pytest.param(b"a\rb.png", id="carriage return"),
        pytest.param(b"a\x07\x1b[31m.png", id="control characters"),
        pytest.param("é.png".encode("latin-1"), id="not UTF-8"),
    ],
)
@pytest.mark.parametrize("place", ["fear", "puzzled"])
def test_a_file_name_that_is_no_text_is_listed(project, name, place):
    for folder in ("fear", "anger", "puzzled"):
        Path("data/raw/folder", folder).mkdir(parents=True)
    for path in (b"fear/a.png", b"anger/b.png", place.encode() + b"/" + name):
        with open(b"data/raw/folder/" + path, "wb") as file:
            file.write(PNG)
    ingest.run(toy.PARAMS, "folder")
    assert ids("folder") == ["folder/anger/b.png", "folder/fear/a.png"]
    (row,) = rejected("folder")
    assert row["reason"] == ("bad_image_name" if place == "fear" else "unknown_label")
    assert all(cell.isprintable() for cell in row.values())


def test_an_extra_file_whose_name_is_no_text_is_counted(project):
    folder = Path("data/raw/ferplus/FER2013Train")
    folder.mkdir(parents=True)
    (folder / "label.csv").write_text('fer0000001.png,"(0, 0, 48, 48)"' + ",1" * 10 + "\n")
    (folder / "fer0000001.png").write_bytes(PNG)
    Path(os.fsdecode(bytes(folder) + b"/\xff.png")).touch()
    ingest.run(toy.PARAMS, "ferplus")
    assert ids("ferplus") == ["ferplus/fer0000001"]
    assert metrics("ferplus")["notes"] == {"images_without_row": 1}


def test_an_extra_file_is_counted(raw):
    write_rows(raw)
    (raw / "images/extra.png").write_bytes(PNG)
    (raw / "images/notes.txt").touch()
    ingest.run(toy.PARAMS, "table")
    assert ids() == GOOD_IDS
    assert metrics()["notes"] == {"images_without_row": 2}


# ---------------------------------------------------------------------------------------- whole tables

LABELS = "image,split,label\na.png,train,fear\nsub/b.jpg,valid,NF\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + LABELS.encode(), id="BOM"),
        pytest.param(LABELS.encode("utf-16"), id="UTF-16"),
        pytest.param(LABELS.replace("\n", "\r").encode(), id="CR-only line ends"),
        pytest.param(b"image,split,label\r\na.png,train,fear\rsub/b.jpg,valid,NF", id="mixed line ends"),
        pytest.param(LABELS.replace(",", " , ").encode(), id="header with spaces"),
        pytest.param(LABELS.replace(",", ";").encode(), id="semicolons"),
        pytest.param(LABELS.replace(",", "\t").encode(), id="tabs"),
        pytest.param(
            b",filename,usage,emotion\n0,a.png,Training,FEARFUL\n1,sub\\b.jpg,PublicTest,no face\n",
            id="pandas",
        ),
        pytest.param(LABELS.replace("a.png", "images/a.png").encode(), id="images/ too many"),
        pytest.param(b"IMAGE,Split,LABEL\na.png,TRAIN,Fear\nsub/b.jpg,Valid,nf\n", id="capitals"),
        pytest.param(re.sub(r"[^,\n]+", r'"\g<0>"', LABELS).encode(), id="everything quoted"),
        pytest.param(b"\n\n,,\n" + LABELS.replace("\n", "\n\n,,,\n").encode(), id="empty lines"),
        pytest.param(LABELS.replace("\n", ",\n").encode(), id="comma at the end of every line"),
        pytest.param(LABELS.replace("\n", ",x\n").encode(), id="extra column"),
    ],
)
def test_a_strange_table_is_accepted(raw, content):
    (raw / "labels.csv").write_bytes(content)
    ingest.run(toy.PARAMS, "table")
    assert [(row["id"], row["split"], row["label"]) for row in rows_of()] == [
        (GOOD_IDS[0], "train", "fear"),
        (GOOD_IDS[1], "valid", "NF"),
    ]
    assert rejected() == []


def text(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "found an empty file, expected: a header with image, ", id="empty file"),
        pytest.param(b"\xef\xbb\xbf\n\n", "found an empty file", id="file of a BOM"),
        pytest.param(text(HEADER), "there is no row", id="no rows"),
        pytest.param(
            text("image,split", "a.png,train"),
            "found the columns image, split, expected: image, and either label",
            id="missing columns",
        ),
        pytest.param(text("split,fear,NF", "train,1,1"), "found the columns split, fear", id="no image"),
        pytest.param(text("a.png,train,fear"), "found the columns a.png, train, fear", id="no header"),
        pytest.param(text("image,fear", "a.png,1"), "expected: at least 2 of", id="votes for one class"),
        pytest.param(text("image,fear,NF", "a.png,1,0"), "expected: at least 2 of", id="one class and NF"),
        pytest.param(text("image,label,fear,anger", "a.png,fear,1,0"), "one or the other", id="both forms"),
        pytest.param(
            text("image,Label,label", "a.png,fear,fear"),
            "found the column label more than once",
            id="column twice",
        ),
        pytest.param(
            text("image,hapiness,fear", "a.png,1,1"),
            "hapiness, did you mean happiness",
            id="misspelt column",
        ),
        pytest.param(
            LABELS.encode() + "ü.png".encode() + b"\xe9",
            "row 4: found byte 0xe9, expected: text in UTF-8",
            id="UTF-8 and Latin-1",
        ),
        pytest.param(LABELS.encode("utf-16")[:-1], "found 'utf-16-le' codec", id="cut UTF-16"),
        pytest.param(LABELS.encode("utf-16-le"), "found null bytes, expected: ", id="UTF-16 without BOM"),
        pytest.param(PNG, "found the columns ‰PNG, expected: image, and", id="image as a table"),
        pytest.param(text('"image,label', "a.png,fear"), "the header is not a CSV row", id="quote in header"),
        pytest.param(text("image,\x1b[2Jlabel"), "found the columns image, \\x1b[2Jlabel", id="escapes"),
        pytest.param(
            text("image,label", "z.png,fear"),
            "found no usable record: rejected missing_image 1; the first: ",
            id="nothing usable",
        ),
        pytest.param(b"x" * 2**21, "row 1: found a line of 1,048,576 characters", id="line without an end"),
        pytest.param(b"x," * 2**20, "row 1: found a line of 1,048,576 characters", id="a million columns"),
        pytest.param(
            text(",".join(["image", *map(str, range(60_000))])),
            "the header is not a CSV row (found 348,896 characters, allowed: 100,000)",
            id="60,000 columns",
        ),
        pytest.param(text(",".join(["x"] * 40_000)), "the column x more than once", id="40,000 times x"),
    ],
)
def test_a_file_that_is_no_table_stops_in_one_line(raw, content, message):
    ingest.run(toy.PARAMS, "table")
    (raw / "labels.csv").write_bytes(content)
    line = stopped()
    assert line.startswith("data/raw/table")
    assert message in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "found the columns an empty file, expected: emotion, pixels, Usage", id="empty"),
        pytest.param(
            f"emotion,pixels,Usage\r0,{FACE},Training\r".encode(),
            "found the columns emotion, pixels, Usage\\r0",
            id="CR-only line ends",
        ),
        pytest.param(
            "emotion,pixels,Usage\n".encode("utf-16"), "found the columns \ufffd\ufffd", id="UTF-16"
        ),
        pytest.param(b"emotion,pixels,Usage\n0," + b"1" * 2**21, "found a line of 1,048,576", id="long line"),
    ],
)
def test_a_file_that_is_no_table_of_pixels_stops_in_one_line(project, content, message):
    Path("data/raw/fer2013").mkdir(parents=True)
    Path("data/raw/fer2013/fer2013.csv").write_bytes(content)
    assert message in stopped("fer2013")


def test_a_table_of_pixels_with_bom_spaces_and_other_line_ends_is_accepted(project):
    Path("data/raw/fer2013").mkdir(parents=True)
    lines = ["\ufeffemotion, Usage, pixels", f"0,Training,{FACE}", f"6,PublicTest,{FACE}"]
    Path("data/raw/fer2013", pixel_table.FILES[1]).write_bytes("\r\n".join(lines).encode())
    ingest.run(toy.PARAMS, "fer2013")
    assert [row["label"] for row in rows_of("fer2013")] == ["anger", "neutral"]


# ---------------------------------------------------------------------------- files of another kind


def link_out(raw: Path) -> None:
    (raw.parent / "secret.png").write_bytes(PNG)
    (raw / "images/c.png").symlink_to("../../secret.png")


def link_out_by_folder(raw: Path) -> None:
    (raw.parent / "elsewhere").mkdir()
    (raw.parent / "elsewhere/c.png").write_bytes(PNG)
    (raw / "images/way").symlink_to("../../elsewhere")
    write_rows(raw, "way/c.png,train,1,0,0")


def loop(raw: Path) -> None:
    (raw / "images/c.png").symlink_to("d.png")
    (raw / "images/d.png").symlink_to("c.png")


def bound(raw: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(raw / "images")  # the name of a socket is short
        listening.bind("c.png")


def device(raw: Path) -> None:
    try:
        os.mknod(raw / "images/c.png", 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # endless zeros
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(link_out, "outside_folder", id="symlink out of the tree"),
        pytest.param(link_out_by_folder, "outside_folder", id="symlink of a folder out of the tree"),
        pytest.param(lambda raw: (raw / "images/c.png").symlink_to("no"), "missing_image", id="broken link"),
        pytest.param(loop, "unreadable_image", id="loop of links"),
        pytest.param(lambda raw: os.mkfifo(raw / "images/c.png"), "unreadable_image", id="FIFO"),
        pytest.param(lambda raw: (raw / "images/c.png").mkdir(), "unreadable_image", id="directory"),
        pytest.param(bound, "unreadable_image", id="socket"),
        pytest.param(device, "unreadable_image", id="device"),
    ],
)
def test_what_is_no_file_is_listed(raw, make, reason):
    write_rows(raw, "c.png,train,1,0,0")
    make(raw)
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected(reason)


def test_a_link_inside_the_tree_is_followed(raw):
    (raw / "images/c.png").symlink_to("sub/b.jpg")
    write_rows(raw, "c.png,train,1,0,0")
    ingest.run(toy.PARAMS, "table")
    assert ids() == [GOOD_IDS[0], "table/c.png", GOOD_IDS[1]]


def test_a_loop_of_folders_is_walked_once(project):
    Path("data/raw/folder/fear").mkdir(parents=True)
    Path("data/raw/folder/fear/a.png").write_bytes(PNG)
    Path("data/raw/folder/fear/again").symlink_to("..")
    Path("data/raw/folder/itself").symlink_to("itself")
    ingest.run(toy.PARAMS, "folder")
    assert ids("folder") == ["folder/fear/a.png"]
    assert [(row["record"], row["reason"]) for row in rejected("folder")] == [
        ("fear/again", "unreadable_image"),
        ("itself", "no_label"),
    ]


def test_folders_a_thousand_deep_are_walked(project):
    place = "data/raw/folder/fear"
    os.makedirs(place)
    for _ in range(1_200):
        place += "/d"
        os.mkdir(place)
    Path(place, "a.png").write_bytes(PNG)
    try:
        ingest.run(toy.PARAMS, "folder")
        assert len(ids("folder")) == 1
    finally:
        subprocess.run(
            ["rm", "-r", "data/raw/folder/fear/d"], check=True
        )  # which does not recurse as Python does


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(os.mkfifo, "labels.csv: found a pipe or a device, expected: a file", id="FIFO"),
        pytest.param(os.mkdir, "expected: labels.csv and the folder images/", id="directory"),
        pytest.param(
            lambda path: path.symlink_to("no"), "labels.csv: cannot be read: No such", id="broken link"
        ),
        pytest.param(
            lambda path: path.symlink_to(path.name), "labels.csv: cannot be read: Too many", id="loop"
        ),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "found a pipe or a device", id="device"),
    ],
)
def test_what_is_no_file_in_place_of_the_table_stops_in_one_line(raw, make, message):
    (raw / "labels.csv").unlink()
    make(raw / "labels.csv")
    assert message in stopped()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "found nothing, expected: the data set's folder", id="nothing"),
        pytest.param(lambda path: path.symlink_to("no"), "found a link to no, which is not there", id="link"),
        pytest.param(
            lambda path: path.symlink_to("table"), "found a link to table, which", id="loop of links"
        ),
        pytest.param(lambda path: path.write_text("x"), "found a file that is no archive", id="file"),
        pytest.param(os.mkfifo, "found nothing, expected: the data set's folder", id="FIFO"),
        pytest.param(
            os.mkdir, "found nothing; expected: labels.csv and the folder images/", id="empty folder"
        ),
    ],
)
def test_what_is_no_data_set_stops_in_one_line(project, make, message):
    Path("data/raw").mkdir(parents=True)
    make(Path("data/raw/table"))
    assert stopped().startswith(f"data/raw/table: {message}")


def test_a_name_that_is_no_data_sets_stops_in_one_line(project):
    assert stopped("tabel").startswith("dataset: found 'tabel', allowed: ")


# ------------------------------------------------------------------------------------------- archives


def add(
    archive: zipfile.ZipFile | tarfile.TarFile, name: str, data: bytes | None = None, to: str = ""
) -> None:
    """Add a member: a file, or a symbolic link to somewhere."""
    if isinstance(archive, zipfile.ZipFile):
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK if to else stat.S_IFREG) << 16
        archive.writestr(info, to or data or b"", zipfile.ZIP_DEFLATED)
        return
    member = tarfile.TarInfo(name)
    member.type, member.linkname = (tarfile.SYMTYPE, to) if to else (tarfile.REGTYPE, "")
    member.size = len(data or b"")
    archive.addfile(member, io.BytesIO(data or b""))


@pytest.fixture(params=["zip", "tar.gz"])
def archive(raw, request) -> Callable[..., Path]:
    """Packs the data set into an archive, which takes its place, with members added."""

    def pack(*members: tuple[str, bytes] | tuple[str, None, str]) -> Path:
        path = raw / f"table.{request.param}"
        files = [file for file in raw.rglob("*") if file.is_file()]
        with zipfile.ZipFile(path, "w") if request.param == "zip" else tarfile.open(path, "w:gz") as opened:
            for file in files:
                add(opened, str(file.relative_to(raw)), file.read_bytes())
            for member in members:
                add(opened, *member)
        shutil.rmtree(raw / "images")
        (raw / "labels.csv").unlink()
        return path

    return pack


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret.png", id="../ member"),
        pytest.param("images/../../secret.png", id="../ inside a member"),
        pytest.param("/tmp/secret.png", id="absolute member"),
        pytest.param("C:/secret.png", id="member with a drive"),
        pytest.param("", id="member without a name"),
    ],
)
def test_a_member_outside_stops_in_one_line(archive, name):
    archive((name, PNG))
    assert f"found a member {name!r}, allowed: names inside the archive" in stopped()


def test_a_symlink_member_is_listed(raw, archive):
    write_rows(raw, "c.png,train,1,0,0")
    archive(("images/c.png", None, "/etc/passwd"))
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected("unreadable_image")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_archive_stops_in_one_line(raw, archive, share):
    path = archive(*((f"images/{i}.png", os.urandom(999)) for i in range(20)))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert stopped().startswith(f"data/raw/table/{path.name}: ")


@pytest.mark.parametrize(
    ("end", "found"),
    [
        pytest.param(-1_024, "no end of the archive", id="between members"),
        pytest.param(-1_324, "unexpected end of data", id="in a member"),
        pytest.param(-1_800, "no end of the archive", id="in a header"),
    ],
)
def test_a_truncated_plain_tar_stops_in_one_line(raw, end, found):
    # Python's tarfile, like tar itself, takes a header that is cut short for the end.
    path = raw / "table.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as opened:
        for file in ("images/a.png", "images/sub/b.jpg", "labels.csv"):
            add(opened, file, (raw / file).read_bytes())
        size = opened.offset + 1_024
    shutil.rmtree(raw / "images")
    (raw / "labels.csv").unlink()
    path.write_bytes(path.read_bytes()[: size + end])
    assert found in stopped()


def test_a_damaged_header_in_a_tar_stops_in_one_line(raw):
    path = raw.parent / "table.tar"
    with tarfile.open(path, "w") as opened:
        for file in ("labels.csv", "images/a.png", "images/sub/b.jpg"):
            add(opened, file, (raw / file).read_bytes())
    shutil.rmtree(raw)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"images/sub", b"imagesXsub"))  # its checksum is another one now
    path.rename(raw)
    assert "data/raw/table: damaged or cut short: no end of the archive at byte" in stopped()


def encrypted(path: Path, last: int) -> None:
    """Mark the members of a zip but the last ones as encrypted; without the password that is all one sees."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        starts = [info.header_offset for info in opened.infolist()]
        place = opened.start_dir
    for start in starts[: len(starts) - last]:
        data[start + 6] |= 1
    for index in range(len(starts) - last):
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 4) if index + 1 < len(starts) else place
    path.write_bytes(data)


@pytest.mark.parametrize("archive", ["zip"], indirect=True)
def test_an_encrypted_archive_stops_in_one_line(archive):
    encrypted(archive(), 0)
    assert "table.zip/labels.csv: cannot be read: " in (line := stopped())
    assert "encrypted" in line


@pytest.mark.parametrize("archive", ["zip"], indirect=True)
def test_encrypted_members_are_listed(raw, archive):
    write_rows(raw, "c.png,train,1,0,0")
    path = archive()
    with zipfile.ZipFile(path) as opened:
        members = [(info.filename, opened.read(info)) for info in opened.infolist()]
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in [("images/c.png", PNG), *members]:
            add(opened, name, data)
    encrypted(path, len(members))
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected("unreadable_image")


@pytest.mark.parametrize("archive", ["zip"], indirect=True)
@pytest.mark.parametrize("claimed", [None, 99], ids=["zip bomb", "zip bomb that claims 99 bytes"])
def test_a_zip_bomb_is_listed(raw, archive, monkeypatch, claimed):
    for module in (_archive, guards):
        monkeypatch.setattr(module, "MOST_BYTES", 2**20)
    write_rows(raw, "c.png,train,1,0,0")
    path = archive(("images/c.png", bytes(2**22)))
    assert path.stat().st_size < 10_000
    if claimed:
        size = (2**22).to_bytes(4, "little")
        path.write_bytes(path.read_bytes().replace(size, claimed.to_bytes(4, "little")))
    ingest.run(toy.PARAMS, "table")
    expect_one_rejected("unreadable_image" if claimed else "too_large")


@pytest.mark.parametrize("archive", ["tar.gz"], indirect=True)
def test_a_tar_bomb_stops_in_one_line_and_does_not_fill_the_disk(archive, monkeypatch):
    monkeypatch.setattr(_archive, "_SMALL", 2**20)
    archive(("images/c.png", bytes(2**22)))
    assert re.search(
        r"table\.tar\.gz: found 2,097,152 bytes or more, packed into \d,\d{3}, allowed: 100 ", stopped()
    )


def test_an_archive_of_images_that_expand_absurdly_stops_in_one_line(raw, archive, monkeypatch):
    monkeypatch.setattr(_archive, "_SMALL", 2**20)
    write_rows(raw, *(f"{i}.bmp,train,1,0,0" for i in range(4)))
    flat = cv2.imencode(".bmp", np.full((400, 400, 3), 90, np.uint8))[1].tobytes()
    archive(*((f"images/{i}.bmp", flat) for i in range(4)))
    assert re.search(
        r"table\.[\w.]+: found 1,9\d\d,\d{3} bytes or more, packed into \d,\d{3}, allowed: 100 ", stopped()
    )


@pytest.mark.parametrize("archive", ["zip"], indirect=True)
def test_a_damaged_member_is_listed_and_a_damaged_table_stops_in_one_line(raw, archive):
    write_rows(raw, *["c.png,train,1,0,0"] * 30)
    path = archive(("images/c.png", PNG))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        places = {info.filename: info.header_offset + 30 + len(info.filename) for info in opened.infolist()}
    whole = bytes(data)
    data[places["images/c.png"] + 40] ^= 255
    path.write_bytes(data)
    ingest.run(toy.PARAMS, "table")
    assert ids() == GOOD_IDS
    assert metrics()["rejected"] == {"duplicate_name": 29, "unreadable_image": 1}

    data = bytearray(whole)
    data[places["labels.csv"] + 20] ^= 255
    path.write_bytes(data)
    assert "table.zip/labels.csv: cannot be read: " in stopped()


# ------------------------------------------------------------------------- machines and other processes


def test_training_without_a_compiler_says_what_to_change(project, monkeypatch, tmp_path):
    toy.write(project, model="light", **{"train.compile": True})
    monkeypatch.setenv("CXX", "/absent")  # torch reads the compiler's name from it
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    line = line_of(fer("train"))
    assert line.startswith("fer: params.yaml: train.compile: found true, but torch cannot compile here")
    assert "/absent" in line
    assert line.endswith("allowed: false, or a C compiler")


def small_files() -> None:
    """Let no file of this process grow beyond 30 kB: writing more fails with a real error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))


def without_privileges() -> None:
    """Take from root what lets it read and write everything; others do not have it."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "fer: data/raw/table/labels.csv: found an empty file, expected: ", id="empty"),
        pytest.param("image,label\n\x00../\n", "fer: data/raw/table: found no usable record", id="unusable"),
        pytest.param("a\x1b[2J\u2028b,label\n", "fer: data/raw/table/labels.csv: found the ", id="escapes"),
    ],
)
def test_the_command_line_answers_in_one_line(raw, content, message):
    (raw / "labels.csv").write_text(content, encoding="utf-8")
    assert line_of(fer("ingest", "table")).startswith(message)
    assert results() == {}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(["predict", ""], "2: found ''"), (["report", "--output="], "2: found '--output='")],
)
def test_an_argument_without_text_is_no_folder(raw, arguments, found):
    assert line_of(fer(*arguments)).startswith(f"fer: argument {found}, allowed: a value")


def test_the_command_line_succeeds_and_counts_what_it_rejects(raw):
    (raw / "images/cut.png").write_bytes(PNG[:300])
    write_rows(raw, "cut.png,train,1,0,0", "../x,train,1,0,0")
    output = succeed(fer("ingest", "table"))
    assert "kept 2 of 4 records (train 1, valid 1)" in output
    assert "rejected 2 (outside_folder 1, unreadable_image 1), listed in data/ingested/" in output


@pytest.mark.parametrize("place", ["images/c.png", "labels.csv", "images", "images/sub"])
def test_no_read_permission(raw, place):
    (raw / "images/c.png").write_bytes(PNG)
    write_rows(raw, "c.png,train,1,0,0")
    (raw / place).chmod(0)
    process = fer("ingest", "table", prepare=without_privileges)
    if place == "images/c.png":
        succeed(process)
        expect_one_rejected("unreadable_image")
        assert "Permission denied" in rejected()[0]["detail"]
    else:
        assert line_of(process) == f"fer: data/raw/table/{place}: cannot be read: Permission denied"
    (raw / place).chmod(0o700)


@pytest.mark.parametrize("folder", ["data/ingested", "metrics/ingest", "data"])
def test_a_folder_that_cannot_be_written(raw, folder):
    if folder != "data":
        ingest.run(toy.PARAMS, "table")
    before = results()
    Path(folder).chmod(0o500)
    line = line_of(fer("ingest", "table", prepare=without_privileges))
    Path(folder).chmod(0o700)
    assert line.startswith("fer: data/ingested" if folder == "data" else f"fer: {folder}")
    assert line.endswith(": cannot be written: Permission denied")
    assert results() == before


@pytest.mark.parametrize("much", ["images", "rejected rows"])
def test_a_full_disk_loses_nothing_that_ingest_wrote(raw, much):
    ingest.run(toy.PARAMS, "table")
    before = results()
    cv2.imwrite(str(raw / "images/c.png"), odd.pixels(5, 120, 120))
    rows = ["c.png,train,1,0,0"] if much == "images" else [f"{i},train,1,0,0" for i in range(900)]
    write_rows(raw, *rows)
    line = line_of(fer("ingest", "table", prepare=small_files))
    assert line == "fer: data/ingested/table.parquet: cannot be written: File too large"
    assert results() == before


def test_a_full_disk_loses_nothing_that_align_wrote(raw):
    p = whole_images()
    ingest.run(p, "table")
    align.run(p, "table")
    for name in range(60):
        shutil.copy(raw / "images/a.png", raw / f"images/{name}.png")
    write_rows(raw, *(f"{name}.png,train,1,0,0" for name in range(60)))
    ingest.run(p, "table")
    before = results()
    line = line_of(fer("align", "table", prepare=small_files))
    assert line.startswith("fer: data/interrupted/align-table-")
    assert line.endswith("cannot be written: File too large")
    assert results() == before
    align.run(p, "table")
    assert len(store.Faces(Path("data/aligned/table.arrow"))) == 62
    assert list(Path("data/interrupted").iterdir()) == []


def whole_images() -> Params:
    """Return parameters with which `align` looks for no face, here and in params.yaml."""
    toy.set_params(Path(), **{"align.mode": "none"})
    return load()


def mounted(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command behind a script that mounts small disks, which only the two see."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("only root mounts")
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "pipeline", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_an_align_whose_table_finds_no_space_left_does_not_begin_anew(raw, monkeypatch):
    for name in range(60):
        shutil.copy(raw / "images/a.png", raw / f"images/{name}.png")
    write_rows(raw, *(f"{name}.png,train,1,0,0" for name in range(60)))
    p = whole_images()
    ingest.run(p, "table")
    Path("data/aligned").mkdir()
    done = mounted('mount -t tmpfs -o size=64k none data/aligned && "$@"', "align", "table")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line == "fer: data/aligned/table.arrow: cannot be written: No space left on device"
    monkeypatch.setattr(align, "ordered", lambda function, chunks, *_: map(pytest.fail, chunks))
    align.run(p, "table")
    assert len(store.Faces(Path("data/aligned/table.arrow"))) == 62
    assert list(Path("data/interrupted").iterdir()) == []


def test_a_disk_with_no_space_left_loses_nothing(raw):
    ingest.run(toy.PARAMS, "table")
    before = results()
    cv2.imwrite(str(raw / "images/c.png"), odd.pixels(5, 160, 160))
    write_rows(raw, "c.png,train,1,0,0")
    Path("earlier").mkdir()
    Path("small").mkdir()
    script = (
        "mount -t tmpfs -o size=64k none small && cp data/ingested/* small && mount --bind small data/ingested "
        '&& ("$@"; code=$?; ls -A data/ingested; cp -a data/ingested/. earlier; exit $code)'
    )
    done = mounted(script, "ingest", "table")
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1] == "fer: data/ingested/table.parquet: cannot be written: No space left on device"
    assert "Traceback" not in done.stderr
    assert {f"data/ingested/{path.name}": path.read_bytes() for path in Path("earlier").iterdir()} == before


def test_an_error_while_a_file_is_written_names_the_file_that_failed(project, monkeypatch):
    output = Path("out/a.csv")

    def line(fail: Callable[[Path], object]) -> str:
        with pytest.raises(UserError) as error, replacing(output) as temporary:
            fail(temporary)
        assert not any(output.parent.iterdir())
        return str(error.value)

    def full(temporary: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert line(lambda _: Path("in.csv").read_bytes()) == "in.csv: No such file or directory"
    assert line(lambda _: pa.memory_map("in.arrow")) == "in.arrow: No such file or directory"
    assert line(lambda temporary: (temporary / "b").touch()).startswith(f"{output}: cannot be written: ")
    for room, said in ((9, f"{output}: cannot be written"), (0, str(Path(tempfile.gettempdir())))):
        free = {Path("out"): SimpleNamespace(free=5), Path(tempfile.gettempdir()): SimpleNamespace(free=room)}
        monkeypatch.setattr(shutil, "disk_usage", free.__getitem__)
        assert line(full) == f"{said}: No space left on device"


def many_large(raw: Path, count: int) -> None:
    """Write a data set that keeps workers busy for a while: one image under many names."""
    cv2.imwrite(str(raw / "images/large.png"), np.eye(400, dtype=np.uint8) * 90)
    for index in range(count):
        (raw / f"images/{index}.png").hardlink_to(raw / "images/large.png")
    write_rows(raw, *(f"{index}.png,train,1,0,0" for index in range(count)))


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.002)


def children(process: subprocess.Popen[str]) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")


@needs_proc
def test_a_worker_that_is_killed_stops_ingest_in_one_line(raw):
    ingest.run(toy.PARAMS, "table")
    before = results()
    many_large(raw, 1_500)
    process = fer("ingest", "table")
    wait_for(lambda: children(process))
    os.kill(children(process)[0], signal.SIGKILL)
    assert "fer: a worker process was killed" in line_of(process)
    assert results() == before


@needs_proc
def test_a_worker_that_is_killed_stops_align_in_one_line_and_it_goes_on(raw):
    many_large(raw, 480)
    toy.set_params(Path(), **{"align.mode": "none"})
    ingest.run(toy.PARAMS, "table")
    succeed(fer("align", "table"))
    whole = results()
    Path("data/aligned/table.arrow").unlink()
    process = fer("align", "table")
    wait_for(lambda: any(path.stat().st_size for path in Path("data/interrupted").iterdir()))
    os.kill(children(process)[-1], signal.SIGKILL)
    assert "fer: a worker process was killed" in line_of(process)
    assert "going on with an interrupted run at image" in succeed(fer("align", "table"))
    assert results() == whole


def test_two_processes_ingest_at_once(raw):
    ingest.run(toy.PARAMS, "table")
    before = results()
    both = [fer("ingest", "table"), fer("ingest", "table")]
    for process in both:
        assert "kept 2 of 2" in succeed(process)
    assert results() == before


def test_two_processes_align_at_once(raw):
    many_large(raw, 480)
    toy.set_params(Path(), **{"align.mode": "none"})
    ingest.run(toy.PARAMS, "table")
    first = fer("align", "table")
    wait_for(lambda: any(path.stat().st_size for path in Path("data").glob("interrupted/*")))
    first.send_signal(signal.SIGSTOP)
    try:
        line = line_of(fer("align", "table"))
    finally:
        first.send_signal(signal.SIGCONT)
    assert line.endswith("another process is doing this work; wait for it, or end it")
    succeed(first)
    assert len(store.Faces(Path("data/aligned/table.arrow"))) == 482


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"\x00\x00", id="cut in its length"),
        pytest.param((10**6).to_bytes(8) + b"cut short", id="cut in a batch"),
        pytest.param(b"\xff" * 40, id="a length beyond all memory"),
        pytest.param(bytes(500), id="zeros"),
        pytest.param((300).to_bytes(8) + bytes(304), id="a length, and zeros"),
    ],
)
def test_a_journal_with_a_damaged_end_goes_on_before_it(tmp_path, tail):
    table = schema.aligned(2, 1)
    rows = [{"id": str(i), "status": "whole", "face": bytes(4)} for i in range(3)]
    batches = [schema.pa.RecordBatch.from_pylist([row], table) for row in rows]

    def killed(done: int):
        yield from batches[done:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), journaled(tmp_path / "journal", table, killed) as work:
        list(work)
    with (tmp_path / "journal").open("ab") as file:
        file.write(tail)
    began = []
    with journaled(
        tmp_path / "journal", table, lambda done: began.append(done) or iter(batches[done:])
    ) as work:
        found = list(work)
    assert began == [2]
    assert [batch["id"][0].as_py() for batch in found] == ["0", "1", "2"]
    assert list(tmp_path.iterdir()) == []


def test_images_beyond_the_size_of_a_column_arrive(raw, monkeypatch):
    write_rows(raw, "absent.png,train,1,0,0")
    ingest.run(toy.PARAMS, "table")
    before = results()
    monkeypatch.setattr(ingest, "BATCH_BYTES", 10)
    monkeypatch.setattr(image_reader, "RESULT_BYTES", 10)
    ingest.run(toy.PARAMS, "table")
    assert results() == before
