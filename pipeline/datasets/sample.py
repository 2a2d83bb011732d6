"""The embedded sample. It has the form of a `table`."""

from pipeline.datasets.table import records

__all__ = ["records"]
