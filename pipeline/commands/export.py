"""The command `fer export`: the trained classifier as an ONNX file with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.core.errors import UserError
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, MODELS

# What an exported file depends on.
LIBRARIES = ("fer-pipeline", "torch", "onnx", "onnxscript", "onnxruntime")

if TYPE_CHECKING:
    from pipeline.export.lineage import Lineage
    from pipeline.inference.classifier import Classifier
    from pipeline.inference.samples import Samples
    from pipeline.params.model import Align, Params


def export(
    output: Annotated[
        Path, typer.Option(help="The file to write; int8 and the card get names like it.")
    ] = MODELS / "classifier.onnx",
    model: Annotated[Path, typer.Option(help="The model file to export.")] = CLASSIFIER,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write an 8-bit file as well; training faces set its ranges.")
    ] = False,
) -> None:
    """Write the classifier as ONNX, and a model card from the metrics of its run.

    Takes faces as align cuts them out, gives probabilities; classes, alignment and origin are in the file's metadata.
    It is compared with PyTorch on valid and test first: where they differ, or int8 loses accuracy, nothing is written.
    """
    _refuse(output)
    import torch

    from pipeline import params
    from pipeline.core.files import md5_of, replacing
    from pipeline.export import card, lineage, onnx
    from pipeline.export.check import check
    from pipeline.inference.classifier import load

    p = params.load()
    classifier = load(model, torch.device("cpu"))
    splits, train = _faces(p, classifier, int8)

    model_md5 = md5_of(model)
    traced = lineage.trace(model_md5)
    about = _about(classifier, model_md5, traced)
    files = {output.name: onnx.build(classifier, about)}
    small = None
    if train is not None:
        from pipeline.export.int8 import quantized

        small = files[output.with_suffix(".int8.onnx").name] = quantized(files[output.name], train)
    checks = check(classifier, files[output.name], small, splits)

    text = card.write(about, traced, files, checks, _detector_terms(classifier.align))
    for name, content in {**files, output.with_suffix(".card.md").name: text.encode()}.items():
        with replacing(output.with_name(name)) as temporary:
            temporary.write_bytes(content)
        typer.echo(f"export: {output.with_name(name)}, {len(content):,} bytes")
    for found in checks:
        scores = "".join(
            f", accuracy in {form} {value:.4f}"
            for form, value in (("float32", found.float32), ("int8", found.int8))
            if value is not None
        )
        typer.echo(
            f"export: {found.split}, {found.faces:,} faces: differs from PyTorch by at most {found.difference:.1e}"
            + scores
        )
    if not traced.stages:
        typer.echo("export: dvc.lock does not know this model file, so the card has no metrics; `dvc repro`")


def _refuse(output: Path) -> None:
    if output.suffix != ".onnx" or output.stem.endswith(".int8"):
        raise UserError.of("--output", output, "a name that ends in .onnx, and not in .int8.onnx")
    if not output.parent.is_dir():
        raise UserError.of("--output", f"no folder {output.parent}", "one that is there")
    if output.is_dir():
        raise UserError.of("--output", f"{output}, which is a folder", "a file")


def _faces(p: Params, classifier: Classifier, int8: bool) -> tuple[dict[str, Samples], Samples | None]:
    """Return the faces to compare on, by split, and those of the training split if int8 needs them."""
    from pipeline.export.check import random_faces
    from pipeline.inference import samples
    from pipeline.tables.schema import SPLITS

    try:
        _refuse_others(p, classifier)
        faces = {split: samples.real(split, p) for split in SPLITS}
        if not len(faces["train"]):
            raise UserError(f"{LABELS}: found no samples of split train")
    except UserError as error:
        if int8:
            raise UserError(f"--int8 needs faces of the training split: {error}") from None
        typer.echo(f"export: compared on random faces, as the run's cannot be used: {error}")
        return {"random": random_faces(classifier)}, None
    held_out = {name: faces[name] for name in ("valid", "test") if len(faces[name])}
    return held_out or {"train": faces["train"]}, faces["train"] if int8 else None


def _refuse_others(p: Params, classifier: Classifier) -> None:
    """Refuse faces and labels that are not of this model's kind."""
    if p.classes != classifier.classes:
        found, allowed = ", ".join(p.classes), ", ".join(classifier.classes)
        raise UserError.of("params.yaml: classes", found, f"{allowed}, those of the model")
    found, allowed = (
        f"{a.face_size} pixels, {'RGB' if a.colour else 'grey'}, {a.mode}"
        for a in (p.align, classifier.align)
    )
    if found != allowed:
        raise UserError.of(ALIGNED, f"faces of {found}", f"{allowed}, those of the model")


def _about(classifier: Classifier, model_md5: str, traced: Lineage) -> dict[str, Any]:
    """Return the metadata of the exported file."""
    from importlib.metadata import version

    from pipeline.export import lineage, onnx
    from pipeline.faces.alignment import REFERENCE, REFERENCE_SIZE

    commit, dirty = lineage.commit()
    about = {
        "model": classifier.model,
        "classes": classifier.classes,
        "align": classifier.align.model_dump(),
        "crop": classifier.crop,
        "labels": classifier.labels,
        "opset": onnx.OPSET,
        "precision": "float32",
        "provenance": {
            "commit": commit,
            "dirty": dirty,
            "model_md5": model_md5,
            "data": traced.data(),
        },
        "versions": {name: version(name) for name in LIBRARIES},
    }
    if classifier.align.mode == "five_point":
        points = REFERENCE * (classifier.size / REFERENCE_SIZE)
        about["reference"] = [[round(float(value), 4) for value in point] for point in points]
    return about


def _detector_terms(align: Align) -> str:
    """Return the licence of the weights that found the faces, as far as it is known."""
    from pipeline.faces.detectors import detector_module
    from pipeline.faces.weights import INSIGHTFACE_LICENCE

    if align.weights == "package":
        try:
            return detector_module(align.detector).PACKAGED.licence
        except UserError as error:  # dlib's is optional
            return f"not known here: {error}"
    return "that of its publisher" if "." in align.weights else INSIGHTFACE_LICENCE
