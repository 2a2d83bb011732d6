"""The command `fer`: one sub-command per stage, and the user's tools."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.commands import completion, data, doctor, examples, export, predict, recipe, report
from pipeline.core.errors import UserError
from pipeline.tables.paths import ALIGNED, INGESTED

app = typer.Typer(
    name="fer",
    help="Facial expression recognition as a chain of DVC stages. `dvc repro` runs them all in order; each "
    "command here runs one of them with what params.yaml says.",
    epilog=examples(
        "fer doctor",
        "fer check",
        "fer ingest ferplus --help",
        "fer --install-completion",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Dataset = Annotated[
    str,
    typer.Argument(
        help="Name of the data set: a folder in data/raw/, a module in pipeline/datasets/.",
        autocompletion=completion.datasets,
    ),
]


def _run(stage: str, *arguments: str | None) -> None:
    # Stages import torch, OpenCV or onnxruntime, so each is imported when it runs, after params.yaml has been read:
    # `fer --help` and a wrong key answer at once.
    from pipeline import params

    p = params.load()
    import_module(f"pipeline.stages.{stage}").run(p, *arguments)


@app.command(epilog=examples("fer sample"))
def sample() -> None:
    """Generate the embedded sample: drawn faces in scenes, with the votes of simulated annotators."""
    _run("sample")


@app.command(
    epilog=examples(
        "fer ingest ferplus",
        "fer ingest ferplus --source s3://bucket/raw/ferplus --output s3://bucket/ingested",
    )
)
def ingest(
    dataset: Dataset,
    source: Annotated[
        str | None,
        typer.Option(
            help="Folder, archive or s3:// address of the raw data.", show_default="data/raw/DATASET"
        ),
    ] = None,
    output: Annotated[str, typer.Option(help="Folder or s3:// address of the result.")] = str(INGESTED),
) -> None:
    """Read a published data set: every record is kept, or rejected with a reason and listed."""
    _run("ingest", dataset, source, output)


@app.command(
    epilog=examples(
        "fer align ferplus", "fer align ferplus --source s3://bucket/ingested --output s3://bucket/aligned"
    )
)
def align(
    dataset: Dataset,
    source: Annotated[str, typer.Option(help="Folder or s3:// address of the ingested table.")] = str(
        INGESTED
    ),
    output: Annotated[str, typer.Option(help="Folder or s3:// address of the result.")] = str(ALIGNED),
) -> None:
    """Find the face and its five landmarks in every picture and cut it out."""
    _run("align", dataset, source, output)


@app.command(epilog=examples("fer label"))
def label() -> None:
    """Turn votes into labels, filter classes and count duplicates between splits."""
    _run("label")


@app.command(epilog=examples("fer synthesize"))
def synthesize() -> None:
    """Train the GAN that params.yaml chooses on the training split and generate faces."""
    _run("synthesize")


@app.command(epilog=examples("fer train"))
def train() -> None:
    """Train the classifier; a run that was killed goes on where it stopped."""
    _run("train")


@app.command(epilog=examples("fer evaluate"))
def evaluate() -> None:
    """Score the trained classifier on every split."""
    _run("evaluate")


@app.command(epilog=examples("fer check"))
def check() -> None:
    """Validate params.yaml, say what it chooses, and see whether the raw data is there."""
    from pipeline import params
    from pipeline.tables.paths import RAW

    p = params.load()
    for key in ("datasets", "augment", "loss", "model", "optimizer", "gan", "seed"):
        value = getattr(p, key)
        typer.echo(f"{key:>10}: {', '.join(value) if isinstance(value, list) else value}")
    if p.train.device == "cuda":
        from pipeline.inference import device

        device.pick(p.train.device)
    if p.train.albumentations is not None:
        from pipeline.tables.schema import channels
        from pipeline.training.recipe import Recipe

        Recipe(p.train.albumentations, (p.align.face_size, p.align.face_size, channels(p.align.colour)))
    for name in p.datasets:
        if name != "sample" and not (RAW / name).exists():
            raise UserError(
                f"{RAW / name}: found nothing, expected: the data set's folder, an archive of it, or a symbolic "
                "link to either"
            )


app.add_typer(recipe.app, name="recipe")
app.command(epilog=examples("fer report", "fer report workspace my-experiment main -o mine.html"))(
    report.report
)
app.command(epilog=examples("fer predict holiday/ --output holiday.csv --annotate marked/"))(predict.predict)
app.command(epilog=examples("fer export --int8"))(export.export)
app.command(epilog=examples("fer data"))(data.data)
app.command(epilog=examples("fer doctor"))(doctor.doctor)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"fer {version('fer-pipeline')}")
        raise typer.Exit


@app.callback()
def _root(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run `fer`; an error that a user can put right is one line and exit code 1."""
    try:
        app(prog_name="fer")
    except UserError as error:
        sys.exit(f"fer: {error}")
