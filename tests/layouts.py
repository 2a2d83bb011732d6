"""Small random trees in the layout of each data set, good and bad rows in them, for tests of what becomes of each file.

No image is decoded at that level, so most images are a few bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tables.vocabulary import VOTES

CLASSES = ["happy", "Sad", "3_fear", "ANGER"]
SPLITS = ["train", "test", "val"]
PIXELS = " ".join(["7"] * 48 * 48)
BAD = ["puzzled", "", "-"]  # labels


@dataclass
class Layout:
    """A data set's files.

    Attributes:
        dataset: its name.
        files: content by place.
        rows: number of the rows of each file of labels.
        good: places of the images that must become records.
        aside: files whose rows are compared with others, and counted only if they are wrong.
        rafdb: value of `ingest.rafdb`.
    """

    dataset: str
    files: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)
    rafdb: str = "original"

    def image(self, place: str, good: bool = True) -> None:
        """Add an image."""
        self.files[place] = f"image {place}".encode()
        if good:
            self.good.add(place)

    def table(self, place: str, lines: list[str], header: str = "") -> None:
        """Add a file of labels with one row in each line."""
        text = [header] * bool(header) + lines
        self.files[place] = "".join(f"{line}\n" for line in text).encode()
        start = 1 + bool(header)
        self.rows[place] = [start + number for number, line in enumerate(lines) if line.strip(" ,")]


Form = Callable[[Random], Layout]
FORMS: dict[str, list[Form]] = {}


def form(function: Form) -> Form:
    """Register a form of a data set; the function's name begins with the data set's and two underscores."""
    FORMS.setdefault(function.__name__.partition("__")[0], []).append(function)
    return function


def some(rng: Random, most: int = 4) -> range:
    return range(rng.randint(1, most))


@form
def folder__classes(rng: Random) -> Layout:
    layout = Layout("folder")
    above = rng.choice(["", "split/", "class/"])
    for name in rng.sample(CLASSES, 2):
        for n in some(rng):
            split = rng.choice(["Training", "test"])
            places = {
                "": f"{name}/{n}.png",
                "split/": f"{split}/{name}/{n}.png",
                "class/": f"{name}/{split}/{n}.png",
            }
            layout.image(places[above])
    return layout


@form
def table__rows(rng: Random) -> Layout:
    layout, lines = Layout("table"), []
    boxed = rng.random() < 0.5
    for n in some(rng, 6):
        name = f"{rng.choice(['', 'sub/'])}{n}.png"
        kind = rng.choice(["good", "good", "absent", "bad", "twice", "contradictory"])
        box = ",1,1,5,5" if boxed else ""
        if kind != "absent":
            layout.image(f"images/{name}", kind in ("good", "twice"))
        lines.append(f"{name},{rng.choice(BAD) if kind == 'bad' else 'happy'}{box}")
        if kind in ("twice", "contradictory"):
            lines.append(f"{name},{'happy' if kind == 'twice' else 'sad'}{box}")
    layout.image("images/good.png")
    lines += ["", "good.png,happy" + ",1,1,5,5" * boxed, "a,b,c"]
    rng.shuffle(lines)
    layout.table("labels.csv", lines, "image,label" + ",x1,y1,x2,y2" * boxed)
    return layout


@form
def table__splits(rng: Random) -> Layout:
    layout = Layout("table")
    for split in ("train", "test"):
        names = [f"{split}{n}.png" for n in some(rng)]
        for name in names:
            layout.image(f"pictures/{name}")
        lines = [f"{name};{n % 3};1" for n, name in enumerate(names)] + ["absent.png;1;1"] * (
            rng.random() < 0.3
        )
        layout.table(f"{split}.csv", [*lines, "x;0;0"], "file;happy;sad")
    return layout


@form
def fer2013__csv(rng: Random) -> Layout:
    layout = Layout("fer2013")
    usages = ["Training", "PublicTest", "PrivateTest", "nowhere"]
    lines = [f"{rng.randint(0, 7)},{rng.choice([PIXELS, '1 2'])},{rng.choice(usages)}" for _ in some(rng)]
    layout.table("fer2013.csv", [*lines, "a,b", "", f"3,{PIXELS},Training"], "emotion,pixels,Usage")
    return layout


@form
def fer2013__train(rng: Random) -> Layout:
    layout = Layout("fer2013")
    layout.table("train.csv", [f"{rng.randint(0, 9)},{PIXELS}" for _ in some(rng)], "emotion,pixels")
    if rng.random() < 0.7:
        layout.table("test.csv", [PIXELS for _ in some(rng)], "pixels")
    return layout


@form
def fer2013__folders(rng: Random) -> Layout:
    layout = Layout("fer2013")
    for split in ("train", "test"):
        for n in some(rng):
            layout.image(f"{split}/{rng.choice(['angry', 'happy'])}/{rng.choice(['PublicTest_', ''])}{n}.jpg")
        layout.image(f"{split}/puzzled/a.jpg", good=False)
    return layout


VOTE = "8,0,0,2,0,0,0,0,0,0"


@form
def ferplus__folders(rng: Random) -> Layout:
    layout = Layout("ferplus")
    for first, name in ((0, "FER2013Train"), (10, "FER2013Test")):
        images = [f"fer{first + n:07d}.png" for n in some(rng)]
        for image in images:
            layout.image(f"{name}/{image}")
        layout.image(f"{name}/fer0000099.png", good=False)
        bad = ['fer0000050.png,"(0, 0, 48, 48)",' + VOTE, "bad,x", f'x.png,"(0, 0, 48, 48)",{VOTE}']
        lines = [f'{image},"(0, 0, 48, 48)",{VOTE}' for image in images] + rng.sample(bad, rng.randint(0, 3))
        layout.table(f"{name}/label.csv", lines)
    return layout


@form
def ferplus__votes(rng: Random) -> Layout:
    layout = Layout("ferplus")
    names = [rng.choice([f"fer{n:07d}.png", f"fer{n:07d}.png", "", "x.png"]) for n in some(rng, 6)]
    names.append("fer0000070.png")
    layout.table(
        "fer2013new.csv", [f"Training,{name},{VOTE}" for name in names], f"Usage,Image name,{','.join(VOTES)}"
    )
    folder, pixels = rng.choice([(True, False), (True, True), (False, True)])
    if pixels:
        layout.table("fer2013.csv", [f"6,{PIXELS},Training"] * len(names), "emotion,pixels,Usage")
        layout.rows.pop("fer2013.csv")  # they are images
        layout.aside.add("fer2013.csv")
    if folder:
        for name in names:
            if name.startswith("fer"):
                layout.image(f"FER2013Train/{name}")
        if rng.random() < 0.5:
            lines = [f'{n},"(0, 0, 48, 48)",{VOTE}' for n in ("fer0000000.png", "fer0000098.png")]
            layout.table("FER2013Train/label.csv", lines)
            layout.rows.pop("FER2013Train/label.csv")
            layout.aside.add("FER2013Train/label.csv")
    return layout


@form
def rafdb__official(rng: Random) -> Layout:
    layout, lines = Layout("rafdb", rafdb=rng.choice(["original", "aligned"])), []
    both = rng.random() < 0.5
    end = "_aligned" * (layout.rafdb == "aligned")
    for n in some(rng, 6):
        stem = f"{rng.choice(['train', 'test'])}_{n:05d}"
        lines.append(
            rng.choice([f"{stem}.jpg {rng.randint(1, 7)}"] * 3 + [f"{stem}.jpg 8", f"{n}.png 1", stem])
        )
        good = lines[-1].startswith(f"{stem}.jpg") and not lines[-1].endswith("8")
        if rng.random() < 0.8:
            layout.image(f"Image/{layout.rafdb}/{stem}{end}.jpg", good)
        if both:
            layout.files[
                f"Image/{'original' if end else 'aligned'}/{stem}{'' if end else '_aligned'}.jpg"
            ] = b"x"
        if rng.random() < 0.5:
            layout.files[f"Annotation/manual/{stem}_manu_attri.txt"] = b"1 2\n" * 5
            layout.files[f"Annotation/boundingbox/{stem}_boundingbox.txt"] = b"1 1 9 9"
            layout.files[f"Annotation/auto/{stem}_auto_attri.txt"] = b"1 2"
    layout.image(f"Image/{layout.rafdb}/test_0999{end}.jpg")
    layout.table("EmoLabel/list_patition_label.txt", [*lines, "test_0999.jpg 5"])
    return layout


@form
def rafdb__kaggle(rng: Random) -> Layout:
    layout = Layout("rafdb", rafdb="aligned")
    for split in ("train", "test"):
        lines = []
        for n in some(rng, 5):
            name, code = f"{split}_{n:05d}_aligned.jpg", rng.randint(1, 7)
            kind = rng.choice(["good", "good", "moved", "absent", "unlisted"])
            if kind != "absent":
                layout.image(f"DATASET/{split}/{code}/{name}", kind == "good")
            if kind != "unlisted":
                lines.append(f"{name},{code % 7 + 1 if kind == 'moved' else code}")
        layout.image(f"DATASET/{split}/3/{split}_00099_aligned.jpg")
        layout.table(f"{split}_labels.csv", [*lines, f"{split}_00099_aligned.jpg,3"], "image,label")
    if rng.random() < 0.3:
        for split in ("train", "test"):
            del layout.files[f"{split}_labels.csv"], layout.rows[f"{split}_labels.csv"]
    return layout


HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


@form
def affectnet__lists(rng: Random) -> Layout:
    layout = Layout("affectnet")
    lists = rng.choice(["", "Manually_Annotated_file_lists/"])
    for split in ("training", "validation"):
        lines = []
        for n in some(rng, 5):
            name = f"{n + 1}/{split}{n}.jpg"
            code = rng.choice([0, 1, 7, 8, 11])
            if rng.random() < 0.8:
                layout.image(f"Manually_Annotated_Images/{name}", code < 8)
            lines.append(f"{name},1,1,9,9,,{code},0,0")
        layout.image(f"Manually_Annotated_Images/1/{split}.jpg")
        lines += [f"1/{split}.jpg,1,1,9,9,,3,0,0", "x", f"1/{split}.jpg,1,1,9,9,,3,0,0"]
        header = HEADER if split == "training" or rng.random() < 0.5 else ""
        layout.table(f"{lists}{split}.csv", lines, header)
    layout.image("Manually_Annotated_Images/7/alone.jpg", good=False)
    return layout


@cache
def npy(text: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


@form
def affectnet__sets(rng: Random) -> Layout:
    layout = Layout("affectnet")
    for split in ("train_set", "val_set"):
        for n in some(rng, 5):
            code = rng.choice(["0", "1", "8", "x"])
            if rng.random() < 0.9:
                layout.image(f"{split}/images/{n}.jpg", code in "01")
            layout.files[f"{split}/annotations/{n}_exp.npy"] = npy(code)
            layout.files[f"{split}/annotations/{n}_val.npy"] = npy("0.1")
            if rng.random() < 0.5:
                layout.files[f"{split}/annotations/{n}_lnd.npy"] = b"torn"
        layout.image(f"{split}/images/alone.jpg", good=False)
        layout.image(f"{split}/images/99.jpg")
        layout.files[f"{split}/annotations/99_exp.npy"] = npy("3")
    return layout


@form
def ckplus__sequences(rng: Random) -> Layout:
    layout = Layout("ckplus")
    for subject in some(rng, 3):
        name, frames = f"S{subject:03d}/001", rng.randint(1, 6)
        label = rng.choice(["3.0", "3.0", "", "x"])
        for frame in range(frames):
            place = f"cohn-kanade-images/{name}/S{subject:03d}_001_{frame:08d}.png"
            layout.image(place, label == "3.0" and frame > 0 and frame >= frames - 3)
        layout.files[f"cohn-kanade-images/{name}/copy.png"] = b"x"
        if label:
            layout.files[f"Emotion/{name}/S{subject:03d}_001_{frames:08d}_emotion.txt"] = label.encode()
    layout.files["Emotion/S999/001/S999_001_00000001_emotion.txt"] = b"1.0"
    return layout


@form
def ckplus__folders(rng: Random) -> Layout:
    layout, root = Layout("ckplus"), rng.choice(["", "CK+48/"])
    for sequence, name in enumerate(("anger", "happy")):
        for n in some(rng):
            layout.image(f"{root}{name}/S{n:03d}_00{sequence}_00000017.png")
    layout.image(f"{root}other/S001_004_00000019.png", good=False)
    layout.image(f"{root}happy/1.png", good=False)
    return layout


@form
def facial_expressions__legend(rng: Random) -> Layout:
    layout, lines = Layout("facial_expressions"), []
    for n in some(rng, 6):
        kind = rng.choice(["good", "good", "absent", "bad", "twice", "contradictory", "unlisted"])
        if kind != "absent":
            layout.image(f"images/Ann_{n}.jpg", kind in ("good", "twice"))
        if kind != "unlisted":
            lines.append(f"1,Ann_{n}.jpg,{'puzzled' if kind == 'bad' else 'HAPPINESS'}")
        if kind in ("twice", "contradictory"):
            lines.append(f"2,Ann_{n}.jpg,{'happiness' if kind == 'twice' else 'fear'}")
    layout.image("images/Bo_1.jpg")
    layout.table(
        "data/legend.csv", [*lines, "1,Bo_1.jpg,fear", "1,../x.jpg,fear", "x"], "user.id,image,emotion"
    )
    return layout


@cache
def parquet(labels: tuple[int | None, ...]) -> bytes:
    image = pa.array(
        [{"bytes": b"image", "path": None}] * len(labels),
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    features = {"info": {"features": {"label": {"names": ["happy", "sad"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": image, "label": pa.array(labels, pa.int64())})
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), file)
    return file.getvalue()


@form
def huggingface__parquet(rng: Random) -> Layout:
    layout = Layout("huggingface")
    for split in rng.sample(["train", "test", "validation"], 2):
        parts = len(some(rng, 2))
        for part in range(parts):
            names = [f"data/{split}-0000{part}-of-0000{parts}.parquet", f"{split}/{part:04d}.parquet"]
            place = names[len(split) % 2]
            labels = tuple(rng.choice([0, 1, None, 5]) for _ in some(rng, 4))
            layout.files[place] = parquet((0, *labels))
            layout.rows[place] = list(range(1, 2 + len(labels)))
    return layout


@form
def huggingface__metadata(rng: Random) -> Layout:
    layout, kind = Layout("huggingface"), rng.choice(["csv", "jsonl"])
    for split in rng.choice([("",), ("train/", "test/")]):
        rows = []
        for n in some(rng, 5):
            state = rng.choice(["good", "good", "absent", "bad", "unlisted"])
            if state != "absent":
                layout.image(f"{split}p/{n}.png", state == "good")
            if state != "unlisted":
                rows.append((f"p/{n}.png", rng.choice(BAD) if state == "bad" else "happy"))
        layout.image(f"{split}99.png")
        rows += [("99.png", "sad"), ("../x.png", "sad")]
        if kind == "csv":
            layout.table(f"{split}metadata.csv", [",".join(row) for row in rows], "file_name,label")
        else:
            lines = [json.dumps(dict(zip(("file_name", "emotion"), row, strict=True))) for row in rows]
            layout.table(f"{split}metadata.jsonl", [*lines, "{torn"])
    return layout


@form
def webdataset__shards(rng: Random) -> Layout:
    layout = Layout("webdataset")
    for split in rng.sample(SPLITS, 2):
        place, file = f"{rng.choice(['', 'a/'])}{split}-000000.tar", io.BytesIO()
        samples = [{"png": b"x", "cls": b"happy"}]
        choices = [
            {"png": b"x", "cls": b"sad"},
            {"png": b"x"},
            {"cls": b"sad"},
            {"jpg": b"x", "json": b"["},
            {"txt": b""},
        ]
        samples += [rng.choice(choices) for _ in some(rng)]
        with tarfile.open(fileobj=file, mode="w") as archive:
            for number, sample in enumerate(samples):
                for ending, data in sample.items():
                    member = tarfile.TarInfo(f"{number:03d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        layout.files[place] = file.getvalue()
        layout.rows[place] = [number + 1 for number in range(len(samples))]
    return layout


@form
def webdataset__files(rng: Random) -> Layout:
    layout = Layout("webdataset")
    for n in some(rng):
        kind = rng.choice(["good", "unlabelled", "alone"])
        if kind != "alone":
            layout.image(f"train/{n}.png", kind == "good")
        if kind != "unlabelled":
            layout.files[f"train/{n}.cls"] = b"happy"
    layout.image("test/99.jpg")
    layout.files["test/99.json"] = b'{"label": "sad"}'
    layout.files["test/99.txt"] = b"a caption"
    return layout


@form
def yolo__labels(rng: Random) -> Layout:
    layout = Layout("yolo")
    layout.files["data.yaml"] = b"names: [angry, happy]\ntrain: ../train/images\n"
    shape = rng.choice(["{split}/{kind}/{name}", "{kind}/{split}/{name}"])
    for split in ("train", "valid"):
        for n in some(rng, 5):
            image, label = (
                shape.format(split=split, kind=kind, name=f"{n}.{end}")
                for kind, end in (("images", "jpg"), ("labels", "txt"))
            )
            state = rng.choice(["good", "two", "bad", "empty", "unlabelled", "alone"])
            if state != "alone":
                layout.image(image, state in ("good", "two"))
            good, bad = "1 0.5 0.5 0.2 0.2", rng.choice(["9 0.5 0.5 0.2 0.2", "x", "1 0.5 0.5 0 0"])
            lines = {
                "good": [good], "two": [good, "", "0 0.1 0.1 0.1 0.1", bad], "bad": [bad], "empty": [], "alone": [good],
            }.get(state)  # fmt: skip
            if lines is not None:
                layout.table(label, lines)
    image = shape.format(split="train", kind="images", name="99.png")
    layout.image(image)
    layout.table(shape.format(split="train", kind="labels", name="99.txt"), ["1 0.5 0.5 0.2 0.2"])
    return layout


@form
def jaffe__images(rng: Random) -> Layout:
    layout = Layout("jaffe")
    for n in some(rng, 6):
        name, good = rng.choice(
            [(f"KA.AN{n}.{n}.tiff", True), (f"KA.XX1.{n}.tiff", False), (f"{n}.tiff", False)]
        )
        layout.image(f"{rng.choice(['', 'sub/'])}{name}", good)
    layout.image("UY.HA1.137.tiff")
    return layout


@form
def kdef__images(rng: Random) -> Layout:
    layout = Layout("kdef")
    for n in some(rng, 6):
        name, good = rng.choice(
            [(f"AF{n:02d}ANS.JPG", True), (f"AF{n:02d}ANHL.JPG", False), (f"{n}.JPG", False)]
        )
        layout.image(f"AF{n:02d}/{name}", good)
    layout.image("BM35/BM35SUS.JPG")
    return layout


@form
def expw__faces(rng: Random) -> Layout:
    layout, lines = Layout("expw"), []
    for n in some(rng, 6):
        kind = rng.choice(["good", "two", "absent", "bad", "unlisted"])
        if kind != "absent":
            layout.image(f"image/origin/{n}.jpg", kind in ("good", "two"))
        if kind != "unlisted":
            lines.append(f"{n}.jpg 0 1 1 9 9 5 {'9' if kind == 'bad' else '3'}")
        if kind == "two":
            lines.append(f"{n}.jpg 1 11 11 19 19 5 4")
    layout.image("image/origin/99.jpg")
    layout.table("label/label.lst", [*lines, "99.jpg 0 1 1 9 9 5 0", "x", "99.jpg 0 1 1 x 9 5 0"])
    return layout


def layouts(dataset: str, count: int) -> Iterator[tuple[Random, Layout]]:
    """Yield `count` layouts of a data set, in all its forms, with the generator that made each."""
    forms = FORMS[dataset]
    for seed in range(count):
        rng = Random(f"{dataset} {seed}")
        yield rng, forms[seed % len(forms)](rng)
