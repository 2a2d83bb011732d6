"""`fer doctor`: is this machine fit, and what is to be done where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import typer

from pipeline.core.errors import UserError, one_line, printable

if TYPE_CHECKING:
    from pipeline.doctor import Check


def doctor() -> None:
    """Check this machine and this project, and say what to do where something stands in the way.

    A warning may stand in the way, a fault does: then the exit code is 1. Nothing is changed or downloaded.
    """
    from pipeline.doctor import State, fault
    from pipeline.doctor.environment import INSTALL

    colours = {State.OK: "green", State.WARNING: "yellow", State.FAULT: "red"}
    counts = dict.fromkeys(State, 0)
    for name, check in _checks():
        try:
            findings = list(check())
        except Exception as error:  # what a broken installation raises is what this is for
            findings = [fault(f"cannot be checked: {type(error).__name__}: {one_line(error)}", INSTALL)]
        for finding in findings:
            counts[finding.state] += 1
            state = typer.style(f"{finding.state.value:<8}", fg=colours[finding.state])
            typer.echo(f"{state} {name:<10} {printable(finding.found)}")
            if finding.remedy:
                typer.echo(f"{'':<19} -> {printable(finding.remedy)}")
    typer.echo(f"warnings: {counts[State.WARNING]}, faults: {counts[State.FAULT]}")
    raise typer.Exit(bool(counts[State.FAULT]))


def _checks() -> Iterator[tuple[str, Check]]:
    """Yield the checks with their names; those of the project where its parameters can be read."""
    from pipeline.doctor import environment, fault

    yield "Python", environment.python
    yield "packages", environment.packages
    yield "OpenCV", environment.opencv
    yield "torch", environment.gpu
    yield "machine", environment.machine

    try:
        from pipeline import params
        from pipeline.doctor import fault, project

        p = params.load()
    except Exception as error:  # a wrong parameter, or a package that is broken
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
        found = fault(told, "put it right; `fer check` says the same")
        yield "parameters", lambda: iter([found])
        return
    yield "parameters", partial(project.choices, p)
    yield "data", partial(project.data, p)
    yield "weights", partial(project.weights, p)
    yield "disk", partial(project.disk, p)
    yield "repository", project.repository
