"""`fer import` recognises images in the forms in which people have them, and sets the project up for them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.importing.recognition import recognise
from pipeline.stages import ingest
from tests import odd_images as odd
from tests.layouts import FORMS as LAYOUTS
from tests.layouts import layouts

NAMES = {"Angry": "anger", "Happy": "happiness", "sad": "sadness"}
CODES = "0=anger,1=happiness,2=sadness"


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), odd.pixels(number))


def folders(root: Path, names: list[str], top: str = "", splits: tuple[str, ...] = ("",)) -> Path:
    """Write two images of each class and split."""
    places = [
        root / top / split / name / f"{number}.png" for split in splits for name in names for number in (1, 2)
    ]
    for number, place in enumerate(places):
        write(place, number)
    return root


def table(root: Path, name: str = "labels.csv") -> Path:
    lines = [",File Name;emotion".replace(",", "")]
    for number, label in enumerate(("Angry", "HAPPY ", "sad", "angry", "happy", "SADNESS")):
        write(root / f"images/{number}.png", number)
        lines.append(f"images\\{number}.png;{label}")
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def zipped(root: Path) -> Path:
    folders(root / "in", [*NAMES], "My Faces", ("Training", "PublicTest"))
    (root / "in/README.md").touch()
    with zipfile.ZipFile(root / "faces.zip", "w") as archive:
        for path in (root / "in").rglob("*.*"):
            archive.write(path, path.relative_to(root / "in"))
    return root / "faces.zip"


FORMS = {
    "folders": (lambda root: folders(root, [*NAMES]), "folder", {}, 6),
    "folders in folders of splits": (
        lambda root: folders(root, [*NAMES], "", ("train", "val_set", "TEST")), "folder", {}, 18,
    ),
    "folders above folders of splits": (
        lambda root: [folders(root / name, ["train", "test"]) for name in NAMES][0].parent, "folder", {}, 12,  # noqa: RUF015
    ),
    "codes": (lambda root: folders(root, ["0", "1", "2"]), "folder", {"names": CODES}, 6),
    "codes in a folder around": (
        lambda root: folders(root, ["0", "1", "2"], "MMAFEDB", ("train", "test")), "folder", {"names": CODES}, 12,
    ),
    "some codes": (lambda root: folders(root, ["Angry", "Happy", "2"]), "folder", {"names": "2=sadness"}, 6),
    "table": (table, "table", {}, 6),
    "table of another name": (lambda root: table(root, "list.csv") / "list.csv", "table", {}, 6),
    "zip": (zipped, "folder", {}, 12),
}  # fmt: skip


def run(path: Path, *options: str, answers: str | None = None) -> str:
    done = CliRunner().invoke(app, ["import", str(path), *options], input=answers)
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mine")


@pytest.mark.parametrize(("make", "form", "options", "images"), FORMS.values(), ids=FORMS)
def test_images_are_recognised_and_all_of_them_are_read(project, mine, make, form, options, images):
    source = make(mine)
    printed = run(source, "--yes", *(part for key, value in options.items() for part in (f"--{key}", value)))
    assert f": {form}" in printed
    assert f"{images} images" in printed
    if form == "table":
        assert "splits: 6 without a split; label draws valid and test\n" in printed
    assert printed.endswith("Train on these images:\n\n    dvc exp run\n\n")
    p = params.load()
    assert (p.datasets, p.gan, p.classes) == ([form], "none", ["happiness", "sadness", "anger"])
    ingest.run(p, form)
    assert json.loads(Path(f"metrics/ingest/{form}.json").read_text())["kept"] == images
    link = Path("data/raw", form)
    assert link.is_symlink()
    assert link.resolve() == (source if source.suffix != ".csv" else source.parent).resolve()


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
@pytest.mark.parametrize("top", ["", "My Faces/", "a/b/"])
@pytest.mark.parametrize("beside", [(), ("README.md", "paper/a.pdf", "__MACOSX/._a.png")])
def test_an_archive_is_read_like_the_folder(mine, splits, top, beside):
    folders(mine / "in", [*NAMES], top, splits)
    for name in beside:
        (mine / "in" / name).parent.mkdir(exist_ok=True)
        (mine / "in" / name).touch()
    for kind in ("zip", "gztar"):
        shutil.make_archive(str(mine / "set"), kind, mine / "in")
    found = [recognise(mine / name, {}, [], "aligned", None) for name in ("in", "set.zip", "set.tar.gz")]
    first, *others = [(one.form, one.part.folder, one.splits(), [*one.listing]) for one in found]
    assert first[2] == dict.fromkeys(splits, 6)
    assert others == [first, first]


def test_names_in_a_zip_of_macos_are_utf8(project, mine):
    names = [f"{folder}/Müller 안나 {number}.png" for folder in ("happy", "sad") for number in range(3)]
    with zipfile.ZipFile(mine / "faces.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, cv2.imencode(".png", odd.pixels(number))[1].tobytes())
    data = bytearray((mine / "faces.zip").read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # take away the flag that says UTF-8
        for match in re.finditer(re.escape(header), bytes(data)):
            data[match.start() + flags + 1] &= ~0x08
    (mine / "faces.zip").write_bytes(data)
    run(mine / "faces.zip", "--yes")
    ingest.run(params.load(), "folder")
    ids = pq.read_table("data/ingested/folder.parquet")["id"].to_pylist()
    assert ids == sorted(f"folder/{name}" for name in names)


def test_votes_tell_the_classes(project, mine):
    write(mine / "images/a.png", 1)
    (mine / "labels.csv").write_text("image,Happy,pain,NF\na.png,3.0,7.0,0.0\n")
    printed = run(mine, "--yes", "--names", "pain=pain")
    assert "  happiness 3 votes\n  pain 7 votes\n" in printed
    assert params.load().classes == ["happiness", "pain"]


def test_names_of_other_images_are_forgotten(project, mine):
    run(folders(mine / "first", ["0", "1"]), "--yes", "--names", "0=anger,1=sad")
    Path("data/raw/folder").unlink()
    with pytest.raises(UserError, match=r"--names '0=\.\.\.,1="):
        run(folders(mine / "second", ["0", "1"]), "--yes")


def test_it_asks_about_names_and_changes_nothing_before(project, mine):
    folders(mine, ["0", "1", "lustig"])
    before = Path("params.yaml").read_bytes()
    done = CliRunner().invoke(app, ["import", str(mine)], input="anger\nsad\nhappy\nn\n")
    assert done.exit_code == 1
    assert Path("params.yaml").read_bytes() == before
    assert not Path("data").exists()
    printed = run(mine, answers="anger\nsad\nhappy\ny\n")
    assert "0 -> ? 2" in printed
    assert "lustig -> happiness 2" in printed
    p = params.load()
    assert p.ingest.names == {"0": "anger", "1": "sadness", "lustig": "happiness"}
    assert p.classes == ["happiness", "sadness", "anger"]
    ingest.run(p, "folder")


def test_labels_of_their_own_become_classes(project, mine):
    folders(mine, ["No pain", "Schmerz", "3"])
    printed = run(mine, answers="-\n\npain\ny\n")
    assert "No pain (2) [no_pain]" in printed
    p = params.load()
    assert p.classes == ["no_pain", "pain"]
    assert p.ingest.names == {"3": "unknown", "No pain": "no_pain", "Schmerz": "pain"}
    ingest.run(p, "folder")


def test_the_rest_of_params_yaml_stays(project, mine):
    before = Path("params.yaml").read_text().splitlines()
    run(folders(mine, [*NAMES]), "--yes")
    after = Path("params.yaml").read_text().splitlines()
    removed = [line for line in before if line not in after]
    assert [line.split(":")[0] for line in removed] == [
        "- sample",
        "- neutral",
        "- surprise",
        "- disgust",
        "- fear",
        "- contempt",
        "gan",
    ]
    run(mine, "--yes")  # again: the link is there, and nothing changes
    assert Path("params.yaml").read_text().splitlines() == after


def test_a_copy_that_is_killed_is_made_anew(project, mine):
    source = folders(mine / "in", [*NAMES])
    image = next((source / "Happy").iterdir())
    for number in range(3000):
        shutil.copy(image, source / f"Happy/more{number}.png")
    command = [sys.executable, "-m", "pipeline", "import", str(source), "--copy", "--yes"]
    raw = Path("data/raw")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while first.poll() is None and not (raw.is_dir() and os.listdir(raw)):
        pass
    first.kill()
    first.wait()
    run(source, "--copy", "--yes")
    assert os.listdir(raw) == ["folder"]
    assert len(os.listdir(raw / "folder/Happy")) == len(os.listdir(source / "Happy"))


def test_copies_stay_when_the_source_goes(project, mine):
    run(folders(mine / "in", [*NAMES]), "--copy", "--yes")
    shutil.rmtree(mine / "in")
    ingest.run(params.load(), "folder")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda root: root / "absent", [], "absent: not found, expected: a folder, an archive or a table"),
        (lambda root: root, [], "found nothing; expected: folders named after classes, a table"),
        (lambda root: folders(root, ["happy"]), [], "found the classes happiness, expected: at least two"),
        (lambda root: folders(root, ["0", "1"]), [], "expected: --names '0=...,1=...', with a class or - for each"),
        (lambda root: folders(root, ["0", "1"]), ["--names", "0"], "--names: found '0', allowed: LABEL=CLASS"),
        (lambda root: folders(root, ["0", "1"]), ["--names", "0=no pain"], "class: found 'no pain', allowed: a letter"),
        (lambda root: folders(root, ["0", "1"]), ["--names", "0=hapiness,1=sad"], "found 'hapiness', allowed: happ"),
        (lambda root: folders(root, [*NAMES]), ["--names", "Hapy=anger"], "found 'Hapy', allowed: labels of"),
        (lambda root: table(table(root), "b.csv") / "b.csv", [], "b.csv: found other tables beside it (labels.csv)"),
        (lambda root: folders(root, [*NAMES]), ["--form", "folders"], "--form: found 'folders', allowed: affectnet"),
        (lambda root: folders(root, [*NAMES]), ["--form", "ferplus"], "expected: FER2013Train/"),
        (lambda root: folders(folders(root, [*NAMES]), ["."]), [], "2 of 8 records would be left out"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_line_and_changes_nothing(project, mine, make, options, message):
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError) as error:
        run(make(mine), "--yes", *options)
    assert message in str(error.value)
    assert Path("params.yaml").read_bytes() == before
    assert not Path("data").exists()


def test_raf_db_is_imported_with_the_images_that_are_there(project, mine):
    for split in ("train", "test"):
        for code in (1, 4):
            write(mine / f"DATASET/{split}/{code}/{split}_0000{code}_aligned.jpg", code)
    printed = run(mine, "--yes")
    assert ": rafdb, 4 images" in printed
    p = params.load()
    assert (p.ingest.rafdb, p.align.modes) == ("aligned", {"rafdb": "none"})
    ingest.run(p, "rafdb")


@pytest.mark.parametrize("kind", ["original", "aligned"])
@pytest.mark.parametrize("options", [[], ["--form", "rafdb"]])
def test_the_code_0_of_raf_db_is_told_whatever_images_are_chosen(project, mine, kind, options):
    (mine / "EmoLabel").mkdir()
    (mine / "EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 0\ntest_0001.jpg 6\n")
    write(mine / f"Image/{kind}/test_0001{'_aligned' * (kind == 'aligned')}.jpg", 1)
    with pytest.raises(
        UserError, match="row 1: found the code 0: codes that count from 0 stand for other classes"
    ):
        run(mine, "--yes", *options)


def test_columns_and_images_that_are_not_there_are_shown(project, mine):
    table(mine)
    text = (mine / "labels.csv").read_text().replace("emotion", "emotion;mood")
    lines = [f"{line};x" if number else line for number, line in enumerate(text.splitlines())]
    (mine / "labels.csv").write_text("\n".join([*lines, "absent.png;sad;x"]) + "\n")
    (mine / "images/0.png").rename(mine / "images/0.a|b.png")  # `|` stands between a shard and a row
    (mine / "labels.csv").write_text((mine / "labels.csv").read_text().replace("0.png", "0.a|b.png"))
    with pytest.raises(UserError, match="1 of 7 records would be left out"):
        run(mine, "--yes")
    printed = run(mine, "--yes", "--accept-rejected")
    assert "columns that are not read: mood\n" in printed
    assert "images that are not there: 1 (images/absent.png)\n" in printed


def test_rows_without_a_label_are_not_asked_about(project, mine):
    table(mine)
    with (mine / "labels.csv").open("a") as file:
        file.write("0.png;\n")
    with pytest.raises(UserError, match="1 of 7 records would be left out"):
        run(mine, "--yes")
    assert "left out, no_label: 1 (labels.csv, row 8): the row has no label" in run(mine, answers="y\ny\n")


def test_what_is_no_data_set_in_any_form_is_one_line(project, mine):
    write(mine / "a.png", 1)
    with pytest.raises(UserError, match=r"a.png: found a file that is no archive") as error:
        run(mine / "a.png", "--yes")
    assert "\n" not in str(error.value)


def test_what_is_wrong_with_data_yaml_is_told(project, mine):
    for split in ("train", "valid"):
        write(mine / split / "images/a.png", 1)
        (mine / split / "labels").mkdir()
        (mine / split / "labels/a.txt").write_text("0 .5 .5 .5 .5\n")
    (mine / "data.yaml").write_text("names: [happy, 'sad\n")
    with pytest.raises(UserError, match=r"data.yaml"):
        run(mine, "--yes")


def test_images_to_train_on_are_needed(project, mine):
    with pytest.raises(
        UserError, match=r"found valid 6, test 6, expected: images of train, or without a split"
    ):
        run(folders(mine, [*NAMES], "", ("val", "test")), "--yes")


def test_a_label_may_hold_the_sign_of_the_option(project, mine):
    run(folders(mine, ["class=1", "tired, sad"]), "--yes", "--names", "class=1=happy,tired, sad=sad,")
    assert params.load().ingest.names == {"class=1": "happiness", "tired, sad": "sadness"}


def test_all_files_that_are_not_read_are_counted(project, mine):
    folders(mine, [*NAMES])
    for number in range(9):
        (mine / f"{number}.txt").touch()
    assert "not read: 4.txt\nnot read: 4 more files\n" in run(mine, "--yes")


def test_a_copy_has_what_links_lead_to_and_leaves_out_what_is_no_file(project, mine):
    folders(mine / "in", [*NAMES])
    write(mine / "elsewhere.png", 9)
    (mine / "in/sad/3.png").symlink_to("nowhere.png")
    os.mkfifo(mine / "in/sad/4.png")
    (mine / "in/sad/5.png").symlink_to(mine / "elsewhere.png")
    (mine / "in/sad/up").symlink_to("..")
    (mine / "in/Happy/back").symlink_to("../sad")
    printed = run(mine / "in", "--yes", "--accept-rejected", "--copy")
    assert "links to images elsewhere, which only --copy reads: 2 (" in printed
    assert "not copied, because they are no files: 4 (" in printed
    shutil.rmtree(mine)
    copied = Path("data/raw/folder")
    assert sorted(os.listdir(copied / "sad")) == ["1.png", "2.png", "5.png"]
    assert sorted(os.listdir(copied / "Happy/back")) == ["1.png", "2.png", "5.png"]
    assert not any(path.is_symlink() for path in copied.rglob("*"))


def test_a_copy_takes_the_place_of_a_link(project, mine):
    run(folders(mine, [*NAMES]), "--yes")
    assert Path("data/raw/folder").is_symlink()
    run(mine, "--yes", "--copy")
    assert not Path("data/raw/folder").is_symlink()
    shutil.rmtree(mine)
    ingest.run(params.load(), "folder")


def test_what_ingest_would_stop_at_stops_the_import(project, mine):
    for name in ("Happy", "sad"):
        write(mine / f"there/{name}.png", 1)
        (mine / f"in/{name}").mkdir(parents=True)
        (mine / f"in/{name}/1.png").symlink_to(mine / f"there/{name}.png")
    with pytest.raises(UserError, match="2 of 2 records would be left out"):
        run(mine / "in", "--yes")
    for number in range(4):
        write(mine / f"table/images/{number}.png", number)
    rows = [f"{number}.png,{('happy', 'sad')[number % 2]},train" for number in range(4)]
    (mine / "table/labels.csv").write_text("\n".join(["image,label,split", *rows, "1.png,sad,test"]))
    with pytest.raises(UserError, match="1 of 5 records would be left out"):
        run(mine / "table", "--yes")
    printed = run(mine / "table", "--yes", "--accept-rejected")
    assert ": table, 4 images" in printed
    assert "has the same name in the split train, this one in test" in " ".join(printed.split())


def test_an_earlier_consent_to_rejected_records_does_not_last(project, mine):
    table(mine)
    with (mine / "labels.csv").open("a") as file:
        file.write("0.png;\n")
    run(mine, "--yes", "--accept-rejected")
    assert params.load().ingest.rejected == "accept"
    Path("data/raw/table").unlink()
    run(table(mine / "more"), "--yes")
    assert params.load().ingest.rejected == "stop"


def test_a_slip_is_asked_about_again(project, mine):
    folders(mine, ["0", "1"])
    printed = run(mine, answers="hapy\nhappy\nsad\ny\n")
    assert "Error: class: found 'hapy', allowed: happiness" in printed
    assert params.load().ingest.names == {"0": "happiness", "1": "sadness"}


def test_it_is_said_why_a_published_form_was_not_taken(project, mine):
    pixels = " ".join(["0"] * 2304)
    rows = [(("Training", "PublicTest", "PrivateTest")[n % 3], n) for n in range(9)]
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = [f"{usage},fer{n:07}.png,{4 * (n % 2)},{4 - n % 2},0,0,0,0,0,0,0,0" for usage, n in rows]
    (mine / "fer2013new.csv").write_text("\n".join([head, *votes]))
    lines = [f"{n % 7},{pixels},{usage}" for usage, n in rows]
    (mine / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))
    assert ": ferplus, 9 images" in run(mine, "--yes")
    (mine / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines[:-1]]))
    printed = run(mine, "--yes")
    assert ": fer2013, 8 images" in printed
    assert "not ferplus: " in printed
    assert "found 9 rows, expected: 8" in printed


def test_of_several_tables_those_without_images_do_not_count(project, mine):
    table(mine, "train.csv")
    shutil.copy(mine / "train.csv", mine / "test.csv")
    for number in range(3):
        write(mine / f"images/more{number}.png", 10 + number)
    (mine / "test.csv").write_text("File Name;emotion\nmore0.png;sad\nmore1.png;happy\n")
    (mine / "sample_submission.csv").write_text("id,label\n")
    printed = run(mine, "--yes")
    assert ": table, 8 images" in printed
    assert "tables without a readable column of images: sample_submission.csv\n" in printed
    shutil.copy(mine / "train.csv", mine / "people.csv")
    with pytest.raises(
        UserError, match=r"found the tables people\.csv, test\.csv, train\.csv; expected: one table"
    ):
        run(mine, "--yes")


def test_tar_files_of_folders_of_classes_are_not_taken_for_shards(project, mine):
    for split in ("train", "test"):
        folders(mine / split, [*NAMES])
        with tarfile.open(mine / f"{split}.tar", "w") as archive:
            for name in NAMES:
                archive.add(mine / split / name, name)
        shutil.rmtree(mine / split)
    with pytest.raises(UserError, match=r"found test\.tar, train\.tar; expected: ") as error:
        run(mine, "--yes")
    assert "folders named after classes" in str(error.value)


def test_a_linked_folder_is_left_out_only_on_request(project, mine):
    folders(mine / "in", [*NAMES], "faces/train")
    (mine / "more").mkdir()
    (mine / "in/faces/test").symlink_to(mine / "more")
    with pytest.raises(UserError, match=r"links to folders are not followed \(faces/test\), so"):
        run(mine / "in", "--yes")
    run(mine / "in", "--yes", "--accept-rejected")
    ingest.run(params.load(), "folder")


def test_other_files_in_the_place_are_never_replaced(project, mine):
    write(Path("data/raw/folder/happy/old.png"), 1)
    with pytest.raises(UserError, match="data/raw/folder: found other files, expected: nothing"):
        run(folders(mine, [*NAMES]), "--yes")
    assert Path("data/raw/folder/happy/old.png").exists()


# CK+48 and FER2013 in folders are folders of classes too, and the pixels of FER+ are FER2013.
@pytest.mark.parametrize("dataset", sorted(LAYOUTS.keys() - {"ckplus", "fer2013", "ferplus"}))
def test_a_published_layout_is_not_taken_for_folders_of_classes(tmp_path, dataset):
    for number, (_, layout) in enumerate(layouts(dataset, 6)):
        for place, content in layout.files.items():
            (tmp_path / str(number) / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / str(number) / place).write_bytes(content)
        assert recognise(tmp_path / str(number), {}, [], layout.rafdb, None).form == dataset
