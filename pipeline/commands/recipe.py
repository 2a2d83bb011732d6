"""`fer recipe`: a paper's table as one named recipe, from its parameters to its figures."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands import completion, examples
from pipeline.core.errors import UserError
from pipeline.core.progress import in_yaml

if TYPE_CHECKING:
    from pipeline.experiments.comparison import Comparison
    from pipeline.experiments.recipes import Recipe

app = typer.Typer(
    help="A paper's table as one named recipe in recipes/: its parameters, its rows and its figures.",
    no_args_is_help=True,
    epilog=examples("fer recipe list"),
)

Name = Annotated[
    str,
    typer.Argument(
        help="Name of the recipe: a file in recipes/ without .yaml.", autocompletion=completion.recipes
    ),
]
Short = Annotated[bool, typer.Option("--short", help="The short form, for a machine without a GPU.")]


@app.command("list", epilog=examples("fer recipe list"))
def list_recipes() -> None:
    """Name every recipe, its table and its rows."""
    from pipeline.experiments import recipes

    names = recipes.names()
    if not names:
        raise UserError("recipes/: found no recipe here; run this in the project's folder")
    for name in names:
        recipe = recipes.load(name)
        runs = f"{recipe.runs} run{'s' if recipe.runs > 1 else ''}"
        typer.echo(f"{name}: {recipe.title} ({recipe.source}), {runs}")
        typer.echo(f"    {', '.join(recipe.rows())}")


@app.command(epilog=examples("fer recipe show mixcut_ferplus --short"))
def show(name: Name, short: Short = False) -> None:
    """Print what a recipe is: its parameters, its rows, the paper's figures, and how many runs stand where."""
    from tabulate import tabulate

    from pipeline.experiments import recipes
    from pipeline.experiments import runs as experiments

    recipe = recipes.load(name)
    typer.echo("\n".join([_title(recipe, short), *textwrap.wrap(recipe.note, 110), ""]))
    shared = recipe.params | (recipe.short if short else {})
    typer.echo("".join(f"{key}: {in_yaml(value)}\n" for key, value in shared.items()))
    counts = experiments.row_counts(name, recipe, short)
    table = [
        [
            label,
            ", ".join(f"{key}: {in_yaml(value)}" for key, value in row.params.items()),
            ", ".join(f"{key} {value:.4f}" for key, value in row.paper.items()) or "-",
            ", ".join(f"{count} {state}" for state, count in counts[label].items() if count) or "-",
        ]
        for label, row in recipe.rows().items()
    ]
    columns = ["row", "parameters", "paper", f"runs (of {recipe.runs})"]
    typer.echo(tabulate(table, columns, tablefmt="github", disable_numparse=True))


@app.command(epilog=examples("fer recipe apply mixcut_ferplus mixcut --short"))
def apply(
    name: Name,
    variant: Annotated[str, typer.Argument(help="A row of the table.")],
    short: Short = False,
) -> None:
    """Write a row's parameters into params.yaml, whose comments stay; `dvc repro` then runs it."""
    from pipeline.experiments import recipes

    recipes.apply(recipes.load(name).settings(variant, short))


@app.command(epilog=examples("fer recipe run mixcut_sample --short --seeds 2 --jobs 2 --wait"))
def run(
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
        typer.Option("--wait", help="Show the overview until all runs have ended, then the table."),
    ] = False,
    short: Short = False,
) -> None:
    """Put every row and seed that has not finished into DVC's queue and start it.

    The queue goes on when this command has ended, also when it is interrupted while it waits. The same command takes
    up what failed and, after a kill, what was cut off.
    """
    from rich.console import Console

    from pipeline.experiments import overview, queue, recipes
    from pipeline.experiments import runs as experiments
    from pipeline.experiments.queue import State

    recipe = recipes.load(name)
    look = partial(experiments.look, name, recipe, short)
    for experiment, what in experiments.queue(
        name, recipe, variant or list(recipe.rows()), seeds or recipe.runs, short
    ):
        typer.echo(f"{experiment}: {what}")
    if look().of(State.WAITING):
        queue.start(jobs)
    if not wait:
        typer.echo(
            f"`fer recipe status {name}` shows how far the runs are, `fer recipe table {name}` the table"
        )
        return
    standing = overview.follow(look, Console(stderr=True))
    if standing.finished:
        typer.echo(_markdown(recipe, _comparison(name, recipe, short), short))
    if missing := [*standing.of(State.ENDED), *standing.of(State.CUT_OFF)]:
        raise UserError(
            f"{len(missing)} runs did not finish: "
            + "; ".join(
                f"{task.name}: {task.reason() if task.state == State.ENDED else 'its worker was killed'}"
                for task in missing
            )
            + " (the same command queues them again; `dvc queue logs NAME` shows the whole log)"
        )


@app.command(epilog=examples("fer recipe status mixcut_sample --short --wait"))
def status(
    name: Name,
    wait: Annotated[
        bool, typer.Option("--wait", help="Go on showing it until no run waits or runs.")
    ] = False,
    short: Short = False,
) -> None:
    """Print how far a recipe's runs are: done, running, waiting, failed and why, and the time that is left."""
    from rich.console import Console

    from pipeline.experiments import overview, recipes
    from pipeline.experiments import runs as experiments

    look = partial(experiments.look, name, recipes.load(name), short)
    if wait:
        overview.follow(look, Console(stderr=True))
    Console(soft_wrap=True).print(overview.view(look()))


@app.command(
    epilog=examples(
        "fer recipe table mixcut_sample --short --output table.md --output table.csv --output table.png"
    )
)
def table(
    name: Name,
    baseline: Annotated[
        str | None,
        typer.Option(help="The row that the others are compared with.", show_default="the first"),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="Key of metrics/evaluate.json, in which * stands for any part; may be given again.",
            show_default="the paper's, accuracy, macro recall and macro F1",
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(help="File to write: .md, .csv or .png; may be given again.", show_default="printed"),
    ] = None,
    short: Short = False,
) -> None:
    """Print our figures beside the paper's: mean, spread, seeds, and tests of each row against a baseline."""
    from pipeline.experiments import recipes
    from pipeline.experiments import table as result_table

    for path in output or []:
        result_table.check_kind(path)
    recipe = recipes.load(name)
    comparison = _comparison(name, recipe, short, baseline, score)
    if not output:
        typer.echo(_markdown(recipe, comparison, short))
    for path in output or []:
        result_table.write(path, _title(recipe, short), comparison)


def _comparison(
    name: str,
    recipe: Recipe,
    short: bool,
    baseline: str | None = None,
    scores: list[str] | None = None,
) -> Comparison:
    from pipeline.experiments import comparison
    from pipeline.experiments import runs as experiments

    rows = experiments.runs(name, recipe, short)
    if not any(rows.values()):
        form = " --short" if short else ""
        raise UserError(f"{name}: no run of it has finished; `fer recipe run {name}{form}` starts them")
    files = experiments.predictions(name, recipe, short)
    return comparison.compare(recipe, rows, files, baseline, scores)


def _markdown(recipe: Recipe, comparison: Comparison, short: bool) -> str:
    from pipeline.experiments.table import markdown

    return markdown(_title(recipe, short), comparison).rstrip()


def _title(recipe: Recipe, short: bool) -> str:
    return f"{recipe.title} ({recipe.source}){', short form' if short else ''}"
