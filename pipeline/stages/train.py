"""Stage `train`: network x augmentation x loss x optimiser, as params.yaml says."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict

import typer

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.inference import device, samples
from pipeline.inference.classifier import save_classifier
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, METRICS, MODELS, PLOTS, SYNTHETIC
from pipeline.training import checkpoint, pretrained, processes
from pipeline.training.engine import Epoch, Run
from pipeline.training.processes import Processes
from pipeline.training.svm import SupportVectors

CURVES = PLOTS / "train"


def run(p: Params) -> None:
    """Train the classifier on the training split and the synthetic faces; keep the best epoch on `valid`.

    With `train.torchrun`, in the processes that torchrun starts: this one waits for them.
    """
    if p.train.torchrun is not None and not processes.launched():
        processes.launch(p.train.torchrun, ["pipeline", "train"])
        return
    with processes.joined() as group:
        _train(p, group)


def _train(p: Params, group: Processes) -> None:
    where = device.pick(p.train.device)
    precision = device.pick_precision(p.train.precision, where)
    real = samples.real("train", p)
    if len(real) < 2:
        allowed = "at least 2; metrics/label.json counts what was dropped"
        raise UserError.of(LABELS, f"{len(real)} samples of split train", allowed)
    train = samples.with_synthetic(real, SYNTHETIC, p)
    valid = samples.real("valid", p)
    if not len(valid) and p.train.patience:
        raise UserError.of(
            "params.yaml: train.patience", p.train.patience, "0, as no sample of split valid exists"
        )

    inputs = [LABELS, SYNTHETIC, *(ALIGNED / f"{name}.arrow" for name in p.datasets)]
    inputs += [path for path in pretrained.files(p) if path.is_file()]
    unfinished = MODELS / "checkpoints" / f"{checkpoint.fingerprint(p, inputs)}.safetensors"
    chooses = valid if len(valid) else None
    engine: Run | SupportVectors
    if p.model == "svm_deep_features":
        engine = SupportVectors(p, train, chooses, where, precision)
    else:
        engine = Run(p, train, chooses, where, precision, unfinished, group)
    if group.rank:
        engine.fit(lambda index, figures: None)
        return
    typer.echo(
        f"train: {len(real)} faces and {len(train) - len(real)} synthetic ones, {p.model}, augment {p.augment}, "
        f"loss {p.loss}, {p.optimizer}, on {where} in {str(precision).removeprefix('torch.')}"
        + (f", in {group.size} processes" if group.size > 1 else "")
    )
    for part, start in engine.starts.items():
        typer.echo(f"train: weights {pretrained.choices(p)[part]}: {start}")
    if engine.resumed:
        here = engine.progress
        typer.echo(f"train: resuming an interrupted run at epoch {here.epoch + 1}, step {here.step}")

    from dvclive import (
        Live,
    )  # here, as it takes a second to load, which the other processes of a run do not need

    # DVCLive would take its own half-written curves for another run's; the checkpoint has the whole history.
    shutil.rmtree(CURVES, ignore_errors=True)
    os.environ.setdefault("DVCLIVE_LOGLEVEL", "WARNING")
    with Live(str(CURVES), dvcyaml=False, save_dvc_exp=False, report=None) as live:

        def log(index: int, figures: Epoch) -> None:
            for name, value in figures.items():
                live.log_metric("train/loss" if name == "loss" else f"valid/{name}", value)
            live.next_step()

        engine.fit(log)
    (CURVES / "metrics.json").unlink(missing_ok=True)  # metrics/train.json says it

    done = engine.progress
    save_classifier(CLASSIFIER, engine.network.state_dict(), p)
    weights = {part: asdict(start) for part, start in engine.starts.items()}
    best = done.best if done.best >= 0 else len(done.history) - 1
    write_json(
        METRICS / "train.json",
        {
            "epochs": len(done.history),
            "best_epoch": best + 1,
            "loss": done.history[best]["loss"],
            "valid": {"accuracy": done.history[best].get("accuracy")},
            "samples": {"real": len(real), "synthetic": len(train) - len(real)},
            "precision": str(precision).removeprefix("torch."),
        }
        | ({"weights": weights.get("", weights)} if weights else {}),
    )
    unfinished.unlink(missing_ok=True)
    score = done.history[best].get("accuracy")
    typer.echo(
        f"train: best epoch {best + 1} of {len(done.history)}"
        + (f", valid accuracy {score:.4f}" if score is not None else " (no valid split: the last one)")
    )
