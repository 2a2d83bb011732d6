"""`fer recipe`: reproduce a table of a paper from a recipe: its parameters, runs and scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.commands import completion, examples
from pipeline.core.errors import UserError, printable
from pipeline.core.progress import in_yaml, say

if TYPE_CHECKING:
    from pipeline.experiments.sweep import Sweep

WIDTHS = {
    "row": 26,
    "parameters": 42,
    "paper": 32,
    "runs": 14,
}  # characters of the columns of `fer recipe show`
TRIES = 3  # times in a row that workers are replaced without a run that finishes

app = typer.Typer(
    help="Reproduce a table of a paper. A recipe in recipes/ has the table's parameters, rows and scores.",
    no_args_is_help=True,
    epilog=examples("fer recipe list"),
)

Name = Annotated[
    str,
    typer.Argument(
        help="Name of the recipe: a file in recipes/ without .yaml.", autocompletion=completion.recipes
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1, help="Number of experiments at a time. Each gets its GPU and its share of the cores."
    ),
]
Short = Annotated[bool, typer.Option("--short", help="Use the short form, for a machine without a GPU.")]


@app.command("list", epilog=examples("fer recipe list"))
def list_recipes() -> None:
    """List every recipe with its table and its rows."""
    from pipeline.experiments import recipes

    names = recipes.names()
    if not names:
        raise UserError(recipes.NO_RECIPE)
    for name in names:
        recipe = recipes.load(name)
        runs = f"{recipe.runs} run{'s' if recipe.runs > 1 else ''}"
        say(f"{printable(name)}: {recipe.heading}, {runs}")
        say(f"    {', '.join(recipe.rows())}", indent=" " * 4)


@app.command(epilog=examples("fer recipe show mixcut_ferplus --short"))
def show(name: Name, short: Short = False) -> None:
    """Print a recipe: its parameters and rows, note and deviations, the paper's scores and the state of its runs.

    A run is stale if its settings, code or data have changed since.
    """
    from tabulate import tabulate

    from pipeline.experiments import recipes
    from pipeline.experiments.table import bullets

    sweep = _sweep(name, short)
    recipe = sweep.recipe
    recipes.check(recipe.overrides(row, short) for row in recipe.rows())
    status = sweep.checked_status()
    counts = sweep.row_counts(status)
    shared = recipe.params | (recipe.short if short else {})
    rows = recipe.rows().values()
    columns = {
        "row": counts,
        "parameters": [
            _joined(f"{key}: {in_yaml(value)}" for key, value in row.params.items()) for row in rows
        ],
        "paper": [_joined(f"{key} {value:.4f}" for key, value in row.paper.items()) for row in rows],
        f"runs (of {recipe.runs})": [
            _joined(f"{count} {state}" for state, count in states.items()) for states in counts.values()
        ],
    }
    if not any(row.paper for row in rows):
        del columns["paper"]
    say(f"{sweep.title}\n")
    say("".join(f"{key}: {in_yaml(value)}\n" for key, value in shared.items()))
    widths = [WIDTHS[head.partition(" ")[0]] for head in columns]
    typer.echo(tabulate(columns, "keys", tablefmt="simple", disable_numparse=True, maxcolwidths=widths))
    equal = recipes.equal_rows({row: recipes.settings(recipe.overrides(row, short)) for row in counts})
    stale = [f"{name} is stale: {why}" for name, why in sorted(status.stale.items())]
    if remarks := [*recipe.remarks(counts), *equal, *stale]:
        typer.echo(f"\n{bullets(remarks)}")


@app.command(epilog=examples("fer recipe apply mixcut_ferplus mixcut --short"))
def apply(
    name: Name,
    variant: Annotated[str, typer.Argument(help="Row of the table.")],
    short: Short = False,
) -> None:
    """Write all settings of a row into params.yaml and keep its comments. Then run `dvc repro`.

    What the recipe leaves open gets its shipped value. Settings of the machine, such as train.device, stay.
    """
    from pipeline.experiments import recipes

    recipes.apply(recipes.load(name, short).overrides(variant, short))


@app.command(
    epilog=examples(
        "fer recipe run mixcut_sample --short --seeds 2 --jobs 2 --wait",
        "fer recipe run mixcut_sample --on slurm --slurm time=60 --slurm partition=gpu --slurm gpus_per_node=1",
    )
)
def run(
    name: Name,
    variant: Annotated[
        list[str] | None, typer.Option(help="Row to run. Repeat for more rows.", show_default="all rows")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of runs of each row.", show_default="the recipe's `runs`"),
    ] = None,
    jobs: Jobs = 1,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show the progress until all runs have ended, then print the table."),
    ] = False,
    short: Short = False,
    on: Annotated[
        Literal["queue", "slurm", "local"],
        typer.Option(
            help="Run in DVC's queue on this machine; or each run as a job of Slurm; or, to try jobs without Slurm, as "
            "local processes on this machine, all at once and without a GPU."
        ),
    ] = "queue",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Setting of the jobs, as submitit names it, such as partition=gpu. `time`, in minutes, is required. "
            "Repeat for more settings.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Queue every row and seed that is not waiting, running or finished, then start the workers of DVC's queue.

    Runs use the last commit; uncommitted changes are refused. The workers continue after this command ends or
    is interrupted. Repeat the command to queue failed and stale runs again, and to resume runs that a kill interrupted.
    With --wait, workers that end too early are replaced.

    With --on slurm, each run is a job of Slurm instead, which needs no worker.
    """
    from pipeline.experiments import overview, workers
    from pipeline.experiments.jobs import FOLDER, cluster
    from pipeline.experiments.queue import RunState

    sweep = _sweep(name, short)
    if slurm and on != "slurm":
        raise UserError.of("--slurm", slurm[0], "only together with --on slurm")
    if jobs > 1 and on != "queue":
        raise UserError.of("--jobs", jobs, f"only without --on {on}, which starts every run by itself")
    where = None if on == "queue" else cluster(on, slurm or [])
    shares = [] if where else workers.shares(jobs)
    if jobs > 1:
        say(workers.in_words(shares))

    def start(changes: Iterable[tuple[str, str]]) -> None:
        for experiment, change in changes:
            say(f"{experiment}: {change}")
        if shares and any(not run.job for run in sweep.status().of(RunState.WAITING)):
            workers.start(shares)

    start(sweep.submit(variant or list(sweep.recipe.rows()), seeds or sweep.recipe.runs, where))
    if not wait:
        form = f"{name} --short" if short else name
        say(f"`fer recipe status {form}` shows the progress, `fer recipe table {form}` the table")
        return
    console = overview.console(stderr=True)
    status = overview.follow(sweep.status, console)
    tries = 0
    while shares and tries < TRIES and (lost := overview.no_worker(status)):
        say(f"{lost}; going on with new workers")
        start(sweep.resume())
        finished = len(status.finished)
        status = overview.follow(sweep.status, console)
        tries = 0 if len(status.finished) > finished else tries + 1
    if status.finished:
        _print_table(sweep)
    if failures := [f"{name}: {run.reason()}" for name, run in status.unfinished.items()]:
        log = f"{FOLDER}/NAME/NAME.out has" if where else "`dvc queue logs NAME` shows"
        raise UserError(
            f"{len(failures)} runs did not finish: {'; '.join(failures)} "
            f"(repeat the command to queue them again; {log} the whole log)"
        )


@app.command(epilog=examples("fer recipe search mine --trials 12 --jobs 2"))
def search(
    name: Name,
    trials: Annotated[
        int,
        typer.Option(min=1, help="Number of finished and stopped trials, those of earlier calls included."),
    ] = 20,
    jobs: Jobs = 1,
    score: Annotated[
        Literal["accuracy", "macro_recall", "macro_f1"], typer.Option(help="Score on valid to maximise.")
    ] = "accuracy",
    short: Short = False,
) -> None:
    """Search a recipe's grid for the row with the highest score on valid. Optuna proposes the rows.

    Each trial is the experiment of a row with seed 1. A run is stopped when it falls below the median of the earlier
    trials. Repeat the command to go on after a kill, or to add trials.
    """
    from pipeline.experiments import workers
    from pipeline.experiments.search import Search

    shares = workers.shares(jobs)
    searching = Search(_sweep(name, short), score, lambda: workers.start(shares))
    if jobs > 1:
        say(workers.in_words(shares))
    for line in searching.run(trials, jobs):
        say(line)
    finished, stopped = searching.counts()
    say(f"{finished} trials have finished, {stopped} were stopped")
    if not (best := searching.best()):
        raise UserError(f"{name}: no trial has finished; `fer recipe status {name}` says why")
    row, value = best
    say(
        f"best on valid: {row}, {score} {value:.4f}. This score is too high, because it chose the row. "
        f"`fer recipe run {name}{' --short' if short else ''} --variant {row}` adds the other seeds."
    )


@app.command(epilog=examples("fer recipe status mixcut_sample --short --wait"))
def status(
    name: Name,
    wait: Annotated[
        bool, typer.Option("--wait", help="Keep showing the state until no run is waiting or running.")
    ] = False,
    short: Short = False,
) -> None:
    """Print how many runs are done, running, waiting, failed or stale, why, and the time left."""
    from pipeline.experiments import overview

    sweep = _sweep(name, short)
    if wait:
        overview.follow(sweep.status, overview.console(stderr=True))
    status = sweep.checked_status()
    overview.console().print(overview.view(status))
    if lost := overview.no_worker(status):
        line = f"{lost}; `fer recipe run {name}{' --short' if short else ''}` goes on"
        if wait:
            raise UserError(line)
        say(line)


@app.command(
    epilog=examples(
        "fer recipe table mixcut_sample --short --output table.md --output table.csv --output table.png"
    )
)
def table(
    name: Name,
    baseline: Annotated[
        str | None, typer.Option(help="Row to compare the others with.", show_default="the first with runs")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="Key of metrics/evaluate.json. * stands for any text in a key, dots included. Repeat for more scores.",
            show_default="the paper's, accuracy, macro recall and macro F1",
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            help="File to write: .md, .csv, .tex (LaTeX) or .png. Repeat for more files.",
            show_default="none: the table is printed",
        ),
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all-rows", help="Show rows without runs, too.")] = False,
    short: Short = False,
) -> None:
    """Print our scores beside the paper's, the state of each row, and its differences from a baseline.

    Runs whose settings, code or data have changed since are left out, and named below the table.
    """
    _print_table(_sweep(name, short), baseline, score, output, all_rows)


def _sweep(name: str, short: bool) -> Sweep:
    from pipeline.experiments import recipes
    from pipeline.experiments.sweep import Sweep

    return Sweep(name, recipes.load(name, short), short)


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words) or "-"


def _print_table(
    sweep: Sweep,
    baseline: str | None = None,
    scores: list[str] | None = None,
    files: list[Path] | None = None,
    all_rows: bool = False,
) -> None:
    """Print the table of a sweep, or write it to files if there are any."""
    from pipeline.experiments import table
    from pipeline.experiments.comparison import compare
    from pipeline.experiments.recipes import settings

    for path in files or []:
        table.check_suffix(path)
    results = sweep.results()
    if not any([*results.evaluations.values(), *results.stale.values()]):
        form = " --short" if sweep.short else ""
        raise UserError(
            f"{sweep.name}: no run has finished; `fer recipe run {sweep.name}{form}` starts the runs"
        )
    comparison = compare(
        sweep.recipe,
        results.evaluations,
        results.predictions,
        baseline,
        scores,
        stale=results.stale,
        settings={row: settings(sweep.recipe.overrides(row, sweep.short)) for row in sweep.recipe.rows()},
        short=sweep.short,
        all_rows=all_rows,
    )
    if not files:
        typer.echo(table.markdown(sweep.title, comparison).rstrip())
    for path in files or []:
        table.write(path, sweep.title, comparison)
        say(f"{sweep.name}: wrote {path}")
