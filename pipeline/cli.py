"""The command `fer`: one sub-command per stage, and the user's tools."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.report import report
from pipeline.errors import UserError
from pipeline.paths import ALIGNED, INGESTED, RAW

if TYPE_CHECKING:
    from pipeline.comparison import Runs
    from pipeline.recipes import Recipe

app = typer.Typer(
    name="fer",
    help="Facial expression recognition as a chain of DVC stages. `dvc repro` runs them all in order; each "
    "command here runs one of them with what params.yaml says.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Dataset = Annotated[
    str, typer.Argument(help="Name of the data set: a folder in data/raw/, a module in pipeline/datasets/.")
]

# Stages import torch, OpenCV or onnxruntime, so each command imports its own: `fer --help` and a wrong key in
# params.yaml answer at once.


@app.command()
def sample() -> None:
    """Generate the embedded sample: drawn faces in scenes, with the votes of simulated annotators."""
    from pipeline import params
    from pipeline.stages import sample as stage

    stage.run(params.load())


@app.command()
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
    from pipeline import params
    from pipeline.stages import ingest as stage

    stage.run(params.load(), dataset, source, output)


@app.command()
def align(
    dataset: Dataset,
    source: Annotated[str, typer.Option(help="Folder or s3:// address of the ingested table.")] = str(
        INGESTED
    ),
    output: Annotated[str, typer.Option(help="Folder or s3:// address of the result.")] = str(ALIGNED),
) -> None:
    """Find the face and its five landmarks in every picture and cut it out."""
    from pipeline import params
    from pipeline.stages import align as stage

    stage.run(params.load(), dataset, source, output)


@app.command()
def label() -> None:
    """Turn votes into labels, filter classes and count duplicates between splits."""
    from pipeline import params
    from pipeline.stages import label as stage

    stage.run(params.load())


@app.command()
def synthesize() -> None:
    """Train the GAN that params.yaml chooses on the training split and generate faces."""
    from pipeline import params
    from pipeline.stages import synthesize as stage

    stage.run(params.load())


@app.command()
def train() -> None:
    """Train the classifier; a run that was killed goes on where it stopped."""
    from pipeline import params
    from pipeline.stages import train as stage

    stage.run(params.load())


@app.command()
def evaluate() -> None:
    """Score the trained classifier on every split."""
    from pipeline import params
    from pipeline.stages import evaluate as stage

    stage.run(params.load())


@app.command()
def check() -> None:
    """Validate params.yaml, say what it chooses, and see whether the raw data is there."""
    from pipeline import params

    p = params.load()
    for key in ("datasets", "augment", "loss", "model", "optimizer", "gan", "seed"):
        value = getattr(p, key)
        typer.echo(f"{key:>10}: {', '.join(value) if isinstance(value, list) else value}")
    if p.train.albumentations is not None:
        from pipeline.training.recipe import Recipe

        Recipe(p.train.albumentations, (p.align.face_size, p.align.face_size, 3 if p.align.colour else 1))
    for name in p.datasets:
        if name != "sample" and not (RAW / name).exists():
            raise UserError(
                f"{RAW / name}: found nothing, expected: the data set's folder, an archive of it, or a symbolic "
                "link to either"
            )


app.command()(report)

recipes = typer.Typer(
    help="A paper's table as one named recipe in recipes/: its parameters, its rows and its figures.",
    no_args_is_help=True,
)
app.add_typer(recipes, name="recipe")

Name = Annotated[str, typer.Argument(help="Name of the recipe: a file in recipes/ without .yaml.")]
Short = Annotated[bool, typer.Option("--short", help="The short form, for a machine without a GPU.")]


@recipes.command("list")
def list_recipes() -> None:
    """Name every recipe, its table and its rows."""
    from pipeline import recipes

    for name in recipes.names():
        recipe = recipes.load(name)
        typer.echo(f"{name}: {recipe.title} ({recipe.source}), {recipe.runs} runs")
        typer.echo(f"    {', '.join(recipe.variants)}")


@recipes.command("apply")
def apply_recipe(
    name: Name,
    variant: Annotated[str, typer.Argument(help="A row of the table.")],
    short: Short = False,
) -> None:
    """Write a row's parameters into params.yaml, whose comments stay; `dvc repro` then runs it."""
    from pipeline import recipes

    recipes.apply(recipes.load(name).settings(variant, short))


@recipes.command("run")
def run_recipe(
    name: Name,
    variant: Annotated[
        list[str] | None, typer.Option(help="A row; may be given again.", show_default="all rows")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each row.", show_default="the paper's")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Experiments at a time.")] = 1,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until all runs of the recipe have ended and print what `compare` prints."
        ),
    ] = False,
    short: Short = False,
) -> None:
    """Put every row and seed that has not run yet into DVC's queue and start it.

    The queue goes on when this command has ended, also when it is interrupted while it waits.
    """
    from pipeline import experiments, recipes

    recipe = recipes.load(name)
    queued = set()
    for experiment in experiments.queue(
        name, recipe, variant or list(recipe.variants), seeds or recipe.runs, short
    ):
        typer.echo(f"queued {experiment}")
        queued.add(experiment)
    # Earlier ones too. A worker that was idle may have ended some by now.
    waiting, running = experiments.pending(name, recipe, short) if wait else (queued, set())
    if queued or waiting:
        experiments.start(jobs)
    typer.echo(
        f"{len(queued)} experiments queued; `dvc queue status` shows them, `fer recipe show {name}` the table"
    )
    if wait:
        failed = experiments.wait(queued | waiting | running)
        rows = experiments.runs(name, recipe, short)
        if len(rows) > 1 and any(rows.values()):
            _print_comparison(recipe, rows, short)
        if failed:
            raise UserError(
                f"{len(failed)} experiments failed: {', '.join(failed)}; `dvc queue logs NAME` shows why"
            )


@recipes.command("show")
def show_recipe(
    name: Name,
    score: Annotated[
        list[str] | None,
        typer.Option(help="Key of metrics/evaluate.json; may be given again.", show_default="the paper's"),
    ] = None,
    short: Short = False,
) -> None:
    """Print our figures beside the paper's: mean and standard deviation over the finished runs (and the paper's)."""
    from tabulate import tabulate

    from pipeline import experiments, recipes

    recipe = recipes.load(name)
    figures = experiments.figures(name, recipe, score or [], short)
    titles = {figure.score: figure.score for figure in figures}
    for figure in figures:
        if figure.read != figure.score:
            titles[figure.score] = f"{figure.read} ({figure.score})"
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        row = rows.setdefault(figure.variant, {"row": figure.variant, "runs": str(figure.runs)})
        ours = "-" if figure.mean is None else f"{figure.mean:.4f}"
        spread = "" if figure.spread is None else f" ± {figure.spread:.4f}"
        paper = "" if figure.paper is None else f" ({figure.paper:.4f})"
        row[titles[figure.score]] = ours + spread + paper
    columns = ["row", "runs", *titles.values()]
    typer.echo(f"{recipe.title} ({recipe.source}){', short form' if short else ''}\n")
    table = [[row.get(column, "-") for column in columns] for row in rows.values()]
    typer.echo(tabulate(table, columns, tablefmt="github", disable_numparse=True))


@recipes.command("compare")
def compare_recipe(
    name: Name,
    baseline: Annotated[
        str | None,
        typer.Option(help="The row that the others are compared with.", show_default="the first"),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="Key of metrics/evaluate.json; may be given again.",
            show_default="accuracy, macro recall, macro F1 and each class's recall on test, or valid",
        ),
    ] = None,
    short: Short = False,
) -> None:
    """Print how far each row differs from a baseline, over the seeds that both have run, with 95 % intervals."""
    from pipeline import experiments, recipes

    recipe = recipes.load(name)
    _print_comparison(recipe, experiments.runs(name, recipe, short), short, baseline, score)


def _print_comparison(
    recipe: Recipe,
    rows: dict[str, Runs],
    short: bool,
    baseline: str | None = None,
    scores: list[str] | None = None,
) -> None:
    from pipeline.comparison import report

    text = report(rows, baseline, scores)
    typer.echo(f"{recipe.title} ({recipe.source}){', short form' if short else ''}\n\n{text}")


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
