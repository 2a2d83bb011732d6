"""The embedded sample, which is written in the form of a `table`."""

from pipeline.datasets.table import records

__all__ = ["records"]
