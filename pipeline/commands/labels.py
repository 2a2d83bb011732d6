"""`fer labels`: look for labels that are wrong."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import examples
from pipeline.core.errors import UserError
from pipeline.core.progress import say

app = typer.Typer(
    help="Look for wrong labels.",
    no_args_is_help=True,
    epilog=examples("fer labels suspects"),
)


@app.callback()
def _labels() -> None:
    pass


@app.command(epilog=examples("fer labels suspects", "fer labels suspects --count 200 --output review/a.csv"))
def suspects(
    count: Annotated[int, typer.Option(min=1, help="Write at most this number of suspects.")] = 500,
    folds: Annotated[
        int,
        typer.Option(
            min=2, max=10, help="Train this number of classifiers, each on all folds of the faces but one."
        ),
    ] = 4,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train each classifier for this number of epochs.",
            show_default="4; more for fewer than 5,000 faces",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Write this .csv file, and beside it a sheet of the first faces, .png."
        ),
    ] = Path("suspects.csv"),
) -> None:
    """List the training faces whose label is most likely wrong, by classifiers that have not seen them.

    A suspect is a face to look at, not an error. Look at each row, save the rows whose label is wrong in data/exclude/,
    and set labels.exclude to that file: the stage label then leaves these faces out.

    The classifiers are small ones, whatever network params.yaml chooses. A killed command resumes. The package cleanlab
    must be installed.
    """
    if find_spec("cleanlab") is None:
        raise UserError("cleanlab is not installed: pip install cleanlab")
    if output.suffix != ".csv":
        raise UserError.of("--output", output, "a name that ends in .csv")

    import numpy as np

    from pipeline import params
    from pipeline.evaluation.intervals import wilson
    from pipeline.inference import device
    from pipeline.inference.samples import LabelledFaces
    from pipeline.suspects import cross_validation
    from pipeline.suspects.folds import draw, judged, read_groups
    from pipeline.suspects.output import SHOWN, write
    from pipeline.suspects.ranking import rank

    p = params.load()
    where = device.pick(p.train.device)
    samples = LabelledFaces(p.classes, p.train_datasets, p.align).split("train")
    labels = samples.labels.numpy()
    fold = draw(labels, read_groups(samples.ids, p.train_datasets), folds, p.seed)
    known = judged(labels, fold)
    for index in np.unique(labels[~known]):
        say(
            f"suspects: {(labels == index).sum():,} faces of {p.classes[index]} are not judged: all of them are in one "
            "fold, because a fold holds all faces of a person and all copies of an image"
        )
    if not known.any():
        raise UserError("suspects: no class has faces in two folds, so no face can be judged")
    probabilities = cross_validation.held_out_probabilities(
        samples,
        fold,
        p.classes,
        p.seed,
        epochs or cross_validation.usual_epochs(len(samples)),
        where,
        device.pick_precision(p.train.precision, where),
    )
    ranking = rank(labels, probabilities, known)
    doubted = len(ranking.rows)
    ranking = ranking.first(count)
    write(output, samples, "train", probabilities, p.classes, ranking)

    faces = int(known.sum())
    right = faces - doubted
    low, high = wilson(right, faces)
    say(
        f"suspects: {faces:,} faces of train, {folds} folds; held-out accuracy {right / faces:.4f} "
        f"(95 % {low:.4f} to {high:.4f}), measured against the labels in doubt"
    )
    say(
        f"suspects: {doubted:,} labels are not the most probable class; the {len(ranking.rows):,} most doubtful are in "
        f"{output}, {min(SHOWN, len(ranking.rows))} of them in {output.with_suffix('.png')}"
    )
