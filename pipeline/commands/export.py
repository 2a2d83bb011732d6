"""`fer export`: write the trained classifier as an ONNX file with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.tables.paths import CLASSIFIER, METRICS, MODELS


def export(
    output: Annotated[
        Path, typer.Option(help="Write this file. The names of the int8 file and the card follow from it.")
    ] = MODELS / "classifier.onnx",
    model: Annotated[
        str, typer.Option(help="Export this model: a file, a name or an address, as for `fer predict`.")
    ] = str(CLASSIFIER),
    int8: Annotated[
        bool, typer.Option("--int8", help="Write an 8-bit file too. Training faces set its ranges.")
    ] = False,
) -> None:
    """Write the classifier as an ONNX file, and a model card from the metrics of its run.

    The ONNX file maps aligned faces to probabilities. Its metadata contain classes, alignment and origin. Before
    anything is written, its probabilities on valid and test are compared with PyTorch's, and the accuracy in int8 with
    that in float32. If they differ too much, nothing is written.
    """
    _check_output(output)
    import torch

    from pipeline import params
    from pipeline.core.files import md5_of, replacing
    from pipeline.download.models import located
    from pipeline.evaluation.warnings import warnings
    from pipeline.export import card, lineage, onnx
    from pipeline.export.metadata import metadata
    from pipeline.export.parity import check_parity, comparison_faces
    from pipeline.export.terms import detector_terms
    from pipeline.inference.model_file import load

    p = params.load()
    file = located(model)
    classifier = load(file, torch.device("cpu"))
    splits, train = comparison_faces(p, classifier, int8)

    model_md5 = md5_of(file)
    run = lineage.trace(model_md5)
    about = metadata(classifier, model_md5, run)
    files = {output.name: onnx.build(classifier, about)}
    quantized = None
    if train is not None:
        from pipeline.export import int8 as quantization

        ranges = train.at(quantization.evenly_spaced(len(train))).batches(32, "int8: ranges")
        quantized = quantization.quantized(files[output.name], ranges)
        files[output.with_suffix(".int8.onnx").name] = quantized
    parities = check_parity(classifier, files[output.name], quantized, splits)

    text = card.write(about, run, files, parities, detector_terms(classifier.align))
    for name, content in {**files, output.with_suffix(".card.md").name: text.encode()}.items():
        with replacing(output.with_name(name)) as temporary:
            temporary.write_bytes(content)
        say(f"export: {output.with_name(name)}, {len(content):,} bytes")
    for parity in parities:
        accuracies = "".join(
            f", accuracy in {form} {value:.4f}"
            for form, value in (("float32", parity.float32), ("int8", parity.int8))
            if value is not None
        )
        say(
            f"export: {parity.split}, {parity.faces:,} faces: differs from PyTorch by at most {parity.difference:.1e}"
            + accuracies
        )
    if any(parity.float32 is not None for parity in parities):
        for warning in warnings(run.metrics(METRICS / "evaluate.json")):
            say(f"export: {warning}")
    if not run.stages:
        say("export: dvc.lock does not know this model file, so the card has no metrics; `dvc repro`")


def _check_output(output: Path) -> None:
    if output.suffix != ".onnx" or output.stem.endswith(".int8"):
        raise UserError.of("--output", output, "a name that ends in .onnx, and not in .int8.onnx")
    if not output.parent.is_dir():
        raise UserError.of("--output", f"no folder {output.parent}", "one that is there")
    if output.is_dir():
        raise UserError.of("--output", f"{output}, which is a folder", "a file")
