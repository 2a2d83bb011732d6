"""The commands in the documentation, and how each of them can be checked without running it."""

from __future__ import annotations

import copy
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import typer
import yaml
from dvc.cli import DvcParserError, parse_args
from dvc.exceptions import DvcException
from dvc.utils import hydra
from packaging.requirements import Requirement

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.experiments import recipes
from pipeline.params.methods import choices
from scripts.documentation import stages

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
SHELL = ("", "sh", "bash", "shell")
INLINE = re.compile(r"`((?:\w+=\S+ )?(?:fer|dvc|make|python|pip|git|ray|pre-commit) [^`]+)`")


class Command(NamedTuple):
    """A command as words, and where it stands; a line of text may leave out what a command needs, `fer recipe show`."""

    page: str
    words: tuple[str, ...]
    in_text: bool = False
    variables: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join((*self.variables, *self.words))

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


@cache
def text(page: str) -> str:
    """Return a page's Markdown."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of the fenced blocks of a page."""
    yield from _fenced(text(page))


def _fenced(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"(?ms)^```(\w*)[^\n]*\n(.*?)^```$", text):
        yield found[1], found[2]


def section(page: str, heading: str) -> list[Command]:
    """Return the commands in the shell blocks under a heading of the second level, or above the first one."""
    above = f"## {re.escape(heading)}" if heading else "# [^\n]*"
    part = re.search(rf"(?ms)^{above}$(.*?)(?=^## |\Z)", text(page))
    assert part, f"{page} has no section {heading!r}"
    return [c for language, block in _fenced(part[1]) if language in SHELL for c in parsed(page, block)]


def groups(page: str) -> Iterator[list[Command]]:
    """Yield the commands of each shell block of a page together, then each that stands in a line of text."""
    for language, block in blocks(page):
        if language in SHELL:
            yield list(parsed(page, block))
    prose = re.sub(r"(?ms)^```.*?^```$", "", text(page))
    for found in INLINE.findall(re.sub(r"\n(?=\S)", " ", prose)):
        yield [c._replace(in_text=True) for c in parsed(page, found.removesuffix("..."))]


@cache
def commands(page: str) -> tuple[Command, ...]:
    """Return the commands of a page, those in its blocks first."""
    return tuple(command for group in groups(page) for command in group)


@cache
def _in_blocks() -> tuple[Command, ...]:
    return tuple(command for page in PAGES for command in commands(page) if not command.in_text)


def is_mention(command: Command) -> bool:
    """Say whether a command in a text is one that stands in a block, or its beginning."""
    return command.in_text and any(
        block.words[: len(command.words)] == command.words and set(command.variables) <= set(block.variables)
        for block in _in_blocks()
    )


def shape(command: Command) -> tuple[object, ...]:
    """Return the program, its sub-command and the names of the options.

    Commands of one shape differ in values alone, which `check` looks at. So do experiments and runs of recipes.
    """
    words = command.words
    if words[:3] == ("python", "-m", "pipeline"):
        words = ("fer", *words[3:])
    several = {"exp", "queue", "metrics", "params", "plots", "recipe", "remote", "stage", "artifacts"}
    length = 3 if words[1:] and words[1] in several else 2
    options = {word.partition("=")[0] for word in words[length:] if word.startswith("-")}
    if words[:3] == ("dvc", "exp", "run"):
        options &= {"--queue", "--run-all"}
    elif words[:3] == ("fer", "recipe", "run"):
        options = set()
    return (*words[:length], frozenset(options))


def parsed(page: str, block: str) -> Iterator[Command]:
    """Yield the commands of a text."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set(";|&"):
                variables = tuple(takewhile(re.compile(r"[A-Z_0-9]+=\S*").fullmatch, words))
                if words := words[len(variables) :]:
                    yield Command(page, tuple(words), variables=variables)
                words = []
            else:
                words.append(token)


@cache
def _params() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


class Wrong(Exception):
    """What is wrong with a command."""


def check(commands: list[Command]) -> None:
    """Check the commands of a block; parameters are those of params.yaml and what the commands before have set.

    Raises:
        Wrong: says what is wrong with which command.
    """
    values = copy.deepcopy(_params())
    for command in commands:
        program = command.words[0]
        checker = CHECKS.get(program)
        if checker is None:
            raise Wrong(
                f"{command}: no check for `{program}`: add one to CHECKS in tests/doc_commands.py, or, if this is no "
                "command, name the block's language (```text)"
            )
        try:
            checker(command, values)
        except Wrong as error:
            raise Wrong(f"{command}: {error}") from None


def _fer(command: Command, values: dict[str, Any]) -> None:
    """Options and names of `fer`, as its own parser reads them."""
    parser, rest = typer.main.get_command(app), list(command.words[1:])
    if rest == ["--install-completion"]:
        return  # acts when it is read
    context = parser.make_context("fer", list(rest))
    try:
        while rest and hasattr(parser, "commands"):
            name, parser, rest = parser.resolve_command(context, rest)
            if rest or not hasattr(parser, "commands"):
                context = parser.make_context(name, list(rest), parent=context)
    except Exception as error:
        if not (command.in_text and type(error).__name__ == "MissingParameter"):
            raise Wrong(f"fer refuses it: {getattr(error, 'message', error)}") from None
    name = context.params.get("name")
    if command.words[1] == "recipe" and name and name != "mine":  # a reader's own
        if name not in recipes.names():
            raise Wrong(f"there is no recipe {name}")
        variants = recipes.load(name).variants
        for key in ("variant", "baseline"):
            given = context.params.get(key) or []
            for variant in [given] if isinstance(given, str) else given:
                if variant not in variants:
                    raise Wrong(f"recipe {name} has no row {variant}")
    if (dataset := context.params.get("dataset")) and dataset not in choices("dataset"):
        raise Wrong(f"there is no data set {dataset}")


def _dvc(command: Command, values: dict[str, Any]) -> None:
    """Options as DVC's own parser reads them; parameters as `pipeline.params` does; stages that exist."""
    try:
        parsed = parse_args(list(command.words[1:]))
    except (DvcParserError, SystemExit) as error:
        raise Wrong(f"dvc refuses it: {error}") from None
    if settings := getattr(parsed, "set_param", None):
        try:
            _override(values, [word.replace("<name>", "mixcut") for word in settings])
        except (UserError, DvcException) as error:
            raise Wrong(f"{error}: {error.__cause__}" if error.__cause__ else str(error)) from None
    for target in getattr(parsed, "targets", None) or []:
        if target.partition("@")[0] not in stages.chain() and not target.startswith(
            ("metrics/", "plots/", "data/raw/")
        ):
            raise Wrong(f"there is no stage {target}")


def _override(values: dict[str, Any], settings: list[str]) -> None:
    """Set parameters as `dvc exp run -S` does; of several values for a key each is checked, and the last one stays."""
    for override in hydra.to_hydra_overrides(settings):
        *above, last = override.key_or_group.split(".")
        block = values
        for name in above:
            block = block.get(name, {})
        if last not in block:
            raise Wrong(f"params.yaml has no {override.key_or_group}")
        sweep = override.is_sweep_override()
        for value in override.sweep_iterator() if sweep else [override.value()]:
            block[last] = yaml.safe_load(str(value)) if sweep else value
            if sweep:
                params.validated(values, params.PARAMS_FILE)
    params.validated(values, params.PARAMS_FILE)


def _make(command: Command, values: dict[str, Any]) -> None:
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    if unknown := [word for word in command.words[1:] if "=" not in word and word not in targets]:
        raise Wrong(f"the Makefile has no target {unknown[0]}")


def _python(command: Command, values: dict[str, Any]) -> None:
    if command.words[1] == "-m":
        if importlib.util.find_spec(command.words[2]) is None:
            raise Wrong(f"there is no module {command.words[2]}")
    elif not (ROOT / command.words[1]).is_file():
        raise Wrong(f"there is no file {command.words[1]}")


def _pip(command: Command, values: dict[str, Any]) -> None:
    """Packages of their own. `pip install 'fer-pipeline[…]'` would also install what [tool.uv] leaves out."""
    if unknown := [word for word in command.words[2:] if word not in optional()]:
        raise Wrong(f"pyproject.toml has no extra with {unknown[0]}")


def optional() -> dict[str, Requirement]:
    """Return the requirements of the extras in pyproject.toml by name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = [Requirement(line) for lines in extras.values() for line in lines]
    return {requirement.name: requirement for requirement in found}


def _link(command: Command, values: dict[str, Any]) -> None:
    """A link to a data set."""
    dataset = command.words[-1].removeprefix("data/raw/")
    if dataset not in choices("dataset"):
        raise Wrong(f"there is no data set {dataset}")


def _git(command: Command, values: dict[str, Any]) -> None:
    known = ("add", "checkout", "clean", "clone", "commit", "config", "diff")
    known += ("pull", "push", "restore", "stash", "status", "tag", "worktree")
    if command.words[1] not in known:
        raise Wrong(f"git {command.words[1]}: allowed here: {', '.join(known)}")


def _installed(package: str) -> object:
    def checker(command: Command, values: dict[str, Any]) -> None:
        if importlib.util.find_spec(package) is None:
            raise Wrong(f"{package} is not among the dependencies")

    return checker


# What can be checked of each program's commands without data, hours, a cluster or a network.
CHECKS = {
    "fer": _fer,
    "dvc": _dvc,
    "make": _make,
    "python": _python,
    "pip": _pip,
    "git": _git,
    "ln": _link,
    "gto": _installed("gto"),
    "ray": _installed("ray"),
    "pre-commit": _installed("pre_commit"),
    ".": lambda command, values: None,
    "cd": lambda command, values: None,
    "cp": lambda command, values: None,
}
