"""`fer import`: bring your own images."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands import completion
from pipeline.core.errors import UserError, printable
from pipeline.core.progress import in_words, in_yaml, say

if TYPE_CHECKING:
    from pipeline.importing.recognition import Recognised
    from pipeline.params.model import Params

_MOST = 5  # files that are named


def import_(
    path: Annotated[
        Path, typer.Argument(help="A folder, an archive of it, or a table with its images beside it.")
    ],
    names: Annotated[
        str,
        typer.Option(help="Classes of unknown labels: '0=anger,1=disgust'; `0=-` leaves the label out."),
    ] = "",
    form: Annotated[
        str | None,
        typer.Option(
            help="Form of the data set, in place of the one that fits best.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the files; without this option they are linked.")
    ] = False,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept-rejected", help="Go on although more than a tenth of the records is rejected."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
) -> None:
    """Bring your own images: recognise their layout, show what is read, and set params.yaml for a training on them.

    Nothing is changed before it has been shown. Images are not decoded yet: the stage `ingest` does that, and rejects
    those that it cannot read.
    """
    from pipeline import params
    from pipeline.importing.placing import classes_of, free_place, place, settings
    from pipeline.importing.recognition import forms, recognise
    from pipeline.params.change import set_values
    from pipeline.tables.vocabulary import spelled

    p = params.load()
    if not path.exists():
        raise UserError(f"{path}: not found, expected: a folder, an archive or a table")
    if form is not None and form not in forms():
        raise UserError.of("--form", repr(form), forms())
    own = _parsed(names)  # not those in params.yaml: they may be about other images
    found = recognise(path, own, p.classes, p.ingest.rafdb, form)
    seen = {spelled(label) for label, _, _ in found.labels()}
    absent = [label for label in own if spelled(label) not in seen and not found.listing.votes()]
    if absent:
        labels = ", ".join(label for label, _, _ in found.labels())
        raise UserError.of("--names", repr(absent[0]), f"labels of these images: {printable(labels)[:200]}")
    if found.unknown:
        _show(found, p)
        own |= _ask(found, yes)
        found = recognise(path, own, p.classes, p.ingest.rafdb, found.form)
    _show(found, p)
    free_place(found)
    classes = classes_of(found)
    if len(classes) < 2:
        raise UserError(f"{path}: found the classes {', '.join(classes) or 'none'}, expected: at least two")
    splits = found.splits()
    if not {"train", "none"} & splits.keys():
        raise UserError(f"{path}: found {in_words(splits)}, expected: images of train, or without a split")
    accept = accept or _check_rejected(found, copy, yes)
    changes = settings(found, p, own, accept)
    say(f"{'Copy' if copy else 'Link'} it to data/raw/{found.form}, and set in params.yaml:")
    for key, value in changes.items():
        say(f"  {key}: {in_yaml(value)}")
    if not yes:
        typer.confirm("Go on?", default=True, abort=True)
    left_out = place(found, copy)
    if left_out:
        say(f"not copied, because they are no files: {_counted(left_out)}")
    set_values(changes, params.PARAMS_FILE)
    say("Done. Train on these images:\n\n    dvc exp run\n")


def _parsed(text: str) -> dict[str, str]:
    """Return the classes in the option `--names`, by label."""
    # Both signs may also be in a label.
    found = re.findall(r".*?=[^,]*,?|.+", text, re.DOTALL)
    pairs = [pair.strip(", ").rpartition("=") for pair in found if pair.strip(", ")]
    for label, equals, name in pairs:
        if not (label.strip() and equals and name.strip()):
            raise UserError.of("--names", repr(label + equals + name), "LABEL=CLASS, joined by commas")
    return {label.strip(): _class(name) for label, _, name in pairs}


def _class(name: str) -> str:
    """Return the class that a person names.

    Raises:
        UserError: it cannot be the name of a class.
    """
    from pipeline.intake.names import CLASS_OF, Names
    from pipeline.params.types import class_name
    from pipeline.tables.vocabulary import spelled

    known = "unknown" if name.strip() == "-" else Names().get(name)
    close = difflib.get_close_matches(spelled(name), CLASS_OF, 1, cutoff=0.85)
    if not known and close:
        raise UserError.of(
            "class", repr(name.strip()), f"{CLASS_OF[close[0]]}, or a name that is not so close to it"
        )
    try:
        return known or class_name(name.strip())
    except ValueError as error:
        raise UserError.of("class", repr(name.strip()), str(error)) from None


def _proposed(label: str) -> str | None:
    """Return the name of a class that a label without one can have: `no_pain` for `No pain`; None if there is none."""
    from pipeline.tables.vocabulary import spelled

    try:
        return _class(spelled(label))
    except UserError:
        return None


def _ask(found: Recognised, yes: bool) -> dict[str, str]:
    """Return the classes of the labels that nothing knows.

    Raises:
        UserError: nobody can be asked.
    """
    if yes:
        option = ",".join(f"{label}=..." for label in found.unknown)
        noun = "label" if len(found.unknown) == 1 else "labels"
        raise UserError(
            f"{found.source}: found {len(found.unknown)} {noun} whose class nothing knows, expected: "
            f"--names '{printable(option)[:300]}', with a class or - for each"
        )
    say("\nWhich class is it? A name of your own becomes a class; - leaves the images out.")

    def answer(name: str) -> str:
        try:
            return _class(name)
        except UserError as error:
            raise typer.BadParameter(str(error)) from None  # the question comes again

    return {
        label: typer.prompt(f"{printable(label)} ({count:,})", default=_proposed(label), value_proc=answer)
        for label, count in found.unknown.items()
    }


def _show(found: Recognised, p: Params) -> None:
    """Print what a data set would give."""
    from pipeline.intake.unread import unread
    from pipeline.tables.vocabulary import splits_in_words

    inside = f", in {found.part.folder}/" if found.part.folder else ""
    typer.secho(f"{found.source}: {found.form}{inside}, {found.images:,} images", bold=True)
    for form, why in found.refused.items():
        say(f"not {form}: {why}")
    if splits := found.splits():
        drawn = f"; label draws {' and '.join(found.listing.draw)}" if found.listing.draw else ""
        say(f"splits: {splits_in_words(splits)}{drawn}")
    for label, name, count in found.labels():
        say(f"  {printable(label)} -> {name or '?'} {count:,}")
    for name, count in found.listing.votes().items():
        say(f"  {name} {count:,} votes")
    if ignored := found.listing.notes.get("ignored_columns"):
        say(f"columns that are not read: {ignored}")
    if others := found.listing.notes.get("other_tables"):
        say(f"tables without a readable column of images: {others}")
    if empty := found.listing.notes.get("empty_folders"):
        say(f"folders without an image: {empty}")
    if found.missing:
        say(f"images that are not there: {_counted(found.missing)}")
    if found.elsewhere:
        say(f"links to images elsewhere, which only --copy reads: {_counted(found.elsewhere)}")
    for reason, _ in found.listing.reasons().most_common():
        rows = [row for row in found.listing.rejected if row.reason == reason]
        files = [f"{row.file}, row {row.row}" if row.row else row.file for row in rows]
        say(f"left out, {reason}: {_counted(files)}: {rows[0].detail}")
    not_read = unread(found.tree, found.part, found.listing)
    for row in not_read[:_MOST]:
        say(f"not read: {row.place}{f' ({row.files:,} files)' if row.files > 1 else ''}")
    if rest := sum(row.files for row in not_read[_MOST:]):
        say(f"not read: {rest:,} more files")


def _counted(places: Sequence[str]) -> str:
    """Return the number of places, and the first of them."""
    more = ", ..." if len(places) > _MOST else ""
    return f"{len(places):,} ({', '.join(places[:_MOST])}{more})"


def _check_rejected(found: Recognised, copy: bool, yes: bool) -> bool:
    """Return whether more than a tenth of the records or a linked folder is left out, and a person accepts it.

    Raises:
        UserError: nobody accepts it.
    """
    missing, links = len(found.missing) + len(found.elsewhere) * (not copy), found.tree.linked()
    too_many = found.listing.too_many_rejected(found.images - missing, missing)
    if links:
        shown = printable(", ".join(links[:_MOST]))
        text = f"links to folders are not followed ({shown}), so their images would be left out"
        allowed = "links directly in the folder, the folders in their place, or --accept-rejected"
    elif too_many:
        text, allowed = f"{too_many} would be left out", "a tenth, or any number with --accept-rejected"
    else:
        return False
    if yes:
        raise UserError(f"{found.source}: {text}, allowed: {allowed}")
    typer.confirm(f"{text}. Go on with the others?", default=False, abort=True)
    return True
