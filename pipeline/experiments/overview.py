"""The live overview of a recipe's runs: refreshed on a terminal, a line for every change in a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.core.errors import UserError
from pipeline.experiments.queue import State
from pipeline.experiments.runs import Standing

LOOK = 5.0  # seconds between two looks at the queue
# Looks in a row without a worker after which there is none: one that was just started has no process at once.
LOOKS = 3


def follow(look: Callable[[], Standing], console: Console) -> Standing:
    """Show where runs stand until none waits or runs; return that.

    Args:
        look: returns where they stand.
        console: where to. On a terminal one view is refreshed, elsewhere every change is a line.

    Raises:
        UserError: some wait, and DVC's queue has no worker.
    """
    standing = look()
    said: set[str] = set()
    lonely = 0
    with Live(view(standing), console=console, auto_refresh=False, transient=True) as live:
        while True:
            if console.is_terminal:
                live.update(view(standing), refresh=True)
            else:
                for line in _lines(standing):
                    if line not in said:
                        console.print(Text(_dated(line, standing)), soft_wrap=True)
                        said.add(line)
            waiting, running = standing.of(State.WAITING), standing.of(State.RUNNING)
            if not waiting and not running:
                break
            lonely = 0 if running or standing.workers else lonely + 1
            if lonely == LOOKS:
                raise UserError(
                    f"DVC's queue has no worker, and {len(waiting)} runs wait: the same command goes on with them"
                )
            time.sleep(LOOK)
            standing = look()
    return standing


def view(standing: Standing) -> Group:
    """Return the overview: a line of counts, and one for each run that runs, failed or was cut off."""
    table = Table.grid(padding=(0, 2))
    shown = [task for task in standing.tasks.values() if task.state != State.WAITING]
    table.add_column(no_wrap=True, min_width=max((len(task.name) for task in shown), default=0))
    table.add_column(no_wrap=True, min_width=len("cut off"), justify="right")
    table.add_column()
    for task in standing.of(State.RUNNING):
        table.add_row(
            Text(task.name),
            _duration(task.seconds()),
            Text(task.last_line(), "dim", no_wrap=True, overflow="ellipsis"),
        )
    for task in standing.of(State.ENDED):
        table.add_row(Text(task.name), Text("failed", "red"), Text(task.reason()))
    for task in standing.of(State.CUT_OFF):
        table.add_row(Text(task.name), Text("cut off", "yellow"), "its worker was killed")
    return Group(Text(_dated(_counts(standing), standing), "bold"), table)


def _lines(standing: Standing) -> list[str]:
    failed = [f"{task.name} failed: {task.reason()}" for task in standing.of(State.ENDED)]
    cut_off = [f"{task.name} was cut off: its worker was killed" for task in standing.of(State.CUT_OFF)]
    return [*failed, *cut_off, _counts(standing)]


def _counts(standing: Standing) -> str:
    counts = {
        "running": len(standing.of(State.RUNNING)),
        "waiting": len(standing.of(State.WAITING)),
        "failed": len(standing.of(State.ENDED)),
        "cut off": len(standing.of(State.CUT_OFF)),
    }
    return ", ".join(
        [f"{len(standing.finished)} done"] + [f"{n} {state}" for state, n in counts.items() if n]
    )


def _dated(line: str, standing: Standing) -> str:
    """Return the counts with the time that is left, where that can be told."""
    left = standing.seconds_left()
    if line != _counts(standing) or not left:
        return line
    return f"{line}; about {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
