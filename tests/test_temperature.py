"""Temperature scaling: scikit-learn's temperature, and a stage whose model file has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.inference import model_file
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import probabilities
from pipeline.stages import train
from pipeline.tables import paths
from pipeline.training.temperature import fitted
from tests import toy


@given(st.integers(0, 10_000), st.floats(0.3, 6))
def test_the_temperature_is_scikit_learns(seed: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    model = LogisticRegression().fit(rng.normal(size=(60, 3)), np.arange(60) % 4)
    model.coef_ = sharpness * rng.normal(size=model.coef_.shape)
    faces = rng.normal(size=(300, 3))
    logits = model.decision_function(faces)
    labels = np.array([rng.choice(4, p=row) for row in model.predict_proba(faces)])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(faces, labels)
    expected = theirs.predict_proba(faces)
    temperature = fitted(torch.from_numpy(logits), torch.from_numpy(labels))
    found = torch.from_numpy(logits / temperature).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_model_file_has_it_and_no_prediction_changes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for temperature in (False, True):
        settings = {"train.epochs": 6, "train.best": "last", "optimizers.sgd.learning_rate": 0.1}
        toy.write(project, **settings, **{"train.temperature": temperature})
        p = params.load()
        train.run(p)
        trained = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
        valid = toy.labelled(p).split("valid")
        crops, size = VIEWS["centre"]
        found[temperature] = probabilities(trained.network, valid.batches(size), trained.crop, crops)
    labels = valid.labels.numpy()
    value = json.loads((paths.METRICS / "train.json").read_text())["temperature"]
    assert (
        f"train: logits divided by a temperature of {value:.3f}, fitted on valid" in capsys.readouterr().out
    )
    powers = np.log(found[False]) / value
    expected = np.exp(powers) / np.exp(powers).sum(1, keepdims=True)
    np.testing.assert_allclose(found[True], expected, atol=1e-5)
    assert (found[True].argmax(1) == found[False].argmax(1)).all()
    rows = np.arange(len(labels))
    before, after = (-np.log(found[kind][rows, labels]).mean() for kind in (False, True))
    assert after <= before + 1e-6
    again = fitted(torch.from_numpy(np.log(found[False])), torch.from_numpy(labels))
    assert value == pytest.approx(again, rel=1e-3)


@pytest.mark.parametrize(("key", "value"), [("temperature", True), ("patience", 3)])
def test_what_needs_faces_in_valid_says_so(project: Path, key: str, value: object) -> None:
    toy.write(project, **{f"train.{key}": value})
    kept = pq.read_table(paths.LABELS, filters=pc.field("split") != "valid")
    pq.write_table(kept, paths.LABELS)
    with pytest.raises(
        UserError, match=rf"train.{key}: found {str(value).lower()}, allowed: .*, as no sample of "
    ):
        train.run(params.load())
