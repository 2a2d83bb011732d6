"""Paths of data, models and results, relative to the folder with `params.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

RAW = Path("data/raw")
INGESTED = Path("data/ingested")
CHECKED = Path("data/checked.txt")
ALIGNED = Path("data/aligned")
INTERRUPTED = Path("data/interrupted")  # finished batches of killed runs
EXCLUDE = Path("data/exclude")  # lists of images to leave out, see `labels.exclude`
LABELS = Path("data/labels.parquet")
SYNTHETIC = Path("data/synthetic.arrow")
PREDICTIONS = Path("data/predictions.parquet")
MODELS = Path("models")
DETECTORS = MODELS / "detector"
CLASSIFIER = MODELS / "classifier.safetensors"
METRICS = Path("metrics")
PLOTS = Path("plots")


def reusable(name: str) -> Path:
    """Return the folder `models/<name>` of work that other runs reuse: checkpoints, judges or trained GANs.

    The name of a file in it is a hash of all that decides the file's content. In a copy that DVC makes of the project
    for an experiment, this is the project's folder, because DVC deletes the copy even if a stage was killed.
    """
    copy = re.fullmatch(r"(.+)/\.dvc/tmp/exps/(?:.+/)?tmp[^/]*", Path.cwd().as_posix())
    return Path(copy[1] if copy else "", MODELS, name)
