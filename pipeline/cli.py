"""The command `fer`, with a sub-command per stage and the tools in `commands/`."""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.commands import (
    completion,
    data,
    demo,
    doctor,
    ensemble,
    examples,
    export,
    importing,
    labels,
    predict,
    recipe,
    report,
    runs,
    share,
)
from pipeline.core import threads
from pipeline.core.ending import end_orderly
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import file_error
from pipeline.core.git import show_to_git
from pipeline.core.last_run import kept_on_failure
from pipeline.core.scratch import choose_temporary_folder
from pipeline.tables.paths import ALIGNED, INGESTED

app = typer.Typer(
    name="fer",
    help="Facial expression recognition as a chain of DVC stages. `dvc repro` runs all stages in order. Each command "
    "of a stage runs that stage alone, with the parameters in params.yaml.",
    epilog=examples("fer doctor", "fer check", "fer ingest ferplus --help", "fer --install-completion"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Dataset = Annotated[
    str,
    typer.Argument(
        help="Name of the data set: a folder in data/raw/ and a module in pipeline/datasets/.",
        autocompletion=completion.datasets,
    ),
]
Output = Annotated[str, typer.Option(help="Write to this folder or s3:// address.")]


def _run(stage: str, *arguments: str | None) -> None:
    # Stages import torch, OpenCV or onnxruntime. They are imported after params.yaml has been read, so that
    # `fer --help` and errors in params.yaml appear at once.
    from pipeline import params

    if stage == "check" and "DVC_EXP_BASELINE_REV" in os.environ:  # `dvc exp run`
        show_to_git(params.PARAMS_FILE)
    with kept_on_failure():
        p = params.load()
        import_module(f"pipeline.stages.{stage}").run(p, *arguments)


def _add_stage(name: str, text: str) -> None:
    """Add the command of a stage without arguments."""

    @app.command(name, help=text, epilog=examples(f"fer {name}"))
    def run() -> None:
        _run(name)


_add_stage("check", "Validate params.yaml, print its choices, and check that the raw data exists.")
_add_stage(
    "sample", "Generate the embedded sample: drawn faces in scenes, with votes of simulated annotators."
)


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
            help="Read raw data from this folder, archive or s3:// address.", show_default="data/raw/DATASET"
        ),
    ] = None,
    output: Output = str(INGESTED),
) -> None:
    """Read a data set as published. Each record is kept, or rejected and listed with a reason."""
    _run("ingest", dataset, source, output)


@app.command(
    epilog=examples(
        "fer align ferplus", "fer align ferplus --source s3://bucket/ingested --output s3://bucket/aligned"
    )
)
def align(
    dataset: Dataset,
    source: Annotated[
        str, typer.Option(help="Read the ingested table from this folder or s3:// address.")
    ] = str(INGESTED),
    output: Output = str(ALIGNED),
) -> None:
    """Find the face and its five landmarks in each image and cut the face out."""
    _run("align", dataset, source, output)


_add_stage(
    "label", "Turn votes into labels, filter classes, draw missing splits, and find leaks between splits."
)
_add_stage("synthesize", "Train a GAN on the training split only, generate faces, and measure their quality.")
_add_stage("train", "Train the classifier. A run that was killed resumes from its last checkpoint.")
_add_stage("evaluate", "Score the classifier on each split.")


app.command(
    "import", epilog=examples("fer import ~/images", "fer import faces.zip --names '0=anger,1=disgust'")
)(importing.import_)
app.add_typer(recipe.app, name="recipe")
app.add_typer(labels.app, name="labels")
app.command(epilog=examples("fer report", "fer report workspace my-experiment main -o mine.html"))(
    report.report
)
app.command(epilog=examples("fer ensemble workspace my-experiment other-experiment"))(ensemble.ensemble)
app.command(epilog=examples("fer predict holiday/ --output holiday.csv --annotate marked/"))(predict.predict)
app.command(epilog=examples("fer demo", "fer demo --model models/classifier.safetensors"))(demo.demo)
app.command(epilog=examples("fer export --int8"))(export.export)
app.add_typer(share.app, name="share")
app.command(epilog=examples("fer runs", "fer runs --all --output runs.csv"))(runs.runs)
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


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an argument without text: as a path it would mean the current folder."""
    for number, argument in enumerate(arguments, 1):
        if not argument or re.fullmatch(r"--?[\w-]+=", argument):
            found = f"'{argument}'"
            raise UserError.of(f"argument {number}", found, "a value; a variable of the shell may be empty")


def main() -> None:
    """Run `fer`. Print an error that the user can correct as one line, with exit code 1."""
    # Imports make a million objects that stay until the end. Looking through them for garbage after every 700 new ones,
    # and once more at the end, takes a fifth of the time in which a command starts.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    threads.limit_spinning()
    choose_temporary_folder()
    end_orderly()
    status: str | int | None
    try:
        _refuse_empty(sys.argv[1:])
        app(prog_name="fer")
    except UserError as error:
        status = f"fer: {error}"
    except OSError as error:  # a full disk, for example
        status = f"fer: {file_error(error)}"
    except ImportError as error:  # a package that is missing, or one that misses a library of the system
        if (error.name or "").partition(".")[0] == "pipeline":
            raise
        status = (
            f"fer: a package cannot be loaded: {one_line(error)}; `fer doctor` says which, and what helps"
        )
    except SystemExit as ending:
        status = ending.code
    # Not within `except`: the traceback would keep worker processes until the interpreter waits for them.
    sys.exit(status)
