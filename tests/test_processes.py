"""Training under torchrun: several processes, on the CPU with gloo, compute what one does."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.methods.models.parts.torchvision import torchvision
from pipeline.stages import train
from pipeline.tables import paths
from pipeline.training import processes
from pipeline.training.processes import Processes
from pipeline.training.whole_batch import WholeBatch
from tests import doc_commands, forked, toy

ROOT = Path(__file__).parents[1]


def two_steps(cases: list[Path]) -> None:
    """Write what two steps of each case come to, in one of as many processes as there are."""
    torch.set_num_threads(1)
    with processes.joined() as group:
        for case in cases:
            os.chdir(case)
            p = params.load()
            run = toy.training_run(p, processes=group)
            run.network.double().register_forward_pre_hook(lambda network, images: (images[0].double(),))
            run.network.train()
            run.learner.loss.weights[:, 0] = 0.25  # the classes are equally frequent
            found: dict[str, Any] = {}
            run.learner.optimizer.step = lambda: None  # the gradients are what is asked
            for index, batch in enumerate(run.plan(0)[:2]):
                size = len(batch.samples)
                loss = run._step(batch.part(group.part(size)), size)
                found |= {
                    f"{index}.{name}": w.grad.contiguous() for name, w in run.network.named_parameters()
                }
                found |= {f"{index}.loss": loss}
            buffers = run.network.named_buffers()
            found |= {f"buffer.{name}": b.clone() for name, b in buffers if b.is_floating_point()}
            found |= {f"kept.{name}": b.clone() for name, b in run.learner.loss.named_buffers()}
            save_file(found, f"{group.size}-{group.rank}.safetensors")


CASES = {
    "dropout, centres and transforms": {
        "model": "light",
        "augment": "mixcut",
        "loss": "weighted_cluster",
        "models.light.dropout": 0.5,
        "train.rotation": 15,
    },
    "stochastic depth and two views": {
        "model": "efficientnet_b0",
        "models.efficientnet_b0.dropout": 0.2,
        "augment": "mixaugment",
        "loss": "weighted_softmax",
    },
    "a sum over the batch": {
        "augment": "mixaugment",
        "loss": "weighted_softmax",
        "losses.weighted_softmax.reduction": "sum",
        "train.label_smoothing": 0.1,
    },
    "a mean over the samples": {
        "loss": "weighted_softmax",
        "losses.weighted_softmax.reduction": "mean",
    },
}


def test_two_processes_have_the_gradients_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All cases in the same processes, whose start takes longer than their steps.
    folders = [tmp_path / str(index) for index in range(len(CASES))]
    for folder, settings in zip(folders, CASES.values(), strict=True):
        folder.mkdir()
        shutil.copy(ROOT / "params.yaml", folder)
        toy.write(folder, **settings, **{"train.batch_size": 18})
    started = [forked.start(two_steps, folders, errors=str(tmp_path / "alone.txt"))]
    # What torchrun tells each of its processes.
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for rank in "01":
        for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank, "TORCHELASTIC_RUN_ID": "a"}).items():
            monkeypatch.setenv(name, value)
        started.append(forked.start(two_steps, folders, errors=str(tmp_path / f"{rank}.txt")))
    for process, errors in zip(started, ("alone", "0", "1"), strict=True):
        process.join(120)
        assert process.exitcode == 0, (tmp_path / f"{errors}.txt").read_text(encoding="utf-8")
    for folder, case in zip(folders, CASES, strict=True):
        one, first, second = (load_file(folder / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
        for name, values in one.items():
            assert (first[name] == second[name]).all(), (case, name)
            assert (values - first[name]).abs().max() <= 1e-6 * max(1, values.abs().max()), (case, name)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_each_process_has_its_rows_of_what_one_draws(mode: str) -> None:
    def drawn(rows: slice) -> torch.Tensor:
        torch.manual_seed(0)
        part = torch.ones(20, 4)[rows]
        return torch.stack([torchvision.ops.stochastic_depth(part, 0.5, mode), F.dropout(part, 0.3)])

    alone = drawn(slice(None))
    for rank in range(3):
        group = Processes(rank, 3)
        with WholeBatch(group, 20):
            assert (drawn(group.part(20)) == alone[:, group.part(20)]).all()


# As docs/cluster.md has it, for four GPUs.
[DOCUMENTED] = doc_commands.section("docs/cluster.md", "Train in several processes")
TWO = dict([DOCUMENTED.words[-1].replace("node 4", "node 2").replace('"', "").split("=")])
OUTCOME = (paths.CLASSIFIER, paths.METRICS / "train.json")


def test_two_processes_train_as_one_on_two_machines_or_one_and_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both machines are this one, each in a clone of its own.
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    [arguments] = re.findall(r'`"(--nnodes 2 [^"]*)"`', page)
    arguments = arguments.replace("node 4", "node 1").replace("first.host", "127.0.0.1")
    arguments += f" --master-port {free_port()}"
    [second] = [c for c in doc_commands.commands("docs/cluster.md") if c.variables]
    assert second.words == ("fer", "train")
    folders = {name: tmp_path / name for name in ("alone", "first", "second", "killed")}
    for folder in folders.values():
        folder.mkdir()
        shutil.copy(ROOT / "params.yaml", folder)
        settings = {"train.batch_size": 18, "train.ema": 0.5, "optimizers.sgd.learning_rate": 0.001}
        toy.write(folder, loss="weighted_softmax", **settings, **{"train.best": "macro_f1"})

    monkeypatch.chdir(folders["alone"])
    train.run(params.load())
    alone = _losses()

    launchers = {}
    for name, variables in (("first", ()), ("second", second.variables)):
        monkeypatch.chdir(folders[name])
        toy.set_params(folders[name], **{"train.torchrun": arguments})
        with monkeypatch.context() as patch:
            for variable in variables:
                patch.setenv(*variable.split("=", 1))
            launchers[name] = forked.start(forked.fer, "train", errors=str(folders[name] / "errors"))
    for name, launcher in launchers.items():
        launcher.join(120)
        assert launcher.exitcode == 0, (folders[name] / "errors").read_text(encoding="utf-8")
    assert not any(path.exists() for path in OUTCOME)  # of the second machine
    monkeypatch.chdir(folders["first"])
    # Later epochs part: rounding alone leads two runs to other weights.
    assert _losses()[0] == pytest.approx(alone[0], rel=1e-3)
    whole = [path.read_bytes() for path in OUTCOME]

    monkeypatch.chdir(folders["killed"])
    toy.set_params(folders["killed"], **TWO, **{"train.checkpoint_seconds": 0})
    launcher = forked.start(forked.fer, "train")
    _until(lambda: list(paths.reusable("checkpoints").glob("*.safetensors")))
    launcher.kill()
    launcher.join()
    _until(lambda: not _training_here())
    assert not paths.CLASSIFIER.exists()
    done = forked.run(forked.fer, "train")
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    assert "in 2 processes" in done.stdout
    assert done.stdout.count("best epoch") == 1  # the second process says nothing
    assert "Traceback" not in done.stderr
    assert [path.read_bytes() for path in OUTCOME] == whole


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _losses() -> list[float]:
    with next((paths.PLOTS / "train").rglob("loss.tsv")).open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file, delimiter="\t")]


def _until(true: Callable[[], object]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it took more than a minute")


def _training_here() -> list[str]:
    """Return the processes that train in the current folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                process.joinpath("cwd").resolve() == Path.cwd()
                and b"\0train\0" in (process / "cmdline").read_bytes()
            ):
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--nproc-per-node two", "train.torchrun: Unsupported nproc_per_node value: two"),
        ("--no-such", "train.torchrun: unrecognized arguments: --no-such"),
        ('"', "train.torchrun: No closing quotation"),
    ],
)
def test_what_torchrun_does_not_know_is_one_line(project: Path, arguments: str, said: str) -> None:
    toy.write(project, **{"train.torchrun": arguments})
    with pytest.raises(UserError) as error:
        train.run(params.load())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_more_processes_than_samples_in_a_batch_are_one_line(project: Path) -> None:
    toy.write(project)
    with pytest.raises(UserError, match="found 12 processes, allowed: at most 7"):
        toy.training_run(params.load(), processes=Processes(0, 12))


def test_a_process_that_is_killed_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write(project, **TWO)
    with (project / "sitecustomize.py").open("w") as file:
        file.write("import os\nif os.environ.get('RANK') == '1':\n    os.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(project))
    done = forked.run(forked.fer, "train")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "fer: train: a process was killed by SIGKILL, and the others were stopped"
    ]
