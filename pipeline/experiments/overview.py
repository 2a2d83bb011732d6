"""Live overview of a sweep: refreshed on a terminal; in a log, every change and, each minute, what is running."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.core.progress import WIDTH
from pipeline.experiments.queue import RunState
from pipeline.experiments.sweep import SweepStatus

INTERVAL = 5.0  # seconds between two checks of the queue
SILENCE = 60.0  # seconds without a line in a log, after which the state of each running run is printed
CHECKS = 3  # stop after so many checks in a row without a worker; a new worker takes a moment to appear
STYLES = {RunState.FAILED: "red", RunState.INTERRUPTED: "yellow", RunState.LOST: "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Return an output whose lines fit in a terminal, and in a log."""
    found = Console(stderr=stderr)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def follow(current_status: Callable[[], SweepStatus], console: Console) -> SweepStatus:
    """Show the state of a sweep until all its runs have ended or no worker is alive. Return the last status.

    Args:
        current_status: returns the state of the sweep.
        console: the output. A terminal gets one view that is refreshed. Anything else gets one line per change and,
            after a minute without one, the counts and the last line of each running run.
    """
    status = current_status()
    printed: set[str] = set()
    checks, last = 0, time.monotonic()
    with Live(view(status), console=console, auto_refresh=False, transient=True) as live:
        while True:
            if console.is_terminal:
                live.update(view(status), refresh=True)
            else:
                found = _lines(status)
                lines = [line for change, line in found.items() if change not in printed]
                printed.update(found)
                if not lines and time.monotonic() - last >= SILENCE:
                    said = {run.name: run.last_line() for run in status.of(RunState.RUNNING)}
                    lines = [_header(status), *(f"{name}: {line}" for name, line in said.items() if line)]
                if lines:
                    console.print(Text("\n".join(lines)))
                    last = time.monotonic()
            waiting, running = status.of(RunState.WAITING), status.of(RunState.RUNNING)
            if not waiting and not running:
                return status
            jobs = any(run.job for run in waiting)
            checks = 0 if running or status.workers or jobs else checks + 1
            if checks == CHECKS:
                return status
            time.sleep(INTERVAL)
            status = current_status()


def no_worker(status: SweepStatus) -> str:
    """Return how many runs have no worker, in words; "" if none."""
    count = len(status.left_alone())
    return f"{count} {'runs have' if count > 1 else 'run has'} no worker in DVC's queue" if count else ""


def view(status: SweepStatus) -> Group:
    """Return the overview: the counts, then one line for each running, failed, interrupted, lost and stale run."""
    shown = [run.name for run in status.unfinished.values() if run.state != RunState.WAITING]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=max(map(len, [*shown, *status.stale]), default=0))
    table.add_column(no_wrap=True, min_width=len(RunState.INTERRUPTED), justify="right")
    table.add_column(overflow="fold")
    for run in status.of(RunState.RUNNING):
        last_line = Text(run.last_line(), "dim", no_wrap=True, overflow="ellipsis")
        table.add_row(Text(run.name), _clock(run.elapsed()), last_line)
    for state, style in STYLES.items():
        for run in status.of(state):
            table.add_row(Text(run.name), Text(state, style), Text(run.reason()))
    for name, why in sorted(status.stale.items()):
        table.add_row(Text(name), Text("stale", "yellow"), Text(why))
    return Group(Text(_header(status), "bold"), table)


def _lines(status: SweepStatus) -> dict[str, str]:
    """Return the lines for a log, each under a key.

    Two lines with the same key report the same state, so only the first is printed. A key omits the time left, so a new
    estimate alone does not count as a change.
    """
    unfinished = [f"{run.name} {state}: {run.reason()}" for state in STYLES for run in status.of(state)]
    return dict(zip(unfinished, unfinished, strict=True)) | {_counts(status): _header(status)}


def _header(status: SweepStatus) -> str:
    seconds = status.seconds_left()
    return f"{_counts(status)}; about {_clock(seconds)} left" if seconds else _counts(status)


def _counts(status: SweepStatus) -> str:
    states = [RunState.RUNNING, RunState.WAITING, *STYLES]
    counts = [f"{len(runs)} {state}" for state in states if (runs := status.of(state))]
    stale = [f"{len(status.stale)} stale"] if status.stale else []
    return ", ".join([f"{len(status.finished)} done", *counts, *stale])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
