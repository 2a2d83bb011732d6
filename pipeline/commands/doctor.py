"""`fer doctor`: check this machine and this project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import typer

from pipeline.core.errors import UserError, one_line, printable

if TYPE_CHECKING:
    from pipeline.doctor import Finding


INDENT = " " * 20  # before what a check has found


def doctor() -> None:
    """Check this machine and this project, and say how to fix problems.

    A warning may stop the chain, a fault does. With a fault, the exit code is 1. Nothing is changed or downloaded.
    """
    from pipeline.core.progress import wrapped
    from pipeline.doctor import Level, fault
    from pipeline.doctor.environment import INSTALL

    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red"}
    counts = dict.fromkeys(Level, 0)
    for name, check in _checks():
        try:
            findings = list(check())
        except Exception as error:  # a broken installation raises many kinds
            findings = [fault(f"cannot be checked: {type(error).__name__}: {one_line(error)}", INSTALL)]
        for finding in findings:
            counts[finding.level] += 1
            level = typer.style(f"{finding.level.value:<8}", fg=colours[finding.level])
            text = wrapped(printable(finding.text), first=INDENT, indent=INDENT)
            typer.echo(f"{level} {name:<10} {text.removeprefix(INDENT)}")
            if finding.remedy:
                typer.echo(wrapped(f"-> {printable(finding.remedy)}", first=INDENT, indent=f"{INDENT}   "))
    typer.echo(f"warnings: {counts[Level.WARNING]}, faults: {counts[Level.FAULT]}")
    raise typer.Exit(bool(counts[Level.FAULT]))


def _checks() -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Yield the checks with their names. Checks of the project need readable parameters."""
    from pipeline.doctor import environment, fault, ok

    yield "Python", environment.python
    yield "packages", environment.packages
    yield "OpenCV", environment.opencv
    yield "torch", environment.gpu
    yield "machine", environment.machine

    try:
        from pipeline import params
        from pipeline.doctor import project

        p = params.load()
    except Exception as error:  # a wrong parameter, or a broken package
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
        yield "parameters", lambda: iter([fault(reason, "correct it; `fer check` reports the same error")])
        return
    choices = f"{', '.join(p.datasets)}; {p.model}, augment {p.augment}, loss {p.loss}, gan {p.gan}"
    yield "parameters", lambda: iter([ok(f"params.yaml: {choices}")])
    yield "engine", partial(project.engine, p.engine)
    yield "device", partial(project.device, p.train.device)
    yield "data", partial(project.data, p.datasets)
    yield "weights", partial(project.weights, p.align, p.datasets)
    yield "disk", partial(project.disk, p.datasets, p.align)
    yield "repository", project.repository
