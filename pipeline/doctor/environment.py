"""Checks of the machine and of what is installed on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.core.errors import one_line
from pipeline.core.progress import in_bytes
from pipeline.doctor import Finding, fault, ok, warning

PACKAGE = "fer-pipeline"
SOURCE = Path(__file__).parents[2] / "pyproject.toml"  # of a clone
INSTALL = "scripts/install.sh .venv, in the project's folder"
DRIVER = Path("/proc/driver/nvidia/version")
# Training ResNet-18 on faces of 48 pixels takes 1.3 GB beside the faces.
LEAST_MEMORY = 2 * 10**9


class Declared(NamedTuple):
    """What the project asks for: a range of Pythons, packages, and those of each extra."""

    python: SpecifierSet
    needed: list[Requirement]
    extras: dict[str, list[Requirement]]


def _declared() -> Declared:
    """Return what pyproject.toml asks for, which a pull may have renewed; without it, what was installed says."""
    if SOURCE.is_file():
        project = tomllib.loads(SOURCE.read_text(encoding="utf-8"))["project"]
        optional = project["optional-dependencies"]
        extras = {extra: [Requirement(line) for line in lines] for extra, lines in optional.items()}
        needed = [Requirement(line) for line in project["dependencies"]]
        return Declared(SpecifierSet(project["requires-python"]), needed, extras)
    about = metadata.metadata(PACKAGE)
    lines = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
    needed = [r for r in lines if r.marker is None]
    extras = {
        extra: [r for r in lines if r.marker and r.marker.evaluate({"extra": extra})]
        for extra in about.get_all("Provides-Extra") or []
    }
    return Declared(SpecifierSet(about["Requires-Python"]), needed, extras)


def python() -> Iterator[Finding]:
    """Is this the Python that the project asks for, and the one that `dvc` and the stages find?"""
    version, allowed = platform.python_version(), _declared().python
    if allowed.contains(version, prereleases=True):
        yield ok(f"{version} in {sys.prefix}")
    else:
        yield fault(f"{version}, needed: {allowed}", "make demo PYTHON=python3.11")
    # The stages in dvc.yaml call `python`.
    here = Path(sys.executable).parent
    remedy = f". {here}/activate" if (here / "activate").exists() else f"put {here} first in PATH"
    for name in ("python", "dvc"):
        path = shutil.which(name)
        if path is None:
            yield fault(f"no {name} on the path", remedy)
        elif Path(path).parent != here:
            yield warning(f"`{name}` is {path}, of another environment than {sys.prefix}", remedy)


def packages() -> Iterator[Finding]:
    """Are all packages there, in the versions that the code needs?"""
    declared = _declared()
    wrong = [(r, found) for r in declared.needed if (found := _unmet(r))]
    for requirement, found in wrong:
        yield fault(f"{requirement.name} {found}, needed: {requirement.specifier}", INSTALL)
    if not wrong:
        yield ok(f"{len(declared.needed)} packages, all as new as needed")
    there = {extra: not any(map(_unmet, own)) for extra, own in declared.extras.items()}
    words = [
        ", ".join(extra for extra in there if there[extra] == state) or "none" for state in (True, False)
    ]
    yield ok(f"extras installed: {words[0]}; not: {words[1]}")


def _unmet(requirement: Requirement) -> str:
    """Return what is wrong with the installed version of a requirement, nothing where it is met."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "is not installed"
    return "" if requirement.specifier.contains(version, prereleases=True) else version


def opencv() -> Iterator[Finding]:
    """Does exactly one package provide cv2, and can it be loaded?"""
    providers = sorted(set(metadata.packages_distributions().get("cv2", [])))
    if len(providers) > 1:
        yield fault(
            f"cv2 comes from {', '.join(providers)}, which overwrite each other's files",
            f"pip uninstall {' '.join(providers)}; pip install opencv-python-headless",
        )
    try:
        import cv2
    except Exception as error:  # a library of the system that is missing, a build for another numpy, ...
        yield fault(f"cv2 cannot be loaded: {one_line(error)}", "pip install opencv-python-headless")
        return
    build = [line.split()[-1] for line in cv2.getBuildInformation().splitlines() if "FFMPEG:" in line]
    videos = "reads" if "YES" in build else "does not read"
    if len(providers) < 2:
        yield ok(f"cv2 {cv2.__version__} from {', '.join(providers) or cv2.__file__}; {videos} videos")


def gpu() -> Iterator[Finding]:
    """Can torch be loaded, does it see the GPU that is there, and in which precision will it compute?"""
    try:
        import torch

        from pipeline.inference.device import pick_precision
    except Exception as error:  # whatever a broken installation raises
        yield fault(f"torch cannot be loaded: {one_line(error)}", INSTALL)
        return
    driver = DRIVER.read_text().splitlines()[0].split("  ")[1:2] if DRIVER.exists() else []
    build = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            precision = str(pick_precision("auto", torch.device("cuda", number))).removeprefix("torch.")
            yield ok(
                f"{build} on {torch.cuda.get_device_name(number)}, {in_bytes(free)} of {in_bytes(total)} free, "
                f"driver {''.join(driver) or 'unknown'}; precision auto is {precision}"
            )
        return
    precision = str(pick_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    yield ok(f"{build} on the processor; precision auto is {precision}")
    if DRIVER.exists() or shutil.which("nvidia-smi"):
        why = "is a build without CUDA" if torch.version.cuda is None else f"needs CUDA {torch.version.cuda}"
        yield warning(
            f"there is an NVIDIA driver ({''.join(driver) or 'version unknown'}), and torch sees no GPU: it {why}",
            "install a build of torch for the CUDA that `nvidia-smi` names, or a newer driver",
        )


def machine() -> Iterator[Finding]:
    """How many cores and how much memory are there?"""
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{cores} cores, {in_bytes(memory.available)} of {in_bytes(memory.total)} memory free"
    if memory.available < LEAST_MEMORY:
        yield warning(found, "close other programs, or set a smaller train.batch_size and gans.processes: 1")
    else:
        yield ok(found)
