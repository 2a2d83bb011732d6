"""Where things lie, relative to the folder that holds `params.yaml`."""

from __future__ import annotations

from pathlib import Path

RAW = Path("data/raw")
INGESTED = Path("data/ingested")
ALIGNED = Path("data/aligned")
INTERRUPTED = Path("data/interrupted")  # what killed runs have done so far
LABELS = Path("data/labels.parquet")
SYNTHETIC = Path("data/synthetic.arrow")
PREDICTIONS = Path("data/predictions.parquet")
MODELS = Path("models")
DETECTORS = MODELS / "detector"
CLASSIFIER = MODELS / "classifier.safetensors"
METRICS = Path("metrics")
PLOTS = Path("plots")
