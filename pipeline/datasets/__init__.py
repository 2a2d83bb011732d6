"""One module per form of data set, published or a person's own: it turns the layout on disk into records.

A module has the data set's name. `datasets: [ferplus]` selects `pipeline/datasets/ferplus.py` and the raw data
`data/raw/ferplus`: a folder, an archive of it, or a link to either. A module offers

* `records(tree, options) -> Listing`: adds every row of the data set as a record, whose image is read later, or
  rejects it with a reason. `options` is what `params.yaml` says about reading. The function raises `WrongTree` if the
  tree has another layout, and `UserError` if the data set as a whole is wrong (a column is missing), never for a single
  row.

Labels are mapped by name, never by position. A module's docstring shows the expected tree and the form of an id.
"""

from __future__ import annotations

from importlib import import_module

from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Part, Tree, WrongTree


def listed(dataset: str, tree: Tree, options: Options) -> tuple[Listing, Part]:
    """List a data set, whose files may lie in a folder of their own at the top of the tree.

    Args:
        dataset: name of a module.
        tree: the data set's files.
        options: what `params.yaml` says about reading.

    Returns:
        The listing, and the part of the tree that holds the data set.

    Raises:
        UserError: as `records`.
    """
    records = import_module(f"pipeline.datasets.{dataset}").records
    whole = part = Part(tree)
    try:
        return records(whole, options), whole
    except WrongTree as wrong:
        while inner := part.inner():
            part = inner
            try:
                return records(part, options), part
            except WrongTree:
                continue
        raise wrong from None
