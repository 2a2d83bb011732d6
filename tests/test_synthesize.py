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
from pipeline.gan import dcgan, from_faces, to_faces
from pipeline.gan._convolutional import Decoder, Discriminator
from pipeline.stages import synthesize
from tests import toy

TINY = {
    "gan": "dcgan",
    "gans.classes": ["happiness"],
    "gans.images_per_class": 12,
    "gans.dcgan.epochs": 2,
    "gans.dcgan.width": 8,
    "gans.dcgan.latent": 8,
}


def test_faces_survive_the_way_to_the_network_and_back() -> None:
    faces = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_faces(from_faces(faces)), faces.numpy())


@pytest.mark.parametrize("size", [16, 48, 112])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_have_the_published_shape(size: int, channels: int) -> None:
    torch.manual_seed(0)
    decoder, discriminator = Decoder(64, size, channels, 16), Discriminator(size, channels, 16)
    images = decoder(torch.randn(2, 64))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (2,)
    weights = torch.cat([m.weight.flatten() for m in decoder.modules() if hasattr(m, "kernel_size")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(weights.mean().item()) < 0.001
    # No batch norm at the decoder's output and the discriminator's input (section 3 of the paper).
    assert isinstance(decoder.layers[-1], torch.nn.Tanh)
    assert isinstance(discriminator.layers[1], torch.nn.LeakyReLU)


def test_generated_faces_carry_class_seed_and_generator_and_repeat(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    table = tables.Faces(paths.SYNTHETIC).table.to_pylist()
    assert len(table) == 12
    assert {row["label"] for row in table} == {"happiness"}
    assert sorted(row["seed"] for row in table) == list(range(12))
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


def test_dcgan_learns_the_brightness_of_its_class() -> None:
    # Faces of one grey value: after some epochs the generator is closer to it than an untrained one.
    faces = np.full((32, 16, 16, 1), 200, np.uint8) + np.random.default_rng(0).integers(
        0, 9, (32, 16, 16, 1), np.uint8
    )
    settings = {"batch_size": 16, "learning_rate": 1e-3, "latent": 8, "width": 16}
    labels = np.full(32, "fear")

    def distance(epochs: int) -> float:
        fitted = dcgan.fit(
            dcgan.Params(epochs=epochs, **settings), faces, labels, ["fear"], 0, torch.device("cpu")
        )
        return abs(float(fitted["fear"].faces(range(64)).mean()) - 204)

    assert distance(100) < distance(1) / 2
