"""Stage `synthesize`: a GAN trained on the training split alone, the faces it generates, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import typer
from safetensors.torch import save

from pipeline.core.files import replacing, replacing_folder, write_json
from pipeline.core.progress import bar, in_words
from pipeline.faces.detectors import load_detector
from pipeline.figures import synthetic as sheets
from pipeline.inference import device
from pipeline.inference import samples as data
from pipeline.methods.gans import Generator
from pipeline.params.model import Params
from pipeline.quality.distances import gaussian
from pipeline.quality.filters import Filter, Kept, keep
from pipeline.quality.neighbours import nearest
from pipeline.quality.scores import Seen, recognised, scores
from pipeline.synthesis.fit import Fitted, Setting, fit
from pipeline.tables.paths import METRICS, MODELS, PLOTS, SYNTHETIC
from pipeline.tables.schema import channels, synthetic
from pipeline.tables.store import batches_of, fill
from pipeline.training import judge

GENERATORS = MODELS / "gan"
GRIDS = PLOTS / "synthesize"
# Seeds of the faces of a class: it has a range of its own, whichever other classes are asked for.
SEEDS_PER_CLASS = 10_000_000
# Faces compared with their nearest neighbours, and those of each; latent vectors between two, on the sheets.
NEIGHBOURS, NEAREST, ROWS, STEPS = 10, 3, 6, 10


@dataclass(frozen=True)
class Made:
    """Everything there is of one class.

    Attributes:
        label: its index.
        generator: that made the faces.
        kept: the faces.
        training: the real ones that it has learned from, uint8 [N, H, W, C].
    """

    label: int
    generator: Generator
    kept: Kept
    training: np.ndarray


def run(p: Params) -> None:
    """Train the GAN, generate faces, measure them, and draw them beside real ones."""
    where = device.pick(p.train.device)
    wanted = _wanted(p)
    samples = data.learnable(p)
    labels = samples.labels.numpy()
    made_from = data.digest(samples) if wanted else ""
    name, settings = p.chosen("gan")
    folder, seconds = MODELS / "checkpoints", p.train.checkpoint_seconds
    precision = device.pick_precision(p.train.precision, where)
    setting = Setting(name, settings, p.seed, where, precision, p.gans.processes, folder, seconds)
    fitted = fit(setting, samples.gather, labels, p.classes, list(wanted))
    judges = [judge.trained(p, samples, number) for number in range(2)] if wanted else []

    made: dict[str, Made] = {}
    for cls, generator in fitted.generators.items():
        label = p.classes.index(cls)
        training = samples.gather(np.flatnonzero(labels == label))
        filters = _filters(p, judges[0], label, training)
        kept = keep(generator.faces, wanted[cls], label * SEEDS_PER_CLASS, filters)
        if len(kept.seeds) < wanted[cls]:
            tried = in_words({reason: count for reason, count in kept.rejected.items() if count})
            typer.echo(f"synthesize: {cls} has {len(kept.seeds)} of {wanted[cls]} faces; rejected {tried}")
        made[cls] = Made(label, generator, kept, training)
    report = _report(p, made, made_from, fitted, judges) if made else {}

    # All of it is whole before any takes the place of an earlier run's.
    with (
        replacing(SYNTHETIC) as table,
        replacing_folder(GENERATORS) as weights,
        replacing_folder(GRIDS) as grids,
    ):
        schema = synthetic(p.align.face_size, channels(p.align.colour), made_from)
        fill(table, SYNTHETIC.suffix, schema, batches_of(schema, _rows(name, made)))
        _store(weights, name, made, made_from)
        _draw(grids, name, made, fitted)
    write_json(METRICS / "synthesize.json", {"gan": name} | report)
    for checkpoint in fitted.checkpoints:
        checkpoint.unlink(missing_ok=True)
    typer.echo(_summary(name, made, report))


def _wanted(p: Params) -> dict[str, int]:
    """Return how many faces each class is to get, those that get none left out."""
    if p.gan == "none":
        return {}
    if p.gans.images_per_class != "balance":
        return dict.fromkeys(p.gans.classes, p.gans.images_per_class)
    counts = np.bincount(data.real("train", p).labels.numpy(), minlength=len(p.classes))
    full = p.gans.balance_to or int(counts.max())
    lacking = {cls: full - int(counts[p.classes.index(cls)]) for cls in p.gans.classes}
    return {cls: count for cls, count in lacking.items() if count > 0}


def _filters(p: Params, judged: judge.Judge, label: int, training: np.ndarray) -> dict[str, Filter]:
    """Return the filters that params.yaml switches on."""
    settings, filters = p.gans.filters, {}
    if settings.confidence:
        filters["confidence"] = lambda faces: judged.look(faces)[1][:, label] >= settings.confidence
    if settings.detector:
        filters["detector"] = _detected(p)
    if settings.distance:
        usual = np.median(nearest(training, training, same=True)[0][:, 0])
        filters["distance"] = lambda faces: nearest(faces, training)[0][:, 0] >= settings.distance * usual
    return filters


def _detected(p: Params) -> Filter:
    detector, _ = load_detector(p.align.detector, p.align.weights, p.align.threshold)
    colour = cv2.COLOR_RGB2BGR if p.align.colour else cv2.COLOR_GRAY2BGR

    def found(faces: np.ndarray) -> np.ndarray:
        pictures = [cv2.cvtColor(face, colour) for face in faces]
        return np.array([face is not None for face in detector.detect(pictures)], bool)

    return found


def _report(
    p: Params, made: dict[str, Made], made_from: str, fitted: Fitted, judges: list[judge.Judge]
) -> dict[str, Any]:
    """Return `metrics/synthesize.json`: what measures, and every measure for each class and for all of them."""
    measure, classifier = judges
    valid = data.real("valid", p)
    valid_faces, valid_labels = valid.gather(np.arange(len(valid))), valid.labels.numpy()
    named = classifier.look(valid_faces)[1].argmax(axis=1) if len(valid) else np.array([])
    report: dict[str, Any] = {
        "made_from": made_from,
        "features": {"network": "light, trained on the training split", "sha256": measure.digest},
        "classifier": {
            "network": "light, trained on the training split with another seed",
            "sha256": classifier.digest,
            "valid_accuracy": float((named == valid_labels).mean()) if len(valid) else None,
        },
    }

    def seen(faces: np.ndarray) -> Seen:
        return Seen(faces, measure.look(faces)[0])

    parts: dict[str, list[Seen]] = {}
    with bar(len(made), desc="measure", unit="classes") as shown:
        for cls, of in made.items():
            count = max(len(of.kept.seeds), 2)
            others = {"noise": gaussian(of.training, count, p.seed)}
            if cls in fitted.untrained:
                others["untrained"] = fitted.untrained[cls].faces(range(count))
            if (valid_labels == of.label).sum() > 1:
                others["valid"] = valid_faces[valid_labels == of.label]
            training, generated = seen(of.training), seen(of.kept.faces)
            compared = {name: seen(faces) for name, faces in others.items()}
            report[cls] = {
                "images": len(of.kept.seeds),
                "trained_on": of.generator.trained_on,
                "generator": of.generator.digest(),
                "rejected": dict(of.kept.rejected),
                **scores(training, generated, compared),
                "recognised": {
                    "generated": recognised(classifier.look(of.kept.faces)[1], of.label),
                    "valid": recognised(classifier.look(others["valid"])[1], of.label)
                    if "valid" in others
                    else None,
                },
            }
            for part, some in {"training": training, "generated": generated, **compared}.items():
                parts.setdefault(part, []).append(some)
            shown.update()
    whole = {
        name: Seen(np.concatenate([s.faces for s in some]), np.concatenate([s.features for s in some]))
        for name, some in parts.items()
    }
    shares = [report[cls]["recognised"]["generated"] for cls in made]
    report["all"] = {
        "images": len(whole["generated"].faces),
        **scores(whole.pop("training"), whole.pop("generated"), whole),
        "recognised": {"generated": float(np.mean(shares)) if None not in shares else None},
    }
    return report


def _rows(name: str, made: dict[str, Made]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of generated faces, sorted by id."""
    for cls in sorted(made):
        origin = f"{name}/{cls}/{made[cls].generator.digest()}"
        for seed, face in zip(made[cls].kept.seeds, made[cls].kept.faces, strict=True):
            row = {"id": f"synthetic/{cls}/{seed:08d}", "label": cls, "face": face.tobytes()}
            yield row | {"seed": seed, "generator": origin}


def _store(folder: Path, name: str, made: dict[str, Made], made_from: str) -> None:
    """Write the generators into a folder, with a list of them."""
    index = {}
    for cls, of in made.items():
        digest = of.generator.digest()
        file = folder / f"{digest[:16]}.safetensors"
        if not file.exists():  # classes of a conditional GAN share one
            file.write_bytes(save(of.generator.weights()))
        index[cls] = {"gan": name, "sha256": digest, "file": file.name, "label": of.generator.label}
        index[cls] |= {"trained_on": of.generator.trained_on, "made_from": made_from}
    write_json(folder / "generators.json", index)


def _draw(folder: Path, name: str, made: dict[str, Made], fitted: Fitted) -> None:
    """Draw every sheet into a folder, which DVC wants to hold pictures alone and at least one."""
    for cls, of in made.items():
        faces = of.kept.faces
        sheets.real_beside_generated(folder / f"{cls}.png", f"{cls}: {name}", of.training, faces)
        some = faces[:NEIGHBOURS]
        if len(some):
            distances, rows = nearest(some, of.training, k=NEAREST)
            title = f"{cls}: {name} and the nearest training faces"
            sheets.neighbours(folder / f"{cls}_neighbours.png", title, some, of.training[rows], distances)
        if fitted.curves:
            between = _between(of.generator.latent)
            path = of.generator.of_noise(between.reshape(-1, between.shape[2]))
            path = path.reshape(ROWS, STEPS, *path.shape[1:])
            sheets.interpolation(
                folder / f"{cls}_interpolation.png", f"{cls}: {name}, from face to face", path
            )
    for task, epochs in fitted.epochs.items():
        sheets.by_epoch(folder / f"{task}_epochs.png", f"{task}: {name} by epoch", epochs, fitted.shown[task])
    for figure, ylabel in (("distance", "scores of real less generated faces"), ("critic", "critic's loss")):
        curves = {task: [epoch[figure] for epoch in history] for task, history in fitted.curves.items()}
        if curves:
            sheets.curves(folder / f"{figure}.png", f"{name}: {ylabel}", ylabel, curves)
    if not made:
        blank = np.full((40, 280), 255, np.uint8)
        note = cv2.putText(blank, "no synthetic faces", (10, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0)
        (folder / "none.png").write_bytes(cv2.imencode(".png", note)[1].tobytes())


def _between(latent: int) -> np.ndarray:
    """Return noise on the way between two latent vectors, float32 [ROWS, STEPS, Z].

    Along great circles: the length of the noise, which the generator knows one of, stays the same (White 2016).
    """
    start, stop = np.random.default_rng(0).standard_normal((2, ROWS, 1, latent))
    angle = np.linspace(0, np.pi / 2, STEPS)[:, None]
    return (np.cos(angle) * start + np.sin(angle) * stop).astype(np.float32)


def _summary(name: str, made: dict[str, Made], report: dict[str, Any]) -> str:
    lines = [f"synthesize: {name}, {sum(len(of.kept.seeds) for of in made.values()):,} faces"]
    if made:
        lines.append("synthesize:        class  faces      FID  untrained   noise  recognised  memorised")
    for cls in made:
        found = report[cls]
        values = [found["fid"], found.get("fid_untrained"), found["fid_noise"]]
        fid, untrained, noise = ("-" if value is None else f"{value:.2f}" for value in values)
        shares = [found["recognised"]["generated"], found["memorised"]]
        known, copied = ("-" if value is None else f"{value:.3f}" for value in shares)
        lines.append(
            f"{cls:>24} {found['images']:6,} {fid:>8} {untrained:>10} {noise:>7} {known:>11} {copied:>10}"
        )
    return "\n".join(lines)
