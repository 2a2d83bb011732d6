"""`fer predict`: predict expressions in images, videos and camera streams."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.core.errors import UserError, mismatch, printable
from pipeline.tables.paths import CLASSIFIER

if TYPE_CHECKING:
    from pipeline.prediction.expression import Prediction
    from pipeline.prediction.sources import Source


def predict(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Images, videos, and folders of them.")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Read a camera instead: its number (from 0), device file or stream address. Press Ctrl-C to stop."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Use this model: a file, the name of a model that comes with the project, "
            "hf://OWNER/NAME\\[@REVISION] on the Hugging Face Hub, or https://...#sha256=HASH."
        ),
    ] = str(CLASSIFIER),
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the predictions to this .csv, .json or .parquet file, or with - as CSV to standard output.",
            show_default="text on standard output",
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the images and videos with marked faces to this folder."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write each face with a map of the parts that support its label (Grad-CAM) to this folder.",
        ),
    ] = None,
    faces: Annotated[
        Literal["all", "main"],
        typer.Option(help="Predict all faces of an image, or only the main face, as in training."),
    ] = "all",
    turn: Annotated[
        bool,
        typer.Option(
            "--turn",
            help="Also look for faces that lie on their side or stand on their head. This takes up to 4 times as long.",
            show_default="as in training",
        ),
    ] = False,
    crops: Annotated[
        Literal["centre", "mirror", "ten"],
        typer.Option(
            help="Use the centre of each face; or add its mirror image; or average ten crops: centre and corners, "
            "each with its mirror image."
        ),
    ] = "centre",
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Read every N-th frame of a video.")] = 1,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Run on this device; auto uses a GPU if there is one."),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, metavar="N", help="Find faces in N processes.", show_default="one per core"
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="GB",
            help="Let images take at most this much memory in all processes together. An image that takes more is "
            "worked on alone.",
            show_default="a quarter of the free memory, at most 0.75 GB per process",
        ),
    ] = None,
) -> None:
    """Predict the expression of every face in images, videos or a camera stream.

    Faces are aligned as in training, with the settings in the model file. params.yaml is not read. The output has one
    row per face, with its box and the probability of each class. An image without a face, or an unreadable one, has
    one row that says so.
    """
    from pipeline.core.progress import bar, say
    from pipeline.inference.origin import DRAWN, learned_from
    from pipeline.prediction.output import check_format, written
    from pipeline.prediction.predictor import Predictor
    from pipeline.prediction.sources import camera as camera_source
    from pipeline.prediction.sources import check_names, count, images, listed

    if bool(paths) == (camera is not None):
        both = "both" if paths else "neither"
        raise UserError(mismatch(both, "names of images, videos and folders, or --camera 0"))
    if output is not None:
        check_format(output)
    sources = listed(paths or []) if camera is None else [camera_source(camera)]
    for folder, option in ((annotate, "--annotate"), (explain, "--explain")):
        if folder is not None:
            check_names(sources, folder, option)
    predictor = Predictor.load(model, device, crops, faces, workers, memory, turn)
    learned = predictor.classifier.learned
    hint = "; --model ferplus learned from photographs" if learned == DRAWN else ""
    say(f"predict: the model {model} {learned_from(learned)}{hint}", err=True)

    tally = Tally()
    with ExitStack() as stack:
        consumers = [stack.enter_context(written(output, predictor.classes)), tally.add]
        if annotate is not None:
            from pipeline.prediction.annotate import Annotator

            consumers.append(stack.enter_context(Annotator(annotate, every)).add)
        if explain is not None:
            from pipeline.prediction.explain import Explainer

            consumers.append(Explainer(explain, predictor.classifier).add)
        total = count(sources, every) if camera is None else 0
        progress = stack.enter_context(bar(total, desc="predict", unit="images", shows=not camera))
        try:
            for prediction in predictor.stream(images(sources, every), live=camera is not None):
                for consume in consumers:
                    consume(prediction)
                progress.update()
        except KeyboardInterrupt:
            if camera is None:
                raise
    say(tally.summary(), err=True)
    tally.check(sources)


class Tally:
    """Counts of images and faces, and the sources that could not be read."""

    def __init__(self) -> None:
        self.images = self.faces = 0
        self.without: Counter[str] = Counter()
        self.failed: list[tuple[Source, str]] = []

    def add(self, prediction: Prediction) -> None:
        """Count one image."""
        if prediction.error:
            self.failed.append((prediction.image.source, prediction.error))
            return
        self.images += 1
        found = sum(expression.face.detection is not None for expression in prediction.faces)
        self.faces += found
        if not found:
            self.without["whole image instead" if prediction.faces else "listed as missing"] += 1

    def summary(self) -> str:
        """Return the counts, and a line for each source that could not be read."""
        without = "".join(f", {name} {count:,}" for name, count in self.without.items())
        lines = [
            f"predict: {self.images:,} images, {self.faces:,} faces; "
            f"without a face {self.without.total():,}{without}; unreadable {len(self.failed):,}"
        ]
        return "\n".join(lines + [printable(f"{source.path}: {error}") for source, error in self.failed])

    def check(self, sources: list[Source]) -> None:
        """Raise an error if no image, or not every path that the user named, could be read.

        Raises:
            UserError: says how many files could not be read.
        """
        named = any(source.named for source, _ in self.failed)
        if named or not self.images:
            paths = {source.path for source in sources}
            failed = {source.path for source, _ in self.failed}
            raise UserError(
                f"{len(failed):,} of {len(paths):,} files could not be read; the others are written"
                if self.images
                else f"none of {len(paths):,} files could be read"
            )
