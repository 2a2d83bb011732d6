"""Stage `train`: train the network, augmentation, loss and optimiser that params.yaml chooses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.core import allocator
from pipeline.core.code import sources
from pipeline.core.errors import UserError
from pipeline.core.files import fingerprint, replacing, replacing_folder, write_json
from pipeline.core.progress import in_yaml, say
from pipeline.figures import training as plots
from pipeline.inference import device, model_file
from pipeline.inference.samples import LabelledFaces, Samples, gan_datasets
from pipeline.methods.augments import View
from pipeline.methods.models import Classifier
from pipeline.params.model import Params
from pipeline.params.settings import flat, in_use
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, METRICS, PLOTS, SYNTHETIC, reusable
from pipeline.tables.schema import channels
from pipeline.training import processes
from pipeline.training.checkpoint import CODE
from pipeline.training.compiler import compiler_errors
from pipeline.training.engine import Diverged, TrainingRun, TrainingState
from pipeline.training.parts import Parts, built_parts, loaded_network
from pipeline.training.pretrained import LoadReport
from pipeline.training.processes import Processes
from pipeline.training.svm import fit_head
from pipeline.training.temperature import scale
from pipeline.training.validation import EpochFigures
from pipeline.training.weights import choices_by_part, files

CURVES = PLOTS / "train"
FACES = 24  # of each view on the sheet of faces
LIVE_CURVES = PLOTS / "live"  # those of a run that has not finished
# Blocks and settings without influence on a training of given tables: a run may resume with others.
WITHOUT_INFLUENCE = {
    *("engine", "workers", "memory", "sample", "ingest", "gans", "evaluate"),
    *("train.checkpoint_seconds", "train.workers", "train.torchrun"),
}


def run(p: Params) -> None:
    """Train the classifier on the faces of `train.datasets` and the synthetic ones.

    `train.best` chooses the epoch that is kept, on the split valid of these data sets.

    With `train.torchrun`, torchrun starts the training processes, and this process waits for them.
    """
    if p.train.torchrun is not None and not processes.launched():
        processes.launch(p.train.torchrun, ["pipeline", "train"])
        return
    with processes.joined() as group:
        try:
            _train(p, group)
        except Diverged as error:
            rate = f"optimizers.{p.optimizer}.learning_rate"
            raise UserError(f"{error}; lower {rate} or raise train.warmup") from None


def _train(p: Params, group: Processes) -> None:
    where = device.pick(p.train.device)
    precision = device.pick_precision(p.train.precision, where)
    if where.type == "cpu":
        allocator.keep_freed()
    train, valid = _samples(p)
    by_dataset = {name: int((train.table == i).sum()) for i, name in enumerate(p.train_datasets)}
    real = sum(by_dataset.values())
    unfinished = checkpoint_path(p)
    network, starts = starting_network(p, where)
    precision_name = str(precision).removeprefix("torch.")
    processor = "GPU" if where.type == "cuda" else "CPU"
    if not group.rank:
        say(
            f"train: {real} faces of {', '.join(p.train_datasets)} and {len(train) - real} synthetic ones, {p.model}, "
            f"augment {p.augment}, loss {p.loss}, {p.optimizer}, on the {processor}, in {precision_name} precision"
            + (f", in {group.size} processes" if group.size > 1 else "")
        )
        for part, start in starts.items():
            say(f"train: weights {choices_by_part(p.chosen('model')[1])[part]}: {start}")

    log = _curves(group)
    rates: list[float] = []
    views: Sequence[View] = []
    if p.model == "svm_deep_features":
        cost, crop = p.chosen("model")[1].C, p.train.crop
        figures = fit_head(network, train, valid, p.classes, cost, p.seed, crop, precision)
        log(0, figures)
        state = TrainingState(1, 0, [figures])
    else:
        parts = training_parts(p, network, train)
        training = TrainingRun(parts, p.train, p.seed, train, valid, precision, unfinished, group)
        state = training.state
        if training.resumed and not group.rank:
            say(f"train: resuming an interrupted run at epoch {state.epoch + 1}, step {state.step}")

        def log_with_rate(index: int, figures: EpochFigures) -> None:
            rates.append(training.learning_rate(index))
            log(index, figures | {"train/learning_rate": rates[-1]})

        with compiler_errors():
            training.fit(log_with_rate)
        views = [] if group.rank else training.first_views()
    if group.rank:
        return

    divided = {}
    if p.train.temperature:
        assert valid is not None  # see `_samples`
        divided = {"temperature": scale(network, valid.to(where), p.train.crop, precision)}
    best = state.best if state.best >= 0 else len(state.history) - 1
    figures = state.history[best]
    weights = {part: asdict(start) for part, start in starts.items()}
    metrics = {
        "epochs": len(state.history),
        "best_epoch": best + 1,
        "train": _scores("train", figures),
        "valid": _scores("valid", figures),
        "samples": {"real": real, "synthetic": len(train) - real, "datasets": by_dataset},
        "precision": precision_name,
        **divided,
    } | ({"weights": weights.get("", weights)} if weights else {})
    # The outputs of an earlier run are replaced only when all new ones are complete.
    with replacing(CLASSIFIER) as model, replacing_folder(CURVES) as curves:
        model_file.save(model, trained_model(p, network, gan_datasets(SYNTHETIC)))
        shutil.copytree(LIVE_CURVES, curves, dirs_exist_ok=True)
        methods = f"{p.model}, augment {p.augment}, loss {p.loss}, {p.optimizer}"
        plots.results(curves / "results.png", methods, state.history, rates, best)
        if views:
            title = f"what the network saw first: augment {p.augment}, step 1 of epoch 1"
            plots.faces_sheet(curves / "faces.png", title, _seen(views, p.classes))
        write_json(METRICS / "train.json", metrics)
    shutil.rmtree(LIVE_CURVES)
    unfinished.unlink(missing_ok=True)
    count = len(state.history)
    kept = f"best epoch {best + 1} of {count} by {p.train.best}"
    if state.best < 0:
        kept = f"last epoch of {count}"
    found = [f"{name} {value:.4f}" for name, value in figures.items() if name.startswith("valid/")]
    say(f"train: {kept}; {', '.join(found) or 'no split valid'}")
    if divided:
        say(f"train: logits divided by a temperature of {divided['temperature']:.3f}, fitted on valid")


def _seen(views: Sequence[View], classes: list[str]) -> list[plots.SeenFaces]:
    """Return the first faces of each view of a batch, rounded to the 256 values of a pixel, with their targets."""
    parts = []
    for i, view in enumerate(views, 1):
        heading = f"view {i} of {len(views)}, weight {view.weight:g} in the loss" if len(views) > 1 else ""
        pixels = (view.images[:FACES].double() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        targets = view.targets[:FACES].cpu().numpy()
        captions = [plots.target_caption(target, classes) for target in targets]
        parts.append(plots.SeenFaces(heading, pixels, captions))
    return parts


def _scores(split: str, figures: EpochFigures) -> dict[str, float | None]:
    """Return the figures of a split by name; one that is not finite is None, as JSON has no such number."""
    return {
        name.removeprefix(f"{split}/"): value if math.isfinite(value) else None
        for name, value in figures.items()
        if name.startswith(f"{split}/")
    }


def _samples(p: Params) -> tuple[Samples, Samples | None]:
    """Return the faces to learn from, synthetic ones included, and the split valid or None if it is empty."""
    faces = LabelledFaces(p.classes, p.train_datasets, p.align)
    real = faces.split("train")
    if len(real) < 2:
        allowed = "at least 2; metrics/label.json counts what was dropped"
        found = f"{len(real)} samples of split train in {', '.join(p.train_datasets)}"
        raise UserError.of(LABELS, found, allowed)
    train = faces.with_synthetic(real, SYNTHETIC, alone=p.train.synthetic == "alone")
    if len(train) < 2:
        raise UserError.of(SYNTHETIC, f"{len(train)} faces", "at least 2 while train.synthetic is alone")
    valid = faces.split("valid")
    for key, needs in (("patience", "0"), ("temperature", "false")):
        if not len(valid) and (found := getattr(p.train, key)):
            allowed = f"{needs}, as no sample of split valid exists"
            raise UserError.of(f"params.yaml: train.{key}", in_yaml(found), allowed)
    return train, valid if len(valid) else None


def checkpoint_path(p: Params) -> Path:
    """Return the checkpoint's path, whose name is a hash of the settings, the input files and the code of the run.

    A run therefore never resumes from a checkpoint of other settings, except those of methods that are not chosen.
    """
    inputs = [LABELS, SYNTHETIC, *(ALIGNED / f"{name}.arrow" for name in p.train_datasets)]
    inputs += [path for path in files(p.chosen("model")[1]) if path.is_file()]
    settings = in_use(flat(p.model_dump()))
    relevant = {key: settings[key] for key in settings if not {key, key.split(".")[0]} & WITHOUT_INFLUENCE}
    words = (json.dumps(relevant, sort_keys=True), torch.__version__)
    name = fingerprint(words, [*inputs, *sources(*CODE, "stages/train.py")])
    return reusable("checkpoints") / f"{name}.safetensors"


def starting_network(p: Params, where: torch.device) -> tuple[Classifier, dict[str, LoadReport]]:
    """Return the chosen network on a device, and a report on its starting weights by part."""
    return loaded_network(p.chosen("model"), p.classes, channels(p.align.colour), p.seed, where)


def training_parts(p: Params, network: Classifier, train: Samples) -> Parts:
    """Return the network with the chosen optimiser, loss and augmentation."""
    return built_parts(network, p.chosen("optimizer"), p.chosen("loss"), p.chosen("augment"), train.labels)


def trained_model(p: Params, network: Classifier, gan_data: Sequence[str] = ()) -> model_file.TrainedModel:
    """Return the network with everything needed to use it; `gan_data` names the data sets of the GAN."""
    return model_file.TrainedModel(
        network,
        *p.chosen("model"),
        p.classes,
        p.align.for_prediction(p.train_datasets),
        p.train.crop,
        p.train.precision,
        p.labels.rule,
        p.train_datasets,
        list(gan_data),
    )


def _curves(group: Processes) -> Callable[[int, EpochFigures], None]:
    """Return a function that adds an epoch's figures to the curves. Process 0 alone writes them.

    Each figure has a file, `plots/metrics/<split>/<figure>.tsv`, in the form of DVCLive.
    """
    if group.rank:
        return lambda index, figures: None
    # A resumed run writes all of its epochs: the checkpoint has their figures.
    shutil.rmtree(LIVE_CURVES, ignore_errors=True)

    def log(index: int, figures: EpochFigures) -> None:
        for name, value in figures.items():
            path = LIVE_CURVES / "plots/metrics" / f"{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            head = "" if path.exists() else f"step\t{path.stem}\n"
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{head}{index}\t{value}\n")

    return log
