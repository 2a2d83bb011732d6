"""Outputs of `ingest` and `align` for data sets that params.yaml does not list."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from pipeline.core.files import md5_of
from pipeline.core.last_run import LOCK, cache_folder
from pipeline.core.locks import locked
from pipeline.tables.paths import ALIGNED, INGESTED, METRICS

# Files that ingest and align write for each data set, by folder.
_OUTPUTS = {
    ALIGNED: (".arrow",),
    INGESTED: (".parquet", ".rejected.csv"),
    METRICS / "ingest": (".json",),
    METRICS / "align": (".json",),
}


def remove_unlisted(datasets: list[str]) -> list[Path]:
    """Remove the outputs of data sets that are not listed, and return those that stay.

    The stage `label` depends on whole folders. They should not differ in a copy of the project that never had these
    data sets. An output stays if DVC could not restore it, or if a process reads it.
    """
    unlisted = [
        path
        for folder, endings in _OUTPUTS.items()
        for path in sorted(folder.glob("[!.]*"))
        if path.name.endswith(endings) and path.name.split(".")[0] not in datasets
    ]
    for path in _restorable(unlisted):
        with suppress(OSError), locked(path):
            path.unlink()
    return [path for path in unlisted if path.exists()]


def _restorable(paths: list[Path]) -> list[Path]:
    """Return the files that are as dvc.lock has them, and in DVC's cache."""
    if not paths:
        return []
    from dvc.config import ConfigError

    try:
        stages = YAML(typ="safe").load(LOCK)["stages"].values()
        md5 = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
        objects = cache_folder() / "files/md5"
    except (OSError, YAMLError, ConfigError, KeyError, TypeError, AttributeError):
        return []  # no project of DVC
    return [
        path
        for path in paths
        if (name := md5.get(path.as_posix()))
        and (objects / name[:2] / name[2:]).is_file()
        and md5_of(path) == name
    ]
