"""Put back the outputs of the last run after a stage has failed.

DVC removes the outputs of a stage before the stage runs, and `dvc exp run` also those of data sets that are no longer
listed. `dvc.lock` still names them, and DVC's cache holds them. With `persist: true` DVC would leave them in place, but
it would never restore the stage from its run cache: every return to earlier settings would train again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core import git
from pipeline.core.ending import only_first_signal
from pipeline.core.files import replacing, replacing_folder

LOCK = Path("dvc.lock")
# Smaller files are copied, as people edit them. Larger ones are linked: a table may have a hundred gigabytes.
COPIED_BYTES = 2**20


@contextmanager
def kept_on_failure() -> Iterator[None]:
    """Put back the outputs of the last run if the block fails, or is interrupted, in a stage that DVC runs.

    Further signals do not interrupt this. They are common: people press Ctrl-C twice, and a stage ends itself with DVC.
    """
    # Processes that torchrun started leave this to the one that started torchrun.
    if "DVC_STAGE" not in os.environ or "LOCAL_RANK" in os.environ:
        yield
        return
    with only_first_signal():
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the failure of the stage is what the user must see
                put_back()
            raise


def put_back() -> None:
    """Put back the outputs in `dvc.lock` that are missing, without data sets that the last run had not."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"]
    label = stages.get("label", {}).get("params", {}).get("params.yaml", {})
    last = {"", os.environ.get("DVC_STAGE", "").partition("@")[2], *label.get("datasets", [])}
    objects = cache_folder() / "files/md5"
    for name, stage in stages.items():
        for out in stage["outs"] if name.partition("@")[2] in last else []:
            path = Path(out["path"])
            if not os.path.lexists(path):
                _put_back(path, out["md5"], objects)


def cache_folder() -> Path:
    """Return the folder of DVC's cache, which need not exist."""
    from dvc.config import Config

    return Path(Config.from_cwd()["cache"].get("dir", ".dvc/cache"))


def _put_back(path: Path, md5: str, objects: Path) -> None:
    """Put a file or a folder back, unless a part of it is not in the cache."""
    source = _object(objects, md5)
    if not source.is_file():
        for content in git.contents("HEAD", [str(path)]):  # metrics of a clone are in git alone
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
    elif not md5.endswith(".dir"):
        with replacing(path) as temporary:
            _place(source, temporary)
    else:
        listing = json.loads(source.read_bytes())
        files = {entry["relpath"]: _object(objects, entry["md5"]) for entry in listing}
        if all(file.is_file() for file in files.values()):
            with replacing_folder(path) as folder:
                for name, file in files.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    _place(file, folder / name)


def _object(objects: Path, md5: str) -> Path:
    return objects / md5[:2] / md5[2:]


def _place(source: Path, target: Path) -> None:
    """Copy a small file of the cache, link a larger one. No stage writes through a link: files are replaced whole."""
    if source.stat().st_size < COPIED_BYTES:
        shutil.copyfile(source, target)
        return
    try:
        target.hardlink_to(source)
    except OSError:  # the cache is on another disk
        target.symlink_to(source.absolute())
