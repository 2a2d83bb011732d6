"""What `params.yaml` says about reading a data set."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.intake.names import Names


@dataclass(frozen=True)
class Options:
    """Settings of `ingest` that an adapter needs.

    Attributes:
        names: the classes of labels.
        rafdb: images of RAF-DB that are read, `original` or `aligned`.
    """

    names: Names = field(default_factory=Names)
    rafdb: str = "original"
