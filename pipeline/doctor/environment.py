"""Checks of the machine and the installed packages."""

from __future__ import annotations

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
from pipeline.core.memory import available, budget
from pipeline.core.parallel import cores
from pipeline.core.progress import in_bytes
from pipeline.doctor import Finding, fault, ok, warning

PACKAGE = "fer-pipeline"
SOURCE = Path(__file__).parents[2] / "pyproject.toml"  # exists in a clone only
INSTALL = "scripts/install.sh .venv, in the project's folder"
DRIVER = Path("/proc/driver/nvidia/version")
# Training ResNet-18 on faces of 48 pixels takes 1.3 GB, plus the faces.
LEAST_MEMORY = 2 * 10**9


class Declared(NamedTuple):
    """The project's requirements: Python, packages, and the packages of each extra."""

    python: SpecifierSet
    needed: list[Requirement]
    extras: dict[str, list[Requirement]]


def _declared() -> Declared:
    """Return the requirements in pyproject.toml, which may be newer than the installed ones, or else the latter."""
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
    """Check the version of Python, and that `dvc` and the stages use this Python."""
    version, allowed = platform.python_version(), _declared().python
    if allowed.contains(version, prereleases=True):
        yield ok(f"{version} in {sys.prefix}")
    else:
        yield fault(f"{version}, needed: {allowed}", "make demo PYTHON=python3.11")
    # The stages in dvc.yaml call `python`.
    folder = Path(sys.executable).parent
    remedy = f". {folder}/activate" if (folder / "activate").exists() else f"put {folder} first in PATH"
    for name in ("python", "dvc"):
        path = shutil.which(name)
        if path is None:
            yield fault(f"no {name} on the path", remedy)
        elif Path(path).parent != folder:
            yield warning(f"`{name}` is {path}, of another environment than {sys.prefix}", remedy)


def packages() -> Iterator[Finding]:
    """Check the versions of all packages."""
    declared = _declared()
    unmet = [(r, reason) for r in declared.needed if (reason := _unmet(r))]
    for requirement, reason in unmet:
        yield fault(f"{requirement.name} {reason}, needed: {requirement.specifier}", INSTALL)
    if not unmet:
        yield ok(f"{len(declared.needed)} packages, all as new as needed")
    missing = {extra: any(map(_unmet, own)) for extra, own in declared.extras.items()}
    installed, others = (
        ", ".join(name for name in missing if missing[name] == state) or "none" for state in (False, True)
    )
    yield ok(f"extras installed: {installed}; not: {others}")


def _unmet(requirement: Requirement) -> str:
    """Return why a requirement is not met; empty if it is met."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "is not installed"
    return "" if requirement.specifier.contains(version, prereleases=True) else version


def opencv() -> Iterator[Finding]:
    """Check that exactly one package provides cv2, and that cv2 can be loaded."""
    providers = sorted(set(metadata.packages_distributions().get("cv2", [])))
    if len(providers) > 1:
        yield fault(
            f"cv2 comes from {', '.join(providers)}, which overwrite each other's files",
            f"pip uninstall {' '.join(providers)}; pip install opencv-python-headless",
        )
    try:
        import cv2
    except Exception as error:  # a missing system library, a build for another numpy, ...
        remedy = "pip install --force-reinstall opencv-python-headless"
        if "opencv-python" in providers:  # its windows need libraries that a server does not have
            remedy = f"pip uninstall opencv-python; {remedy}; or install the system's library: apt-get install libgl1"
        yield fault(f"cv2 cannot be loaded: {one_line(error)}", remedy)
        return
    build = [line.split()[-1] for line in cv2.getBuildInformation().splitlines() if "FFMPEG:" in line]
    videos = "reads" if "YES" in build else "does not read"
    if len(providers) < 2:
        yield ok(f"cv2 {cv2.__version__} from {', '.join(providers) or cv2.__file__}; {videos} videos")


def gpu() -> Iterator[Finding]:
    """Check that torch can be loaded and sees the GPU."""
    try:
        import torch

        from pipeline.inference.device import pick_precision
    except Exception as error:  # a broken installation raises many kinds
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
    """Check the memory."""
    import psutil

    free = available()
    text = (
        f"{cores()} cores, {in_bytes(free)} of {in_bytes(psutil.virtual_memory().total)} memory free; unless `memory` "
        f"says otherwise, images in work take up to {in_bytes(budget(None, cores()))}"
    )
    if free < LEAST_MEMORY:
        yield warning(text, "close other programs, or set a smaller train.batch_size and gans.processes: 1")
    else:
        yield ok(text)
