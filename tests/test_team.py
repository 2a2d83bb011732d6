"""Several people on one project, as docs/team.md says: its commands run here in their order, against real servers."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.fs as pafs
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from ruamel.yaml import YAML
from werkzeug.serving import make_server

from pipeline import params
from pipeline.stages import align, check, evaluate, ingest, label, synthesize, train
from pipeline.tables.storage import open_store
from tests import toy

# One chain serves the whole module.
ROOT = Path(__file__).parents[1]
DVC = [sys.executable, "-m", "dvc"]
# More than the system buffers between two programs, so that a push can be killed while it is on its way.
LARGE = 16 * 2**20


def commands() -> dict[str, list[str]]:
    """Return the blocks of commands in docs/team.md by heading."""
    sections = re.split(r"^## ", (ROOT / "docs/team.md").read_text(), flags=re.MULTILINE)[1:]
    return {
        s.splitlines()[0]: re.findall(r"^```(?:text)?\n(.*?)^```$", s, re.MULTILINE | re.DOTALL)
        for s in sections
    }


class Store:
    """An S3-compatible server that lets small objects in and holds large ones until it is opened."""

    def __init__(self) -> None:
        self.arrived, self.open, self.dealt_with = (threading.Event() for _ in range(3))
        self.app = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __call__(self, request: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        if request["REQUEST_METHOD"] != "PUT" or int(request.get("CONTENT_LENGTH") or 0) < LARGE:
            return self.app(request, respond)
        self.arrived.set()
        self.open.wait(60)
        try:
            return list(self.app(request, respond))
        finally:
            self.dealt_with.set()


@dataclass
class Team:
    """A project with results, the repository and the stores that its people share.

    Attributes:
        home: the folder of everything.
        mine: the clone in which the chain has run.
        store: the S3-compatible server.
        killed: what the bucket held after a push that was killed, by key.
    """

    home: Path
    mine: Path
    store: Store
    killed: dict[str, bytes] = field(default_factory=dict)

    def run(self, block: str, folder: Path) -> str:
        """Run a block of commands of the documentation in a folder; return what they print."""
        for name, value in {
            "http://storage.example.org:9000": self.store.address,
            "https://git.example.org/fer.git": str(self.home / "fer.git"),
            "/srv/fer-storage": str(self.home / "storage"),
            "/where/you/keep": str(self.home / "raw"),
            "make fresh": f"{sys.executable} scripts/fresh.py",
        }.items():
            block = block.replace(name, value)
        done = subprocess.run(["bash", "-ec", block], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def clone(self, name: str, block: str) -> tuple[Path, str]:
        """Run a block that clones the repository into `fer`, in a folder of its own."""
        (self.home / name).mkdir()
        said = self.run(block, self.home / name)
        return self.home / name / "fer", said

    def objects(self) -> dict[str, bytes]:
        """Return what the bucket holds, by key."""
        system, _ = open_store("s3://storage/fer")
        found = system.get_file_info(pafs.FileSelector("storage", recursive=True))
        files = [info.path for info in found if info.type == pafs.FileType.File]
        return {path: system.open_input_stream(path).read() for path in files}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Team]:
    home = tmp_path_factory.mktemp("team")
    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join(map(str, (programs, Path(sys.executable).parent, os.environ["PATH"])))
        for name, value in {
            "PATH": path,
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": store.address,
            "DVC_SITE_CACHE_DIR": str(home / "site"),
            **{f"GIT_{who}_NAME": "me" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "me@example.org" for who in ("AUTHOR", "COMMITTER")},
        }.items():
            patch.setenv(name, value)
        patch.chdir(home)
        result = Team(home, chain(home, patch), store)
        patch.chdir(home)
        open_store("s3://storage?allow_bucket_creation=true")[0].create_dir("storage")
        yield result
    store.open.set()
    store.server.shutdown()


def chain(home: Path, patch: pytest.MonkeyPatch) -> Path:
    """Run the project's own chain on a few images of noise and commit it; return its folder."""
    mine = home / "mine"
    mine.mkdir()
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, mine / name)
    (mine / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvc/plots.html"):
        shutil.copy(ROOT / name, mine / name)
    for name in ("pipeline", "scripts", "data/exclude"):
        shutil.copytree(ROOT / name, mine / name, ignore=shutil.ignore_patterns("__pycache__"))
    images = home / "raw/table/images"
    images.mkdir(parents=True)
    rows = ["image,split,label"]
    rng = np.random.default_rng(0)
    for index in range(30):
        cv2.imwrite(str(images / f"{index}.png"), rng.integers(0, 256, (20, 20), np.uint8))
        split = ("train", "train", "valid")[index % 3]
        rows.append(f"{index}.png,{split},{toy.CLASSES[index % 2]}")
    (home / "raw/table/labels.csv").write_text("\n".join(rows))
    (mine / "data/raw/sample").mkdir(parents=True)
    (mine / "data/raw/table").symlink_to(home / "raw/table")
    for index in range(5):
        (mine / f"data/raw/sample/{index}.bin").write_bytes(rng.bytes(100))
    (mine / "data/raw/sample/large.bin").write_bytes(rng.bytes(LARGE))
    toy.set_params(
        mine,
        **{"datasets": ["table"], "classes": toy.CLASSES, "gan": "none", "model": "light"},
        **{"align.mode": "none", "align.face_size": 16, "train.crop": 16, "train.epochs": 1},
        **{"train.device": "cpu", "evaluate.bootstrap": 0},
    )
    patch.chdir(mine)
    p = params.load()
    check.run(p)
    ingest.run(p, "table")
    align.run(p, "table")
    for stage in (label, synthesize, train, evaluate):
        stage.run(p)
    for command in (
        ["git", "init", "-q", "-b", "main"],
        [*DVC, "commit", "-fq"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "Run the chain"],
        ["git", "clone", "-q", "--bare", ".", str(home / "fer.git")],
        ["git", "remote", "add", "origin", str(home / "fer.git")],
        ["git", "fetch", "-q", "origin"],
        ["git", "branch", "-q", "-u", "origin/main"],
    ):
        subprocess.run(command, check=True)
    return mine


@pytest.fixture(scope="module")
def shared(team: Team) -> Team:
    """The team with everything in the bucket, after a push that was killed."""
    _, bucket, commit, push = commands()["Set up a remote"]
    for block in (bucket, commit):
        team.run(block, team.mine)
    pushing = subprocess.Popen([*DVC, "push", "-q"], cwd=team.mine)
    assert team.store.arrived.wait(60)
    while len(team.objects()) < 5:
        assert pushing.poll() is None
        time.sleep(0.1)
    pushing.kill()
    pushing.wait()
    team.store.open.set()  # the server goes on with what it has got of the large one
    assert team.store.dealt_with.wait(60)
    team.killed = team.objects()
    team.run(push, team.mine)
    return team


@pytest.fixture(scope="module")
def filed(team: Team) -> Path:
    """A clone whose remote is a folder, which holds everything; the branch `folder` of the repository says so."""
    folder, _, commit, push = commands()["Set up a remote"]
    first = 'cd fer; git checkout -qb folder "$(git rev-list --max-parents=0 HEAD)"'
    clone, _ = team.clone("source", f"git clone -q {team.home / 'fer.git'} fer; {first}")
    shutil.copytree(team.mine / ".dvc/cache", clone / ".dvc/cache")
    for block in (folder, commit, push.replace("git push", "git push -q -u origin folder")):
        team.run(block, clone)
    return clone


def named(objects: dict[str, bytes]) -> set[str]:
    """Return the names of DVC's objects, each of which must be the hash of what it holds."""
    names = set()
    for key, content in objects.items():
        name = key.removeprefix("storage/fer/files/md5/").replace("/", "")
        assert hashlib.md5(content).hexdigest() == name.removesuffix(".dir"), key
        names.add(name)
    return names


def results(folder: Path) -> dict[str, bytes]:
    """Return what the stages wrote: files by place."""
    paths = [path for top in ("data", "models", "plots") for path in (folder / top).rglob("*")]
    found = {str(path.relative_to(folder)): path for path in paths if path.is_file()}
    return {
        place: path.read_bytes()
        for place, path in found.items()
        if not place.startswith(("data/raw/table", "models/checkpoints"))
    }


def cached(folder: Path) -> set[str]:
    """Return the names of the objects in a clone's cache."""
    files = folder / ".dvc/cache/files/md5"
    return {str(path.relative_to(files)).replace("/", "") for path in files.rglob("*") if path.is_file()}


def lock(folder: Path, stage: str) -> dict[str, str]:
    """Return the hashes of a stage's inputs and outputs in dvc.lock, by place."""
    entry = YAML(typ="safe").load(folder / "dvc.lock")["stages"][stage]
    return {item["path"]: item["md5"] for item in entry["deps"] + entry["outs"]}


def test_a_push_that_is_killed_leaves_whole_objects_and_loses_nothing(shared: Team) -> None:
    before, after = named(shared.killed), named(shared.objects())
    sample = lock(shared.mine, "sample")["data/raw/sample"]
    large = hashlib.md5((shared.mine / "data/raw/sample/large.bin").read_bytes()).hexdigest()
    assert len(before) >= 5
    # A folder's list is sent when all of its files are there. (The large one may have arrived as a whole, in buffers.)
    assert sample not in before
    assert {sample, large} | before <= after


def test_a_clone_pulls_everything_and_repeats_nothing(shared: Team) -> None:
    block, linked = commands()["Start from a fresh clone"]
    clone, said = shared.clone("clone", block)
    assert said.rstrip().endswith("Data and pipelines are up to date.")
    assert "Running stage" not in said
    assert results(clone) == results(shared.mine)
    said = shared.run(linked, clone)
    assert said.rstrip().endswith("Data and pipelines are up to date.")
    (block,) = commands()["Use a second worktree"]
    shared.run(block, clone)
    assert results(clone.parent / "fer-other") == results(shared.mine)
    assert subprocess.run(["git", "status", "--short"], cwd=clone, capture_output=True).stdout == b""


def test_a_folder_is_a_remote_as_well(filed: Path, team: Team) -> None:
    block, _ = commands()["Start from a fresh clone"]
    clone, said = team.clone("folder", block.replace("git clone", "git clone -b folder"))
    assert said.rstrip().endswith("Data and pipelines are up to date.")
    assert results(clone) == results(team.mine)


def test_an_experiment_fetches_what_it_reads_and_reaches_a_colleague(filed: Path, team: Team) -> None:
    clone, _ = team.clone("lean", f"git clone -q -b folder {team.home / 'fer.git'} fer")
    (run,) = commands()["Run one stage with only the data it reads"]
    said = team.run(run, clone)
    assert re.findall("Running stage '(.*)'", said) == ["evaluate"]
    before, after = lock(filed, "evaluate"), lock(clone, "evaluate")
    read = {before["data/labels.parquet"], before["models/classifier.safetensors"]}
    read.add(lock(clone, "align@table")["data/aligned/table.arrow"])
    places = ("data/predictions.parquet", "plots/evaluate", "metrics/evaluate.json")
    written = {after[place] for place in places}
    plots = [path for path in (clone / "plots/evaluate").rglob("*") if path.is_file()]
    written |= {hashlib.md5(path.read_bytes()).hexdigest() for path in plots}
    assert cached(clone) == read | written

    send, receive = commands()["Share experiments"]
    team.run(send, clone)
    team.run(receive, filed)
    drawn = (filed / "dvc_plots/index.html").read_text()
    assert all(text in drawn for text in ('"rev": "mirrored"', '"rev": "HEAD"', "loss on train", "confusion"))
    assert params.load(filed / "params.yaml").evaluate.mirror
    assert (filed / "data/predictions.parquet").read_bytes() == (
        clone / "data/predictions.parquet"
    ).read_bytes()


def test_a_stale_lock_fails_and_names_what_has_changed(team: Team) -> None:
    make, said = commands()["Check pull requests"]
    clone, _ = team.clone("checked", f"git clone -q {team.home / 'fer.git'} fer")
    assert team.run(make, clone) == "dvc.lock is what a run of this commit would write.\n"

    toy.set_params(clone, augment="mixup")
    with (clone / "pipeline/stages/label.py").open("a") as file:
        file.write("# edited\n")
    (clone / "metrics/evaluate.json").unlink()
    done = subprocess.run([sys.executable, "scripts/fresh.py"], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1
    first, *lines = done.stderr.splitlines()
    assert first == "dvc.lock is stale; first to run: label"
    assert lines == [
        "label: changed deps: pipeline/stages/label.py is modified",
        *said.splitlines()[1:-1],
        "evaluate: changed outs: metrics/evaluate.json is deleted",
        said.splitlines()[-1],
    ]


def test_raw_data_is_versioned_and_reaches_a_colleague(filed: Path, team: Team) -> None:
    track, imported, receive = commands()["Version raw data"]
    colleague, _ = team.clone("colleague", f"git clone -q -b folder {team.home / 'fer.git'} fer")
    clone, _ = team.clone("tracked", f"git clone -q -b folder {team.home / 'fer.git'} fer")
    shutil.copytree(team.home / "raw/table", clone / "data/raw/table")
    for name in toy.CLASSES:
        shutil.copytree(team.home / "raw/table/images", team.home / "raw/images" / name)
    for block in (track, imported):
        team.run(block, clone)
    assert team.run(receive, colleague).rstrip().endswith("Data and pipelines are up to date.")
    kept = {"table": team.home / "raw/table", "folder": team.home / "raw/images"}
    for name, folder in kept.items():
        assert contents(colleague / "data/raw" / name) == contents(folder)

    # What is imported follows its source.
    (team.home / "raw/images" / toy.CLASSES[0] / "0.png").unlink()
    page = (ROOT / "docs/team.md").read_text()
    update, links = (re.search(f"`(dvc {words}.*?)`", page)[1] for words in ("update", "config cache"))
    team.run(update, clone)
    assert contents(clone / "data/raw/folder") == contents(kept["folder"])

    # Links into DVC's cache are read like images.
    before = (colleague / "data/ingested/table.parquet").read_bytes()
    team.run(f"{links.replace('reflink,', '')}; dvc checkout --relink data/raw/table.dvc", colleague)
    assert all(image.is_symlink() for image in (colleague / "data/raw/table/images").iterdir())
    with contextlib.chdir(colleague):
        ingest.run(params.load(), "table")
    assert (colleague / "data/ingested/table.parquet").read_bytes() == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by place."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
