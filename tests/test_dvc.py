"""The chain as DVC sees it: contract names, narrow dependencies, one clear line per mistake."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from dvc_data.hashfile.meta import Meta
from ruamel.yaml import YAML

from pipeline import params
from tests.doc_project import run

ROOT = Path(__file__).parents[1]
CHAIN = YAML(typ="safe").load(ROOT / "dvc.yaml")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project's files in a repository of their own, without outputs."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "data/exclude"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data/raw").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        run(folder, "git", "init", "-q")
        run(folder, "dvc", "init", "-q")
        yield folder


def test_stages_and_files_bear_the_contracts_names() -> None:
    stages = CHAIN["stages"]
    assert list(stages) == ["check", "sample", "ingest", "align", "label", "synthesize", "train", "evaluate"]
    assert all(stage["desc"] for stage in stages.values())
    for name in ("ingest", "align"):
        assert stages[name]["matrix"] == {"dataset": "${datasets}"}
    assert stages["train"]["outs"][0] == "models/classifier.safetensors"
    metrics = [next(iter(m)) for stage in stages.values() for m in stage.get("metrics", [])]
    assert all(
        m["cache"] is False for stage in stages.values() for e in stage.get("metrics", []) for m in e.values()
    )
    assert metrics == [
        "metrics/ingest/${item.dataset}.json",
        "metrics/align/${item.dataset}.json",
        "metrics/label.json",
        "metrics/synthesize.json",
        "metrics/train.json",
        "metrics/evaluate.json",
    ]


def test_dvc_sees_every_parameter_when_it_looks_for_an_earlier_run() -> None:
    # Keys of these names are left out of DVC's hash of a run, so that a change of such a value goes unseen.
    unseen = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}

    def keys(tree: object) -> set[str]:
        return set(tree) | set().union(*map(keys, tree.values())) if isinstance(tree, dict) else set()

    assert not keys(params.load(ROOT / "params.yaml").model_dump()) & unseen


def imported(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Return the modules of the package that an import of a module runs, also inside functions, and itself."""
    found: set[str] = set()
    new = {module}
    while new:
        found |= new
        packages = {name.rpartition(".")[0] for name in new} - {""}
        new = packages.union(*map(graph.find_modules_directly_imported_by, new)) - found
    return found


def test_every_stage_depends_on_the_modules_it_imports() -> None:
    # Otherwise an edit would leave stale outputs "up to date". Methods are imported by name at run time.
    graph = grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)
    for stage, description in CHAIN["stages"].items():
        if stage == "check":  # its output is always the same
            continue
        modules = imported(graph, f"pipeline.stages.{stage}")
        assert len(modules) > 10
        for module in modules:
            spec = importlib.util.find_spec(module)
            assert spec is not None
            assert spec.origin is not None
            file = Path(spec.origin).relative_to(ROOT)
            if file.name == "__init__.py" and "import" not in file.read_text():
                continue
            if file.is_relative_to("pipeline/params"):  # it decides nothing: tests/test_params.py
                continue
            if file == Path("pipeline/__init__.py"):  # it keeps libraries silent: tests/test_silent.py
                continue
            covered = any(str(file) == dep or str(file).startswith(f"{dep}/") for dep in description["deps"])
            assert covered, f"{stage} imports {file} and does not depend on it"


def test_parameters_of_a_stage_exist() -> None:
    loaded = params.load(ROOT / "params.yaml").model_dump()
    values = {key: loaded[key] for key in ("augment", "loss", "model", "optimizer", "gan")}
    for stage, description in CHAIN["stages"].items():
        for key in description.get("params", []):
            for name, value in values.items():
                key = key.replace(f"${{{name}}}", value)
            block = loaded
            for part in key.split("."):
                assert part in block, f"{stage}: {key}"
                block = block[part]


def test_a_choice_of_what_is_learned_from_reads_and_labels_nothing_again() -> None:
    for stage, description in CHAIN["stages"].items():
        read = {
            key
            for key in description.get("params", [])
            if key in ("train", "train.datasets", "gans.datasets")
        }
        expected = {"synthesize": {"train.datasets", "gans.datasets"}, "train": {"train"}}
        assert read == expected.get(stage, set()), stage


def test_methods_offer_what_their_room_promises() -> None:
    promised = {"augments": ["draw", "apply"], "losses": ["build"], "optimizers": ["build"], "gans": []}
    for room, names in promised.items():
        package = importlib.import_module(f"pipeline.methods.{room}")
        for info in pkgutil.iter_modules(package.__path__):
            if not info.ispkg:
                module = importlib.import_module(f"pipeline.methods.{room}.{info.name}")
                assert all(callable(getattr(module, name)) for name in names), info.name
                if room == "gans":
                    trains = hasattr(module, "build") and isinstance(module.CONDITIONAL, bool)
                    assert trains or callable(module.generators), info.name


def test_the_outputs_are_ignored_by_git(clone: Path) -> None:
    entries = [entry for stage in CHAIN["stages"].values() for entry in stage["outs"]]
    outs = [out for entry in entries for out in ([entry] if isinstance(entry, str) else entry)]
    outs = [out.replace("${item.dataset}", "sample") for out in outs]
    ignored = subprocess.run(
        ["git", "check-ignore", *outs], cwd=clone, capture_output=True, text=True
    ).stdout.split()
    assert ignored == outs


def test_a_chosen_method_alone_is_a_dependency(clone: Path) -> None:
    names = ["check", "sample", "ingest@sample", "align@sample", "label", "synthesize", "train", "evaluate"]
    assert run(clone, "dvc", "stage", "list", "--name-only").split() == names
    shown = run(clone, "dvc", "status", "train")
    assert "pipeline/methods/augments/none.py" in shown
    assert "mixcut" not in shown
