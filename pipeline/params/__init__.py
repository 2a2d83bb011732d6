"""Read `params.yaml` as validated settings with types."""

from pipeline.params.load import PARAMS_FILE, load, validated
from pipeline.params.model import Params

__all__ = ["PARAMS_FILE", "Params", "load", "validated"]
