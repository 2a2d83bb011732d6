"""A data set is the same data set as a folder and as an archive: names, bytes, and the tables that come of them."""

import io
import os
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.core.parallel import ordered
from pipeline.intake.archive import TarArchive, ZipArchive
from pipeline.intake.guards import Rejection
from pipeline.intake.local_folder import LocalFolder
from pipeline.intake.tree import Part, Tree, open_tree
from pipeline.stages import ingest
from pipeline.tables.vocabulary import VOTES
from tests import odd_images as odd
from tests import toy

FILES = {
    "labels.csv": b"image,label\r\n" + b"a.png,fear\r\n" * 2_000,
    "images/a.png": odd.encoded(odd.smooth(1), "PNG"),
    "images/sub/b.jpg": odd.encoded(odd.smooth(2), "JPEG"),
    "images/sub/größe Å 顔.png": b"not an image",
    "images/empty.png": b"",
    "images/.hidden.png": b"hidden",
    "imagesque.txt": b"beside the folder",
}


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def below(top: str, junk: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return {f"{top}/{name}": data for name, data in FILES.items()} | (junk or {})


MAC = {
    "__MACOSX/._set": b"x",
    "__MACOSX/set/._labels.csv": b"x",
    "__MACOSX/set/images/._a.png": b"x",
    ".DS_Store": b"x",
    "set/images/.DS_Store": b"x",
    "set/images/._a.png": b"x",
}
FORMS: dict[str, tuple[type, Callable[[Path], None]]] = {
    "folder": (LocalFolder, lambda path: write_folder(path, FILES)),
    "zip": (ZipArchive, lambda path: write_zip(path, FILES)),
    "tar": (TarArchive, lambda path: write_tar(path, FILES)),
    "tar.gz": (TarArchive, lambda path: write_tar(path, FILES, "w:gz")),
    "tar.bz2": (TarArchive, lambda path: write_tar(path, FILES, "w:bz2")),
    "tar.xz": (TarArchive, lambda path: write_tar(path, FILES, "w:xz")),
    "zip with one folder at the top": (ZipArchive, lambda path: write_zip(path, below("set"))),
    "zip with folders as members": (
        ZipArchive,
        lambda path: write_zip(path, {"set/": b"", "set/x/": b""} | below("set")),
    ),
    "zip from macOS": (ZipArchive, lambda path: write_zip(path, below("set", MAC))),
    "zip with backslashes": (
        ZipArchive,
        lambda path: write_zip(path, {name.replace("/", "\\"): data for name, data in FILES.items()}),
    ),
    "tar with one folder at the top": (TarArchive, lambda path: write_tar(path, below("set"))),
    "tar of .": (TarArchive, lambda path: write_tar(path, below("."))),
    "tar from macOS": (TarArchive, lambda path: write_tar(path, below("set", MAC), "w:gz")),
}  # fmt: skip


@pytest.fixture(params=FORMS)
def tree(tmp_path, request) -> Tree:
    kind, write = FORMS[request.param]
    write(tmp_path / "set")
    opened = open_tree(tmp_path / "set")
    assert type(opened) is kind
    return Part(opened, "set") if "set/" in opened.entries() else opened


def test_every_form_lists_the_same(tree):
    assert tree.entries() == ["images/", "imagesque.txt", "labels.csv"]
    assert tree.entries("images") == ["a.png", "empty.png", "sub/"]
    assert tree.entries("images/sub") == ["b.jpg", "größe Å 顔.png"]
    assert tree.entries("absent") == tree.entries("labels.csv") == []
    assert sorted(tree.files()) == sorted(name for name in FILES if "hidden" not in name)
    assert sorted(tree.files("images")) == sorted(
        n for n in FILES if n.startswith("images/") and "/." not in n
    )
    assert list(tree.files("absent")) == list(tree.files("labels.csv")) == []


def test_every_form_holds_the_same_bytes(tree):
    for name, data in FILES.items():
        assert tree.read(name) == data
        with tree.open(name) as file:
            assert file.read() == data
            assert file.read() == b""
    with tree.open("labels.csv") as file:
        lines = file.readlines()
        assert len(lines) == 2_001
        file.seek(len(lines[0]))
        assert file.readline() == lines[1]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("images/absent.png", "missing_image"),
        ("labels.csv/a.png", "missing_image"),
        ("images", "unreadable_image missing_image"),  # an archive need not know folders
        ("../outside.png", "outside_folder"),
        ("images/../../outside.png", "outside_folder"),
    ],
)
def test_every_form_refuses_the_same(tree, tmp_path, place, reason):
    (tmp_path / "outside.png").write_bytes(b"secret")
    with pytest.raises(Rejection) as refused:
        tree.read(place)
    assert refused.value.reason in reason.split()
    with pytest.raises(UserError, match="cannot be read"):
        tree.open("absent.csv")


def test_every_form_survives_pickling_before_and_after_use(tree):
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(tree))
        assert copy.address == tree.address
        assert copy.read("images/a.png") == FILES["images/a.png"]
        assert tree.entries() == copy.entries()


@pytest.mark.parametrize("tree", ["folder", "zip", "tar", "tar.gz"], indirect=True)
def test_every_form_is_read_by_several_processes_at_once(tree):
    tree.read("images/a.png")  # opened before they are forked, who must not share its position
    places = list(FILES) * 60
    assert list(ordered(tree.read, places, workers=3)) == list(FILES.values()) * 60


def test_the_only_file_in_a_folder_may_be_the_archive_under_any_name(tmp_path):
    (tmp_path / ".DS_Store").touch()
    write_zip(tmp_path / "download", FILES)
    assert type(open_tree(tmp_path)) is ZipArchive
    (tmp_path / "readme.txt").touch()
    assert open_tree(tmp_path).entries() == ["download", "readme.txt"]


def test_links_at_the_top_of_a_folder_belong_to_it(tmp_path):
    write_folder(tmp_path / "disk", {"a.png": b"1", "deep/b.png": b"2"})
    (tmp_path / "set").mkdir()
    (tmp_path / "set/fear").symlink_to("../disk")
    (tmp_path / "link").symlink_to("set")
    tree = open_tree(tmp_path / "link")
    assert tree.entries() == ["fear/"]
    assert sorted(tree.files()) == sorted(tree.files("fear")) == ["fear/a.png", "fear/deep/b.png"]
    assert tree.read("fear/deep/b.png") == b"2"


def test_links_into_the_cache_of_dvc_are_read(tmp_path):
    cached = tmp_path / ".dvc/cache/files/md5"
    write_folder(cached, {"0b/2e5f3c9a7d4e1f8b6a0c3d9e7f5a1b": b"pixels", "0b/other": b"others"})
    write_folder(tmp_path / "set/fear", {"a.png": b"1"})
    (tmp_path / "set/fear/b.png").symlink_to(cached / "0b/2e5f3c9a7d4e1f8b6a0c3d9e7f5a1b")
    (tmp_path / "set/fear/c.png").symlink_to(cached / "0b/other")
    tree = open_tree(tmp_path / "set")
    assert tree.read("fear/b.png") == b"pixels"
    with pytest.raises(Rejection) as refused:
        tree.read("fear/c.png")
    assert refused.value.reason == "outside_folder"


def test_hard_links_in_a_tar_are_files_and_other_links_are_not(tmp_path):
    folder = tmp_path / "set"
    write_folder(folder, {"a.png": b"pixels", "z.png": b"others"})
    os.link(folder / "a.png", folder / "b.png")
    (folder / "c.png").symlink_to("a.png")
    os.mkfifo(folder / "d.png")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in ("a.png", "b.png", "c.png", "d.png", "z.png"):
            archive.add(folder / name, name)
    tree = open_tree(tmp_path / "set.tar")
    assert sorted(tree.files()) == ["a.png", "b.png", "c.png", "d.png", "z.png"]
    assert tree.read("a.png") == tree.read("b.png") == b"pixels"
    for name in ("c.png", "d.png"):
        with pytest.raises(Rejection, match="is a link or a special file") as refused:
            tree.read(name)
        assert refused.value.reason == "unreadable_image"


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("a.txt", "inside")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tmp_path / "inner.zip", "inner.zip")
    assert zipfile.is_zipfile(tmp_path / "set.tar")
    assert open_tree(tmp_path / "set.tar").entries() == ["inner.zip"]


def test_of_members_with_one_name_the_last_one_counts(tmp_path):
    write_zip(tmp_path / "set.zip", {"a.png": b"earlier", "./a.png": b"later"})
    write_tar(tmp_path / "set.tar", {"a.png": b"earlier", "./a.png": b"later"})
    for name in ("set.zip", "set.tar"):
        tree = open_tree(tmp_path / name)
        assert tree.read("a.png") == b"later"
        assert list(tree.files()) == ["a.png"]


def test_an_archive_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "set.tar"
    write_tar(path, FILES)
    tree = open_tree(path)
    tree.entries()
    os.truncate(path, 600)
    with pytest.raises(Rejection, match="cut short"):
        tree.read("images/a.png")


def face(seed: int) -> np.ndarray:
    return odd.pixels(seed, 48, 48)[..., 0]


def write_data_set(root: Path, name: str) -> None:
    rows = range(6)
    names = [f"fer{row:07}.png" for row in rows]
    usages = ["Training", "Training", "PublicTest", "PrivateTest", "Training", "PublicTest"]
    values = [" ".join(map(str, face(row).ravel())) for row in rows]
    files: dict[str, bytes] = {}
    if name == "table":
        lines = [
            "image,split,label",
            *(f"{i % 2}/{n},train,fear" for i, n in enumerate(names)),
            "no.png,test,NF",
        ]
        files = {
            f"images/{i % 2}/{n}": cv2.imencode(".png", face(i))[1].tobytes() for i, n in enumerate(names)
        }
        files["labels.csv"] = "\n".join(lines).encode()
    else:
        lines = ["emotion,pixels,Usage", *(f"{row},{values[row]},{usages[row]}" for row in rows)]
        files["fer2013.csv"] = "\n".join(lines).encode()
    if name == "ferplus":
        votes = "8,0,0,2" + ",0" * 6
        lines = ["Usage,Image name," + ",".join(VOTES), *(f"{usages[i]},{names[i]},{votes}" for i in rows)]
        files["fer2013new.csv"] = "\n".join(lines).encode()
        files["FER2013Train/" + names[0]] = cv2.imencode(".png", face(9))[1].tobytes()
        files["FER2013Train/label.csv"] = f'{names[0]},"(0, 0, 48, 48)",{votes}\n'.encode()
    write_folder(root, files)


@pytest.mark.parametrize("name", ["table", "fer2013", "ferplus"])
def test_ingest_writes_the_same_from_a_folder_and_from_archives(project, name):
    def written() -> list[bytes]:
        ingest.run(toy.PARAMS, name)
        paths = (f"data/ingested/{name}.parquet", f"metrics/ingest/{name}.json")
        return [Path(path).read_bytes() for path in paths]

    root, kept = Path("data/raw", name), Path("kept")
    write_data_set(root, name)
    expected = written()
    root.rename(kept)
    files = {str(path.relative_to(kept)): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    root.mkdir()
    write_zip(root / "set.zip", files)
    assert written() == expected
    (root / "set.zip").unlink()
    write_tar(root / "set.tar.gz", {f"set/{place}": data for place, data in files.items()}, "w:gz")
    assert written() == expected


def test_a_zip_of_another_system_may_hold_no_kinds_of_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.create_system, info.external_attr = 0, 0x20  # an archive bit of DOS
        archive.writestr(info, b"pixels")
        info = zipfile.ZipInfo("b.png")
        info.external_attr = (stat.S_IFIFO | 0o644) << 16
        archive.writestr(info, b"")
    tree = open_tree(tmp_path / "set.zip")
    assert tree.read("a.png") == b"pixels"
    with pytest.raises(Rejection, match="a link or a special file"):
        tree.read("b.png")
