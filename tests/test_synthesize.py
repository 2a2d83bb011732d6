"""The GAN stage: what it is trained on, what it writes, and that it repeats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline import params, paths, schema, tables
from pipeline.errors import UserError
from pipeline.stages import synthesize
from tests import toy

TINY = {
    "gan": "dcgan",
    "gans.classes": ["happiness"],
    "gans.images_per_class": 12,
    "gans.dcgan.epochs": 2,
    "gans.dcgan.width": 8,
    "gans.dcgan.latent": 8,
    "gans.judge_epochs": 2,
}


def test_generated_faces_carry_class_seed_and_generator_and_repeat(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    table = tables.Faces(paths.SYNTHETIC).table.to_pylist()
    assert len(table) == 12
    assert {row["label"] for row in table} == {"happiness"}
    assert sorted(row["seed"] for row in table) == list(range(10_000_000, 10_000_012))
    index = json.loads((paths.MODELS / "gan/generators.json").read_text())
    assert {row["generator"] for row in table} == {f"dcgan/happiness/{index['happiness']['sha256']}"}
    assert (paths.PLOTS / "synthesize/happiness.png").stat().st_size > 0

    first = paths.SYNTHETIC.read_bytes(), (paths.METRICS / "synthesize.json").read_bytes()
    synthesize.run(params.load())
    assert (paths.SYNTHETIC.read_bytes(), (paths.METRICS / "synthesize.json").read_bytes()) == first


def test_only_the_training_split_reaches_the_gan(project: Path) -> None:
    toy.write(project, **TINY)
    labels = pq.read_table(paths.LABELS).to_pylist()
    expected = sum(row["split"] == "train" and row["label"] == "happiness" for row in labels)
    synthesize.run(params.load())
    assert json.loads((paths.METRICS / "synthesize.json").read_text())["happiness"]["trained_on"] == expected
    first = paths.SYNTHETIC.read_bytes()
    # Without the other splits the faces are the same, to the byte.
    kept = [row for row in labels if row["split"] == "train"]
    tables.write_rows(paths.LABELS, schema.labels(toy.CLASSES), kept)
    synthesize.run(params.load())
    assert paths.SYNTHETIC.read_bytes() == first


def test_without_a_gan_the_table_is_empty_and_training_goes_on(project: Path) -> None:
    from pipeline.training import data

    toy.write(project)
    synthesize.run(params.load())
    real = data.real("train", params.load())
    assert len(data.with_synthetic(real, paths.SYNTHETIC, params.load())) == len(real)


def test_synthetic_faces_join_the_training_set_with_their_class(project: Path) -> None:
    from pipeline.training import data

    toy.write(project, **TINY)
    synthesize.run(params.load())
    real = data.real("train", params.load())
    both = data.with_synthetic(real, paths.SYNTHETIC, params.load())
    assert len(both) == len(real) + 12
    assert both.labels[len(real) :].tolist() == [1] * 12
    stored = tables.Faces(paths.SYNTHETIC)
    taken = both.take(torch.arange(len(real), len(both))).numpy()
    assert np.array_equal(taken, np.stack([stored[i] for i in range(12)]))


def test_a_class_without_faces_is_refused_by_name(project: Path) -> None:
    toy.write(project, **TINY | {"classes": [*toy.CLASSES, "fear"], "gans.classes": ["fear"]})
    rows = pq.read_table(paths.LABELS).to_pylist()
    for row in rows:
        row["target"] = [*row["target"], 0.0]
    tables.write_rows(paths.LABELS, schema.labels([*toy.CLASSES, "fear"]), rows)
    with pytest.raises(UserError, match="'fear' with 0 faces"):
        synthesize.run(params.load())
