"""The embedded sample. It has the form of a `table`."""

from __future__ import annotations

from pipeline.datasets import table
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree


def records(tree: Tree, options: Options) -> Listing:
    """List the rows of the table.

    Raises:
        UserError: as `table.records`.
    """
    listing = table.records(tree, options)
    listing.uses("README.md")
    return listing
