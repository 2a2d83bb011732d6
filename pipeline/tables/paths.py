"""Paths of data, models and results, relative to the folder with `params.yaml`."""

from __future__ import annotations

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
