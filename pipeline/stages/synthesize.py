"""Stage `synthesize`: train a GAN on the training split alone, generate faces, and measure how good they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors.torch import save

from pipeline.core.errors import UserError
from pipeline.core.files import replacing, replacing_folder, write_json
from pipeline.core.progress import bar, in_words, say
from pipeline.faces.detectors import load_detector
from pipeline.figures import synthetic as sheets
from pipeline.inference import device
from pipeline.inference.samples import LabelledFaces, Samples, digest
from pipeline.methods.gans import Generator
from pipeline.params.gans import Filters
from pipeline.params.model import Align, Params
from pipeline.quality.filters import Filter, Kept, keep
from pipeline.quality.measures import FaceSet, measures, recognised
from pipeline.quality.neighbours import nearest
from pipeline.quality.noise import gaussian_noise
from pipeline.synthesis.generators import FittedGenerators, GanSetup, fit_generators
from pipeline.tables.paths import METRICS, MODELS, PLOTS, SYNTHETIC, reusable
from pipeline.tables.schema import channels, synthetic
from pipeline.tables.store import batches_of, fill
from pipeline.training.judge import Judge, trained

GENERATORS = MODELS / "gan"
GRIDS = PLOTS / "synthesize"
# Each class has its own range of seeds, so its faces do not depend on the other classes.
SEEDS_PER_CLASS = 10_000_000
# Sheets show this many faces with this many nearest neighbours each,
NEIGHBOURS, NEAREST = 10, 3
# and this many interpolations of this many steps.
ROWS, STEPS = 6, 10
# File and meaning of the curves of each figure of a training.
CURVES = {
    "critic": ("critic_loss", "critic's loss without the penalty"),
    "generator": ("generator_loss", "generator's loss"),
    "distance": ("score_gap", "critic's score, real less generated faces"),
}


@dataclass(frozen=True)
class ClassFaces:
    """Generated faces of one class and their origin.

    Attributes:
        label: index of the class.
        generator: generator of the faces.
        untrained: the same generator before training, if it was trained.
        kept: generated faces that passed the filters.
        training: training faces of the class, uint8 [N, H, W, C].
    """

    label: int
    generator: Generator
    untrained: Generator | None
    kept: Kept
    training: np.ndarray


def run(p: Params) -> None:
    """Train the GAN, generate faces, measure them, and plot them beside real ones."""
    torch_device = device.pick(p.train.device)
    faces = LabelledFaces(p.classes, p.gan_datasets, p.align)
    name, settings = p.chosen("gan")
    wanted = {} if name == "none" else _wanted(p)
    samples = faces.learnable()
    labels = samples.labels.numpy()
    made_from, datasets = (digest(samples), p.gan_datasets) if wanted else ("", [])
    precision = device.pick_precision(p.train.precision, torch_device)
    folder, seconds = reusable("checkpoints"), p.train.checkpoint_seconds
    setup = GanSetup(name, settings, p.seed, torch_device, precision, p.gans.processes, folder, seconds)
    fitted = fit_generators(setup, samples.gather, labels, p.classes, list(wanted))
    if fitted.reused:
        say(f"synthesize: reused the GAN of an earlier run: {', '.join(fitted.reused)}")
    judges = [
        trained(samples, p.classes, p.seed, number, p.gans.judge_epochs, torch_device, precision, seconds)
        for number in range(2 if wanted else 0)
    ]

    classes: dict[str, ClassFaces] = {}
    for cls, generator in fitted.generators.items():
        label = p.classes.index(cls)
        training = samples.gather(np.flatnonzero(labels == label))
        filters = _filters(p.gans.filters, p.align, judges[0], label, training)
        kept = keep(generator.faces, wanted[cls], label * SEEDS_PER_CLASS, filters)
        if len(kept.seeds) < wanted[cls]:
            rejected = in_words({reason: count for reason, count in kept.rejected.items() if count})
            say(f"synthesize: {cls} has {len(kept.seeds)} of {wanted[cls]} faces; rejected {rejected}")
        classes[cls] = ClassFaces(label, generator, fitted.untrained.get(cls), kept, training)
    report: dict[str, Any] = {"gan": name}
    if classes:
        report |= {"datasets": datasets, "made_from": made_from}
        report |= _report(classes, judges, faces.split("valid"), p.seed)

    # The outputs of an earlier run are replaced only when all new ones are complete.
    with (
        replacing(SYNTHETIC) as table,
        replacing_folder(GENERATORS) as weights,
        replacing_folder(GRIDS) as grids,
    ):
        schema = synthetic(p.align.face_size, channels(p.align.colour), made_from, datasets)
        fill(table, SYNTHETIC.suffix, schema, batches_of(schema, _rows(name, classes)))
        _write_generators(weights, name, classes, made_from)
        _plot(grids, name, classes, fitted)
        write_json(METRICS / "synthesize.json", report)
    say(_summary(name, classes, report))


def _wanted(p: Params) -> dict[str, int]:
    """Return the number of faces to generate for each class that needs some. `balance` counts the classifier's."""
    if p.gans.images_per_class != "balance":
        return dict.fromkeys(p.gans.classes, p.gans.images_per_class)
    labels = LabelledFaces(p.classes, p.train_datasets, p.align).split("train").labels.numpy()
    counts = np.bincount(labels, minlength=len(p.classes))
    full = p.gans.balance_to or int(counts.max())
    lacking = {cls: full - int(counts[p.classes.index(cls)]) for cls in p.gans.classes}
    return {cls: count for cls, count in lacking.items() if count > 0}


def _filters(
    settings: Filters, align: Align, judge: Judge, label: int, real: np.ndarray
) -> dict[str, Filter]:
    """Return the filters that params.yaml switches on."""
    filters: dict[str, Filter] = {}
    if settings.confidence:
        filters["confidence"] = lambda faces: judge.assess(faces)[1][:, label] >= settings.confidence
    if settings.detector:
        filters["detector"] = _detector_filter(align)
    if settings.distance:
        if len(real) < 2:
            found = f"{settings.distance} with {len(real)} training face of a class"
            raise UserError.of("params.yaml: gans.filters.distance", found, "0.0, or at least two faces")
        usual = np.median(nearest(real, real, same=True)[0][:, 0])
        filters["distance"] = lambda faces: nearest(faces, real)[0][:, 0] >= settings.distance * usual
    return filters


def _detector_filter(align: Align) -> Filter:
    detector, _ = load_detector(align.detector, align.weights, align.threshold)
    colour = cv2.COLOR_RGB2BGR if align.colour else cv2.COLOR_GRAY2BGR

    def detected(faces: np.ndarray) -> np.ndarray:
        images = [cv2.cvtColor(face, colour) for face in faces]
        return np.array([face is not None for face in detector.detect(images)], bool)

    return detected


def _report(classes: dict[str, ClassFaces], judges: list[Judge], valid: Samples, seed: int) -> dict[str, Any]:
    """Return the measures of each class and of all classes together, and the networks that measured."""
    measure, classifier = judges
    valid_faces, valid_labels = valid.gather(np.arange(len(valid))), valid.labels.numpy()
    predicted = classifier.assess(valid_faces)[1].argmax(axis=1) if len(valid) else np.array([])
    report: dict[str, Any] = {
        "features": {"network": "light, trained on the training split", "sha256": measure.digest},
        "classifier": {
            "network": "light, trained on the training split with another seed",
            "sha256": classifier.digest,
            "valid_accuracy": float((predicted == valid_labels).mean()) if len(valid) else None,
        },
    }

    def share_recognised(faces: np.ndarray, label: int) -> float | None:
        return recognised(classifier.assess(faces)[1], label)

    parts: dict[str, list[FaceSet]] = defaultdict(list)
    with bar(len(classes), desc="measure", unit="classes") as shown:
        for cls, own in classes.items():
            faces, label = own.kept.faces, own.label
            count = max(len(faces), 2)
            sets = {"training": own.training, "generated": faces}
            sets["noise"] = gaussian_noise(own.training, count, seed)
            if own.untrained:
                sets["untrained"] = own.untrained.faces(range(count))
            if (valid_labels == label).sum() > 1:
                sets["valid"] = valid_faces[valid_labels == label]
            seen = {name: FaceSet(some, measure.assess(some)[0]) for name, some in sets.items()}
            for name, some in seen.items():
                parts[name].append(some)
            report[cls] = {
                "images": len(faces),
                "trained_on": own.generator.trained_on,
                "generator": own.generator.digest(),
                "rejected": dict(own.kept.rejected),
                **measures(seen.pop("training"), seen.pop("generated"), seen),
                "recognised": {
                    "generated": share_recognised(faces, label),
                    "valid": share_recognised(sets["valid"], label) if "valid" in sets else None,
                },
            }
            shown.update()
    whole = {
        name: FaceSet(np.concatenate([s.faces for s in some]), np.concatenate([s.features for s in some]))
        for name, some in parts.items()
    }
    shares = [report[cls]["recognised"]["generated"] for cls in classes]
    report["all"] = {
        "images": len(whole["generated"].faces),
        **measures(whole.pop("training"), whole.pop("generated"), whole),
        "recognised": {"generated": float(np.mean(shares)) if None not in shares else None},
    }
    return report


def _rows(name: str, classes: dict[str, ClassFaces]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of generated faces, sorted by id."""
    for cls in sorted(classes, key="{}/".format):  # as ids: `a-b/` comes before `a/`
        kept = classes[cls].kept
        origin = f"{name}/{cls}/{classes[cls].generator.digest()}"
        for seed, face in zip(kept.seeds, kept.faces, strict=True):
            row = {"id": f"synthetic/{cls}/{seed:08d}", "label": cls, "face": face.tobytes()}
            yield row | {"seed": seed, "generator": origin}


def _write_generators(folder: Path, name: str, classes: dict[str, ClassFaces], made_from: str) -> None:
    """Write the generators and a list of them into a folder."""
    index = {}
    for cls, own in classes.items():
        generator, digest = own.generator, own.generator.digest()
        file = folder / f"{digest[:16]}.safetensors"
        if not file.exists():  # classes of a conditional GAN share a file
            file.write_bytes(save(generator.weights()))
        index[cls] = {"gan": name, "sha256": digest, "file": file.name, "label": own.label}
        index[cls] |= {"trained_on": generator.trained_on, "made_from": made_from}
    write_json(folder / "generators.json", index)


def _plot(folder: Path, name: str, classes: dict[str, ClassFaces], fitted: FittedGenerators) -> None:
    """Write every sheet into a folder. DVC requires a folder of plots to hold only images, and at least one."""
    for cls, own in classes.items():
        faces = own.kept.faces
        sheets.real_beside_generated(folder / f"{cls}.png", f"{cls}: {name}", own.training, faces)
        some = faces[:NEIGHBOURS]
        if len(some):
            distances, rows = nearest(some, own.training, k=NEAREST)
            title = f"{cls}: {name} and the nearest training faces"
            sheets.neighbours(folder / f"{cls}.neighbours.png", title, some, own.training[rows], distances)
        if fitted.results:
            noise = _interpolated_noise(own.generator.latent)
            path = own.generator.of_noise(noise.reshape(-1, noise.shape[2]))
            path = path.reshape(ROWS, STEPS, *path.shape[1:])
            sheets.interpolation(
                folder / f"{cls}.interpolation.png", f"{cls}: {name}, from face to face", path
            )
    for task, result in fitted.results.items():
        file, title = folder / f"{task}.epochs.png", f"{task}: {name} by epoch"
        sheets.by_epoch(file, title, result.progress.shown, result.shown)
    histories = {task: result.progress.history for task, result in fitted.results.items()}
    for figure, (file_name, quantity) in CURVES.items():
        curves = {task: [epoch[figure] for epoch in history] for task, history in histories.items()}
        if curves:
            sheets.curves(folder / f"all.{file_name}.png", f"{name}: {quantity} by epoch", quantity, curves)
    if not classes:
        blank = np.full((40, 280), 255, np.uint8)
        note = cv2.putText(blank, "no synthetic faces", (10, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0)
        (folder / "none.png").write_bytes(cv2.imencode(".png", note)[1].tobytes())


def _interpolated_noise(latent: int) -> np.ndarray:
    """Return noise between pairs of latent vectors, float32 [ROWS, STEPS, Z].

    The path follows great circles, which keeps the length of the noise as in training (White 2016).
    """
    start, stop = np.random.default_rng(0).standard_normal((2, ROWS, 1, latent))
    angle = np.linspace(0, np.pi / 2, STEPS)[:, None]
    return (np.cos(angle) * start + np.sin(angle) * stop).astype(np.float32)


def _summary(name: str, classes: dict[str, ClassFaces], report: dict[str, Any]) -> str:
    total = sum(len(own.kept.seeds) for own in classes.values())
    lines = [f"synthesize: {name}, {total:,} faces"]
    width = max([24, *map(len, classes)])
    if classes:
        lines[0] += f", learned from {', '.join(report['datasets'])}"
        heads = "faces      FID  untrained   noise  recognised  memorised"
        lines.append(f"synthesize: {'class':>{width - 12}}  {heads}")
    for cls in classes:
        row = report[cls]
        values = [row["fid"], row.get("fid_untrained"), row["fid_noise"]]
        fid, untrained, noise = ("-" if value is None else f"{value:.2f}" for value in values)
        shares = [row["recognised"]["generated"], row["memorised"]]
        recognised, memorised = ("-" if value is None else f"{value:.3f}" for value in shares)
        lines.append(
            f"{cls:>{width}} {row['images']:6,} {fid:>8} {untrained:>10} {noise:>7} {recognised:>11} {memorised:>10}"
        )
    return "\n".join(lines)
