"""`fer predict`: what a trained model says of pictures, videos and what a camera sees."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import UserError, printable
from pipeline.tables.paths import CLASSIFIER

if TYPE_CHECKING:
    from pipeline.prediction.expression import Prediction
    from pipeline.prediction.sources import Source


class Faces(StrEnum):
    """Which faces of a picture."""

    all = "all"
    main = "main"


class Views(StrEnum):
    """Which parts of a face the network sees."""

    centre = "centre"
    mirror = "mirror"
    ten = "ten"


class Device(StrEnum):
    """Where the network runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def predict(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Pictures, videos and folders of them.")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="A camera instead: its number (0 is the first), device file or a stream's address. Ends with Ctrl-C."
        ),
    ] = None,
    model: Annotated[Path, typer.Option(help="The model file.")] = CLASSIFIER,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File that ends in .csv, .json or .parquet.", show_default="CSV on standard output"
        ),
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each picture or video with its faces marked.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write each face with the parts that spoke for its label (Grad-CAM)."
        ),
    ] = None,
    faces: Annotated[
        Faces, typer.Option(help="All faces of a picture, or the one that training would use.")
    ] = Faces.all,
    crops: Annotated[
        Views, typer.Option(help="The face's centre, with its mirror image, or corners and centre mirrored.")
    ] = Views.centre,
    every: Annotated[int, typer.Option(min=1, help="Of a video, one frame in so many.")] = 1,
    device: Annotated[
        Device, typer.Option(help="Where the network runs; auto: on a GPU if there is one.")
    ] = (Device.auto),
) -> None:
    """Find the faces in pictures and say what they express, with the preprocessing that the model was trained with.

    One row for each face, with its box and a probability for each class; a picture without a face, or one that cannot
    be read, has a row that says so. params.yaml is not read.
    """
    from pipeline.core.progress import bar
    from pipeline.prediction.output import check_format, written
    from pipeline.prediction.predictor import Predictor
    from pipeline.prediction.sources import camera as camera_source
    from pipeline.prediction.sources import check_names, count, listed, shots

    if bool(paths) == (camera is not None):
        raise UserError(
            "found "
            + ("both" if paths else "neither")
            + ", allowed: names of pictures, videos and folders, or --camera 0"
        )
    if output is not None:
        check_format(output)
    sources = listed(paths or []) if camera is None else [camera_source(camera)]
    for folder, option in ((annotate, "--annotate"), (explain, "--explain")):
        if folder is not None:
            check_names(sources, folder, option)
    predictor = Predictor.load(model, device.value, crops.value, faces.value)

    tally = Tally()
    with ExitStack() as stack:
        add = stack.enter_context(written(output, predictor.classes))
        drawers = []
        if annotate is not None:
            from pipeline.prediction.annotate import Annotator

            drawers.append(stack.enter_context(Annotator(annotate, predictor.classes, every)).add)
        if explain is not None:
            from pipeline.prediction.explain import Explainer

            drawers.append(Explainer(explain, predictor.classifier).add)
        shown = stack.enter_context(
            bar(
                count(sources, every) if camera is None else 0,
                desc="predict",
                unit="pictures",
                shows=not camera,
            )
        )
        try:
            for prediction in predictor.stream(shots(sources, every), live=camera is not None):
                add(prediction)
                for draw in drawers:
                    draw(prediction)
                tally.add(prediction)
                shown.update()
        except KeyboardInterrupt:
            if camera is None:
                raise
    typer.echo(tally.summary(), err=True)
    tally.check(sources)


class Tally:
    """Counts what was predicted, and remembers what could not be read."""

    def __init__(self) -> None:
        self.pictures = self.faces = 0
        self.without: Counter[str] = Counter()
        self.refused: list[tuple[Source, str]] = []

    def add(self, prediction: Prediction) -> None:
        """Count one picture."""
        if prediction.refused:
            self.refused.append((prediction.shot.source, prediction.refused))
            return
        self.pictures += 1
        found = sum(expression.cut.face is not None for expression in prediction.faces)
        self.faces += found
        if not found:
            self.without["whole picture instead" if prediction.faces else "listed as missing"] += 1

    def summary(self) -> str:
        """Return the counts, and a line for each file that could not be read."""
        without = "".join(f", {name} {count:,}" for name, count in self.without.items())
        lines = [
            f"predict: {self.pictures:,} pictures, {self.faces:,} faces; "
            f"without a face {self.without.total():,}{without}; unreadable {len(self.refused):,}"
        ]
        return "\n".join(lines + [printable(f"{source.path}: {reason}") for source, reason in self.refused])

    def check(self, sources: list[Source]) -> None:
        """Refuse to succeed where a path that the user named, or all of them, could not be read.

        Raises:
            UserError: says how many.
        """
        named = {source.path for source, _ in self.refused if source.named}
        if named or not self.pictures:
            paths = {source.path for source in sources}
            failed = {source.path for source, _ in self.refused}
            raise UserError(
                f"{len(failed):,} of {len(paths):,} files could not be read; the others are written"
                if self.pictures
                else f"none of {len(paths):,} files could be read"
            )
