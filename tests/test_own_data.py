"""Own images in `folder` and `table`, in the forms in which people have them: every file is read or named."""

import csv
import json
import shutil
import unicodedata
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.stages import ingest
from tests import odd_images as odd
from tests import toy

ROOT = {name: Path("data/raw", name) for name in ("folder", "table")}


def write(*places: str, form: str = "folder") -> None:
    for place in places:
        path = ROOT[form] / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            cv2.imwrite(str(path), odd.pixels(sum(place.encode())))
        else:
            path.write_text("text")


def ingested(form: str = "folder", p=toy.SHIPPED) -> dict[str, tuple[str, str | None]]:
    """Ingest, and return the label and the split of each record."""
    ingest.run(p, form)
    rows = pq.read_table(f"data/ingested/{form}.parquet").to_pylist()
    return {row["id"].removeprefix(f"{form}/"): (row["label"], row["split"]) for row in rows}


def listed(form: str = "folder") -> dict[str, str]:
    """Return the reason for each rejected row and each file that was not read."""
    with open(f"data/ingested/{form}.rejected.csv", newline="") as file:
        return {
            row["file"] + f":{row['row']}" * (row["row"] != "0"): row["reason"]
            for row in csv.DictReader(file)
        }


def counts(form: str = "folder") -> tuple[int, int, int]:
    metrics = json.loads(Path(f"metrics/ingest/{form}.json").read_text())
    return metrics["kept"], sum(metrics["rejected"].values()), metrics.get("files_not_read", 0)


def with_names(**names: str):
    return toy.SHIPPED.model_copy(update={"ingest": toy.SHIPPED.ingest.model_copy(update={"names": names})})


# ---------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("form", ["{split}/{name}", "{name}/{split}"])
@pytest.mark.parametrize(
    "splits", [("Training", "Testing"), ("train_set", "test_set"), ("TRAIN", "PrivateTest")]
)
def test_splits_lie_above_or_below_classes(project, form, splits):
    places = [
        form.format(split=split, name=name) + "/a.png"
        for split in splits
        for name in ("happy", "Sad", "3_Fear")
    ]
    write(*places)
    labels = ["happiness", "sadness", "fear"] * 2
    of_splits = ["train"] * 3 + ["test"] * 3
    assert ingested() == dict(zip(places, zip(labels, of_splits, strict=True), strict=True))
    assert counts() == (6, 0, 0)
    assert pq.read_schema("data/ingested/folder.parquet").metadata[b"draw"] == b"valid"


def test_images_outside_are_refused_by_name_or_listed(project):
    write("train/happy/a.png", "test/b.png", "happy/c.png", "notes/d.png", "notes/e.txt", "README")
    with pytest.raises(UserError) as error:
        ingested()
    message = str(error.value)
    assert message.startswith(
        "data/raw/folder: rejected 3 of 4 records, allowed: a tenth, or any number with ingest.rej"
    )
    assert "no_split 3 (such as " in message
    assert "\n" not in message
    assert not Path("data/ingested/folder.parquet").exists()
    assert ingested(p=toy.PARAMS) == {"train/happy/a.png": ("happiness", "train")}
    assert listed() == {
        **dict.fromkeys(("test/b.png", "happy/c.png", "notes/d.png"), "no_split"),
        **dict.fromkeys(("notes/e.txt", "README"), "not_read"),
    }
    assert counts() == (1, 3, 2)


@pytest.mark.parametrize("top", ["MMAFEDB", "archive (1)/data"])
def test_one_folder_around_them_is_entered(project, top):
    write(f"{top}/train/happy/a.png", f"{top}/valid/sad/b.png", f"{top}/test/happy/c.png", "README.md")
    assert ingested() == {
        "train/happy/a.png": ("happiness", "train"),
        "valid/sad/b.png": ("sadness", "valid"),
        "test/happy/c.png": ("happiness", "test"),
    }
    assert listed() == {"README.md": "not_read"}


def test_beside_the_folder_that_is_entered_may_lie_folders_of_documents(project):
    write(
        "faces/happy/a.png",
        "faces/sad/b.png",
        "docs/paper.pdf",
        "src/a.py",
        "src/lib/b.py",
        "__MACOSX/faces/._a.png",
    )
    assert set(ingested()) == {"happy/a.png", "sad/b.png"}
    assert listed() == {"docs/": "not_read", "src/": "not_read"}
    assert counts() == (2, 0, 3)


@pytest.mark.parametrize("top", ["FER faces", "data/raw"])
def test_one_folder_around_folders_of_classes_is_entered(project, top):
    write(f"{top}/happy/a.png", f"{top}/sad/b.png", "README.md")
    assert set(ingested()) == {"happy/a.png", "sad/b.png"}


@pytest.mark.parametrize(
    "above", [("first/train", "second/train"), ("test/S01", "train/S02"), ("test/test", "train/train")]
)
def test_folders_of_classes_that_lie_too_deep_are_named(project, above):
    write(f"{above[0]}/happy/a.png", f"{above[1]}/sad/b.png")
    with pytest.raises(
        UserError, match=f"found folders of classes in {above[0]}/, {above[1]}/, expected: one"
    ):
        ingested()


def test_a_split_whose_classes_nothing_knows_is_rejected_by_their_names(project):
    write("train/happy/a.png", "train/sad/b.png", "test/0/c.png", "test/1/d.png")
    with pytest.raises(UserError, match=r"unknown_label 2 \(such as test/.*: found '[01]'"):
        ingested()
    assert ingested(p=with_names(**{"0": "sadness", "1": "fear"}))["test/1/d.png"] == ("fear", "test")


@pytest.mark.parametrize("top", ["", "train/", "data/train/"])
def test_codes_for_classes_need_names(project, top):
    write(*(f"{top}{code}/a.png" for code in range(7)))
    with pytest.raises(UserError, match=r"found '0', '1', '2', '3', '4', '5', '6' where .*`fer import`"):
        ingested()
    classes = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    labels = ingested(p=with_names(**dict(zip("0123456", classes, strict=True))))
    assert tuple(label for _, (label, _) in sorted(labels.items())) == classes


@pytest.mark.parametrize(
    ("target", "reason"),
    [("all/happy", ""), ("../../../elsewhere", "outside_folder"), ("..", "no_label")],
)
def test_a_class_may_be_a_link_inside_the_tree(project, target, reason):
    """Of one that leads elsewhere the remedy is named."""
    write(*(f"train/sad/{number}.png" for number in range(20)))
    Path("elsewhere").mkdir()
    if target.startswith("all"):
        write("all/happy/a.png")
    Path("data/raw/folder/train/happy").symlink_to("../" + target if target != ".." else "..")
    records = ingested(p=toy.PARAMS)
    if not reason:
        assert records["train/happy/a.png"] == ("happiness", "train")
        assert listed() == {"all/happy/a.png": "no_split"}
        return
    assert len(records) == 20
    assert listed() == {"train/happy": reason}


@pytest.mark.parametrize("archived", [False, True])
def test_a_linked_folder_is_never_one_record_of_many(project, archived):
    """Nobody knows how many images it holds: here all of test."""
    write(*(f"faces/train/{name}/{number}.png" for name in ("happy", "sad") for number in range(9)))
    Path("elsewhere").mkdir()
    root = ROOT["folder"]
    (root / "faces/test").symlink_to(Path("elsewhere").resolve())
    if archived:
        shutil.make_archive("set", "tar", root)
        shutil.rmtree(root)
        root.symlink_to("../../set.tar")
    with pytest.raises(
        UserError, match=r"found links to folders, which are not followed: faces/test; expected"
    ):
        ingested()
    assert len(ingested(p=toy.PARAMS)) == 18


def test_what_is_linked_at_the_top_is_read(project):
    write("sad/a.png")
    Path("elsewhere").mkdir()
    cv2.imwrite("elsewhere/b.png", odd.pixels(1))
    Path("data/raw/folder/happy").symlink_to("../../../elsewhere")
    assert set(ingested()) == {"sad/a.png", "happy/b.png"}


def test_a_file_of_hugging_faces_cache_is_read(project):
    write("sad/a.png")
    blob = Path("blobs", "ab" * 32)
    blob.parent.mkdir()
    cv2.imwrite("blobs/b.png", odd.pixels(1))
    Path("blobs/b.png").rename(blob)
    Path("data/raw/folder/sad/b.png").symlink_to(Path("../../../..", blob))
    assert set(ingested()) == {"sad/a.png", "sad/b.png"}


# ----------------------------------------------------------------------------------------------------- tables


def table(header: str, *rows: str, name: str = "labels.csv") -> None:
    ROOT["table"].mkdir(parents=True, exist_ok=True)
    (ROOT["table"] / name).write_text("\n".join((header, *rows)) + "\n")


def test_spellings_of_labels_and_splits_cost_no_row(project):
    labels = ["Happy", "SAD", "angry ", "Suprise", "no face", "Neutral", "3_fear", "DISGUSTED"]
    write(*(f"images/{number}.png" for number in range(64)), form="table")
    splits = ("Training", "val", "PrivateTest")
    table("image,label,split", *(f"{n}.png,{labels[n % 8]},{splits[n % 3]}" for n in range(64)))
    assert len(ingested("table")) == 64
    assert counts("table") == (64, 0, 0)


def test_an_empty_cell_is_no_split(project):
    write("images/a.png", "images/b.png", form="table")
    table("image,label,split", "a.png,sad,", "b.png,happy,test")
    assert ingested("table") == {"a.png": ("sadness", None), "b.png": ("happiness", "test")}
    (ROOT["table"] / "labels.csv").unlink()
    table("image,label,split", "a.png,sad,", name="train.csv")
    table("image,label,split", "b.png,happy,", name="test.csv")
    assert ingested("table") == {"a.png": ("sadness", "train"), "b.png": ("happiness", "test")}


@pytest.mark.parametrize("bad", ["hapy", "?"])
def test_a_table_that_loses_half_of_its_rows_stops(project, bad):
    write(*(f"images/{number}.png" for number in range(64)), form="table")
    table("image,label", *(f"{n}.png,{bad if n % 2 else 'sad'}" for n in range(64)))
    with pytest.raises(UserError) as error:
        ingested("table")
    assert (
        "rejected 32 of 64 records, allowed: a tenth, or any number with ingest.rejected: accept. Found "
        in str(error.value)
    )
    assert f"unknown_label 32 (such as labels.csv, row 3: found '{bad}', " in str(error.value)
    assert ("did you mean happiness?" in str(error.value)) == (bad == "hapy")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_another_unicode_form_are_found(project, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    write("images/" + unicodedata.normalize(form, "José.png"), form="table")
    table("image,label", unicodedata.normalize(other, "José.png") + ",sad")
    assert ingested("table") == {"José.png": ("sadness", None)}


def test_files_of_splits_and_parquet(project):
    write("images/a.png", "images/sub/b.png", form="table")
    table("filename;emotion", "a.png;happy", name="train.csv")
    pq.write_table(
        pa.table({"path": ["images/sub/b.png"], "target": ["Sad"], "idx": [0]}), "data/raw/table/test.parquet"
    )
    assert ingested("table") == {"a.png": ("happiness", "train"), "sub/b.png": ("sadness", "test")}


def test_a_parquet_table_is_opened_as_carefully_as_a_shard(project):
    write("images/a.png", form="table")
    path = Path("data/raw/table/labels.parquet")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"labels\.parquet: found a pointer of Git LFS; `git lfs pull`"):
        ingested("table")
    texts = pa.array([b"\xff"], pa.binary()).buffers()
    pq.write_table(
        pa.table({"image": ["a.png"], "label": pa.Array.from_buffers(pa.string(), 1, texts)}), path
    )
    with pytest.raises(UserError, match=r"labels\.parquet: cannot be read as Parquet: 'utf-8' codec"):
        ingested("table")


def test_rows_that_disagree_about_a_face_are_rejected(project):
    write("images/two.png", *(f"images/{number}.png" for number in range(20)), form="table")
    rows = [f"{number}.png,sad,,,," for number in range(20)]
    table("image,label,x1,y1,x2,y2", *rows, "two.png,sad,1,1,5,5", "two.png,happy,6,2,15,11")
    assert {name: label for name, (label, _) in ingested("table").items() if "two" in name} == {
        "two.png#1,1,5,5": "sadness",
        "two.png#6,2,15,11": "happiness",
    }
    table("image,label,x1,y1,x2,y2", *rows, "two.png,sad,,,,", "two.png,happy,,,,")
    assert "two.png" not in ingested("table")
    assert listed("table") == {"labels.csv:22": "contradictory_label", "labels.csv:23": "contradictory_label"}


@pytest.mark.parametrize(
    ("cells", "votes"), [("8.0,2.0", (8, 2)), ("0.8,0.2", (800, 200)), ("0.125,.875", (125, 875))]
)
def test_votes_may_be_floats_or_shares(project, cells, votes):
    write("images/a.png", form="table")
    table("image,happy,sad", f"a.png,{cells}")
    ingested("table")
    (row,) = pq.read_table("data/ingested/table.parquet").to_pylist()
    assert (row["votes"]["happiness"], row["votes"]["sadness"]) == votes


@pytest.mark.parametrize("other", ["angle", "ear", "face", "imageId", "labeler", "context", "range"])
def test_a_column_beside_labels_is_no_misspelt_class(project, other):
    write("images/a.png", form="table")
    table(f"image,label,{other}", "a.png,sad,7")
    assert ingested("table") == {"a.png": ("sadness", None)}
    table(f"image,happy,sad,{other}", "a.png,1,0,7")
    if other in ("angle", "ear", "context", "range"):
        with pytest.raises(UserError, match=f"found the column {other}, did you mean"):
            ingested("table")


def test_an_empty_cell_makes_no_shares_of_votes(project):
    write(*(f"images/{number}.png" for number in range(20)), form="table")
    table("image,happy,sad", "0.png,,1", *(f"{number}.png,1,0" for number in range(1, 20)))
    assert len(ingested("table")) == 19
    rows = pq.read_table("data/ingested/table.parquet").to_pylist()
    assert {(row["votes"]["happiness"], row["votes"]["sadness"]) for row in rows} == {(1, 0)}
    assert listed("table") == {"labels.csv:2": "bad_votes"}


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "nan", "None", "null", "#N/A", "<NA>"])
def test_what_stands_for_an_unknown_value_is_no_person_no_attribute_and_no_box(project, missing):
    write(*(f"images/{name}.png" for name in "abc"), form="table")
    empty = ",".join([missing] * 6)
    table(
        "image,label,group,gender,x1,y1,x2,y2",
        f"a.png,sad,{empty}",
        f"b.png,sad,{empty}",
        "c.png,sad,3.0,female,1,1,9,9",
    )
    assert len(ingested("table")) == 3
    rows = pq.read_table("data/ingested/table.parquet").to_pylist()
    assert [row["group"] for row in rows] == [None, None, "3"]
    assert [row["box"] is None for row in rows] == [True, True, False]
    assert [dict(row["attributes"] or {}) for row in rows] == [{}, {}, {"gender": "female"}]


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "__MACOSX"])
def test_what_storage_keeps_for_itself_is_no_image(project, folder):
    write("happy/a.png", f"happy/{folder}/a.png/THUMB.png", f"{folder}/b.png", "sad/b.png")
    assert ingested() == {"happy/a.png": ("happiness", None), "sad/b.png": ("sadness", None)}
    assert listed() == {}


@pytest.mark.parametrize(
    ("header", "row", "reason", "detail"),
    [
        ("image,label,x1,y1,x2,y2", "{},sad,0.2,0.2,0.8,0.8", "bad_box", "expected: pixels, not shares"),
        ("image;label;x1;y1;x2;y2", "{};sad;1,5;2;9;9", "bad_box", "found the box 1,5, 2, 9, 9, expected: four"),
        ("image;happy;sad", "{};0,8;0,2", "bad_votes", "found '0,8'"),
    ],
)  # fmt: skip
def test_what_is_found_in_a_bad_cell_is_told(project, header, row, reason, detail):
    write(*(f"images/{number}.png" for number in range(2)), form="table")
    table(header, row.format("0.png"), row.format("1.png"))
    with pytest.raises(UserError) as error:
        ingested("table", toy.PARAMS)
    assert reason in str(error.value)
    assert detail in str(error.value)


def test_half_a_box_is_refused(project):
    write("images/a.png", form="table")
    table("image,label,left,top,width,height", "a.png,sad,1,1,5,5")
    with pytest.raises(UserError, match=r"found the columns left, top of a box, expected: x1, y1, x2, y2"):
        ingested("table")


def test_images_lie_beside_their_table_or_in_a_folder_of_its_name(project):
    write("a.png", "sub/B.png", form="table")
    table("image,label", "a.png,sad", "sub/b.png,1.0")
    assert ingested("table", with_names(**{"1": "happiness"})) == {
        "a.png": ("sadness", None),
        "sub/B.png": ("happiness", None),
    }


def test_names_of_images_may_lack_the_ending(project):
    write("images/a.png", "images/sub/b.c.png", "images/sub/d.png", "images/e.txt", form="table")
    table("image,label", "a,sad", "b.c,happy", "sub/d,fear")
    assert set(ingested("table")) == {"a.png", "sub/b.c.png", "sub/d.png"}
    table("image,label", "a,sad", "e,happy")
    with pytest.raises(UserError, match=r"missing_image 1 .*images/e does not exist"):
        ingested("table")
    write("images/sub/a.bmp.png", "images/two/d.png", form="table")
    table("image,label", "a,sad", "d,happy")
    with pytest.raises(UserError, match=r"ambiguous_image 1 \(such as labels.csv, row 3: found 2 files"):
        ingested("table")


@pytest.mark.parametrize("names", ["{}.csv", "{}_labels.csv", "labels.csv"])
@pytest.mark.parametrize("top", ["", "images/faces/"])
def test_of_images_of_one_name_the_one_in_the_folder_of_the_split_is_meant(project, names, top):
    write(f"{top}train/0.png", f"{top}Test/0.png", form="table")
    if names == "labels.csv":
        table("image,label,split", "0.png,sad,train", "0,happy,testing")
    else:
        for split, label in (("train", "sad"), ("test", "happy")):
            table("image,label", f"0.png,{label}", name=names.format(split))
    top = top.removeprefix("images/")
    assert ingested("table") == {
        f"{top}train/0.png": ("sadness", "train"),
        f"{top}Test/0.png": ("happiness", "test"),
    }


@pytest.mark.parametrize(
    ("row", "labels"), [("0,happy", ["happiness"]), ("sad,happy", ["sadness"]), ("sad,0", ["sadness"])]
)
def test_of_two_columns_of_labels_the_one_with_known_names_counts(project, row, labels):
    write("images/a.png", form="table")
    table("image,label,Emotion", f"a.png,{row}")
    assert [label for label, _ in ingested("table").values()] == labels


@pytest.mark.parametrize("header", ["image,path,label", "path,image,label"])
def test_of_two_columns_of_images_the_one_that_names_files_counts(project, header):
    write(*(f"images/{number}.png" for number in range(4)), form="table")
    rows = ((number + 1, f"images/{number}.png", ("happy", "sad")[number % 2]) for number in range(4))
    numbers_first = header.startswith("image")
    table(header, *(",".join(map(str, row if numbers_first else (row[1], row[0], row[2]))) for row in rows))
    assert ingested("table") == {
        f"{number}.png": (("happiness", "sadness")[number % 2], None) for number in range(4)
    }


@pytest.mark.parametrize(
    ("files", "images", "cell"),
    [
        ({"annotations/labels.csv": None}, "images/{}.png", "{}.png"),
        ({"data/fer.tsv": None}, "images/sub/{}.png", "../images/sub/{}.png"),
        ({"meta/train.csv": "train", "meta/test.csv": "test"}, "images/{}.png", "images/{}.png"),
        ({"train/labels.csv": "train", "Testing/labels.csv": "test"}, "{folder}/images/{}.png", "{}.png"),
    ],
)
def test_a_table_may_lie_below_the_top(project, files, images, cell):
    write("docs/notes.txt", form="table")
    expected = []
    for number, (file, split) in enumerate(files.items()):
        folder = file.partition("/")[0]
        names = (0, 1) if "{folder}" in images else (2 * number, 2 * number + 1)
        write(*(images.format(name, folder=folder) for name in names), form="table")
        (ROOT["table"] / folder).mkdir(exist_ok=True)
        table("image,label", *(f"{cell.format(name)},sad" for name in names), name=file)
        expected += [("sadness", split)] * 2
    assert sorted(ingested("table").values(), key=str) == sorted(expected, key=str)
    assert counts("table") == (len(expected), 0, 1)


def test_tables_below_the_top_that_could_all_be_meant_are_named(project):
    write("images/a.png", "other/a.txt", form="table")
    for name in ("a", "b"):
        table("image,label", "a.png,sad", name=f"other/{name}.csv")
    with pytest.raises(
        UserError, match=r"found the tables other/a.csv, other/b.csv; expected: one table, labels.csv, or a"
    ):
        ingested("table")


def test_of_a_path_on_another_machine_the_end_that_exists_counts(project):
    write("images/a.png", "images/train/b.png", "images/test/b.png", "images/c.png", form="table")
    table(
        "image,label", r"C:\faces\a.png,sad", "/content/data/train/b.png,fear", "/home/ann/images/c.png,happy"
    )
    assert set(ingested("table")) == {"a.png", "train/b.png", "c.png"}
    table("image,label", "c.png,sad", "/home/ann/d.png,happy", "/home/../c.png,happy", "/b.png,fear")
    with pytest.raises(
        UserError, match=r"outside_folder 3 \(such as labels.csv, row 3: found '/home/ann/d.png'"
    ):
        ingested("table")


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("data/images/sub/a.png", True),
        (".\\data\\images\\sub\\a.png", True),
        ("../data/images/sub/a.png", True),
        ("../../faces/sub/a.png", True),
        ("dataset/sub/a.png", True),
        ("other/b.png", False),  # no folder of it is here
        ("../b.png", False),
        ("data/../images/b.png", False),
    ],
)
def test_of_a_relative_path_an_end_with_a_folder_counts(project, cell, found):
    write("images/sub/a.png", "images/b.png", form="table")
    table("image,label", f"{cell},sad")
    if found:
        assert ingested("table") == {"sub/a.png": ("sadness", None)}
    else:
        with pytest.raises(UserError, match=r"outside_folder|missing_image"):
            ingested("table")


def test_the_separator_that_excel_writes_above_the_header_is_no_header(project):
    write("images/a.png", "images/b.png", form="table")
    table("sep=;", "image;label", "a.png;sad", "b.png;happy")
    assert set(ingested("table")) == {"a.png", "b.png"}


def test_folders_of_people_are_no_classes(project):
    write("S01/happy/a.png", "S02/happy/b.png", "S02/sad/c.png")
    with pytest.raises(
        UserError, match=r"found folders of classes in S01/, S02/, expected: one folder for each class"
    ):
        ingested()


def test_a_folder_of_images_that_are_rejected_is_not_empty(project, capsys):
    write(
        *(
            f"{name}/{split}/{n}.png"
            for name in ("happy", "sad")
            for split in ("train", "test")
            for n in range(5)
        )
    )
    write("fear/a.png")
    assert len(ingested()) == 20
    assert listed() == {"fear/a.png": "no_split"}
    assert "no image in" not in capsys.readouterr().out


def test_empty_folders_are_named_and_no_splits(project, capsys):
    write("train_class/happy/a.png", "train_class/sad/b.png")
    for folder in ("train_class/fear", "test/happy"):
        (ROOT["folder"] / folder).mkdir(parents=True)
    assert {split for _, split in ingested().values()} == {"train"}
    assert pq.read_schema("data/ingested/folder.parquet").metadata[b"draw"] == b"valid,test"
    assert "no image in the folders test/happy, train_class/fear" in capsys.readouterr().out
