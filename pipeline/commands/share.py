"""`fer share`: write a model or a data set as a repository of the Hugging Face Hub, and upload it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands import completion, examples
from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.tables.paths import CLASSIFIER, LABELS

if TYPE_CHECKING:
    from pipeline.sharing.hub import Kind

FOLDER = Path("share")
SOMEBODY = "OWNER/NAME"  # in cards and commands, until there is a target

app = typer.Typer(
    help="Write a model or a data set as a repository of the Hugging Face Hub, and upload it.",
    no_args_is_help=True,
    epilog=examples("fer share model", "fer share dataset sample"),
)

Target = Annotated[
    str | None,
    typer.Argument(
        metavar=f"[{SOMEBODY}]", help="Upload to this repository.", show_default="write the folder only"
    ),
]
Public = Annotated[
    bool,
    typer.Option("--public", help="Make a new repository public. Without this option, it is private."),
]


@app.command(epilog=examples("fer share model", "fer share model jane/faces --licence cc-by-nc-4.0"))
def model(
    target: Target = None,
    model: Annotated[
        str, typer.Option(help="Share this model: a file, a name or an address, as for `fer predict`.")
    ] = str(CLASSIFIER),
    licence: Annotated[
        str,
        typer.Option(help="Licence of the model, by the Hub's identifier. The card has the data's terms."),
    ] = "other",
    public: Public = False,
) -> None:
    """Write the model, its ONNX file and its card to share/model/, and upload them.

    The card is the one of `fer export`: scores, limits, settings, hashes and terms. A card without scores says so.
    `fer predict --model hf://OWNER/NAME` uses the model from there. Log in with `hf auth login` first.
    """
    _check(target, licence)
    import torch

    from pipeline import params
    from pipeline.core.files import md5_of, replacing_folder
    from pipeline.download.models import located
    from pipeline.export import card, lineage, onnx
    from pipeline.export.metadata import metadata
    from pipeline.export.parity import check_parity, comparison_faces
    from pipeline.export.terms import dataset_terms, detector_terms
    from pipeline.inference.model_file import load

    p = params.load()
    file = located(model)
    classifier = load(file, torch.device("cpu"))
    model_md5 = md5_of(file)
    run = lineage.trace(model_md5)
    about = metadata(classifier, model_md5, run)
    files, parities = {"model.safetensors": file.read_bytes()}, []
    try:
        files["model.onnx"] = onnx.build(classifier, about)
    except UserError as error:
        say(f"share: without an ONNX file: {error}")
    else:
        faces, _ = comparison_faces(p, classifier, int8=False)
        parities = check_parity(classifier, files["model.onnx"], None, faces)
    head = {"license": licence, "library_name": "fer-pipeline"}
    address = f"hf://{target or SOMEBODY}"
    text = card.write(about, run, files, parities, detector_terms(classifier.align), head, address)
    with replacing_folder(FOLDER / "model") as folder:
        for name, content in {**files, "README.md": text.encode()}.items():
            (folder / name).write_bytes(content)
    if not run.stages:
        say("share: dvc.lock does not know this model file, so the card has no scores; `dvc repro`")
    for name in classifier.learned:
        say(f"share: the model learned from {name}: {dataset_terms(name)}")
    _finish(FOLDER / "model", target, "model", public)


@app.command(
    epilog=examples("fer share dataset sample", "fer share dataset sample jane/drawn-faces --public")
)
def dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Name of a data set of this run.", autocompletion=completion.datasets
        ),
    ],
    target: Target = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Licence under which you pass the faces on, by the Hub's identifier.",
            show_default="mit for sample, else other",
        ),
    ] = None,
    permitted: Annotated[
        bool, typer.Option("--permitted", help="Upload it: you may pass its images on under its terms.")
    ] = False,
    public: Public = False,
) -> None:
    """Write the labelled faces of a data set to share/DATASET/, and upload them.

    The folder has a Parquet file for each split, with images, labels, votes and groups, a card, and metadata in the
    Croissant format. `fer ingest huggingface` and Hugging Face's `datasets` read it. Everything but the embedded sample
    has terms of its own: it is uploaded with --permitted only. Log in with `hf auth login` first.
    """
    from pipeline.export.terms import FREE, dataset_terms

    licence = licence or FREE.get(name, "other")
    _check(target, licence)
    terms = dataset_terms(name)
    if target and name not in FREE and not permitted:
        raise UserError(f"{name}: {terms}; add --permitted if you may pass its images on under these terms")

    from pipeline import params
    from pipeline.core.files import md5_of, replacing_folder
    from pipeline.export.lineage import trace
    from pipeline.inference.samples import LabelledFaces
    from pipeline.sharing import dataset_card, faces
    from pipeline.sharing.croissant import croissant

    p = params.load()
    if name not in p.datasets:
        raise UserError.of("fer share dataset", name, p.datasets)
    output = FOLDER / name
    with replacing_folder(output) as folder:
        shared = faces.write(folder, name, LabelledFaces(p.classes, [name], p.align))
        rows = sum(split.rows for split in shared.splits)
        description = (
            f"{rows:,} aligned faces of the data set {name}, each with one of {len(p.classes)} expressions."
        )
        run = trace(md5_of(LABELS))
        about = name, description, shared, run, terms, licence, target or SOMEBODY
        (folder / "README.md").write_text(dataset_card.write(*about), encoding="utf-8")
        url = f"https://huggingface.co/datasets/{target}" if target else ""
        text = croissant(name, description, licence, terms, url, shared)
        (folder / "croissant.json").write_text(text, encoding="utf-8")
    if not run.stages:
        say(
            "share: dvc.lock does not know these labels, so the card does not say how they were made; `dvc repro`"
        )
    say(f"share: terms of {name}: {terms}")
    _finish(output, target, "dataset", public)


def _check(target: str | None, licence: str) -> None:
    from pipeline.sharing.hub import check_target

    if target is not None:
        check_target(target)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise UserError.of("--licence", licence, "an identifier of the Hub, such as mit, cc-by-4.0 or other")


def _finish(folder: Path, target: str | None, kind: Kind, public: bool) -> None:
    from pipeline.sharing.hub import upload

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            say(f"share: {path}, {path.stat().st_size:,} bytes")
    if target:
        say(f"share: uploaded to {upload(folder, target, kind, public)}")
    else:
        options = " --repo-type dataset" if kind == "dataset" else ""
        say(f"share: nothing was uploaded. To upload it: hf upload {SOMEBODY} {folder}{options}")
