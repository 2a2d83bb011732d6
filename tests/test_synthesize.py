"""The stage `synthesize`: what it trains on, what it writes, and that it repeats."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.inference import samples as data
from pipeline.quality.filters import TRIES, keep
from pipeline.stages import synthesize, train
from pipeline.synthesis import trainer
from pipeline.tables import paths, schema, store
from pipeline.training import checkpoint, judge
from tests import forked, toy

TINY = {
    "gan": "dcgan",
    "gans.classes": ["happiness"],
    "gans.images_per_class": 12,
    "gans.dcgan.epochs": 2,
    "gans.dcgan.least_steps": 0,
    "gans.dcgan.width": 8,
    "gans.dcgan.latent": 8,
    "gans.judge_epochs": 2,
}


def test_generated_faces_carry_class_seed_and_generator_and_repeat(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    table = store.Faces(paths.SYNTHETIC).table.to_pylist()
    assert len(table) == 12
    assert {row["label"] for row in table} == {"happiness"}
    assert sorted(row["seed"] for row in table) == list(range(10_000_000, 10_000_012))
    index = json.loads((paths.MODELS / "gan/generators.json").read_text())
    assert index["happiness"]["label"] == 1
    assert {row["generator"] for row in table} == {f"dcgan/happiness/{index['happiness']['sha256']}"}
    assert (paths.PLOTS / "synthesize/happiness.png").stat().st_size > 0


def outputs() -> dict[str, bytes]:
    """Return every file that the stage writes, by path."""
    folders = (paths.MODELS / "gan", paths.PLOTS / "synthesize")
    files = [paths.SYNTHETIC, paths.METRICS / "synthesize.json", *(f for d in folders for f in d.iterdir())]
    return {str(file): file.read_bytes() for file in files}


@pytest.mark.parametrize("gan", ["dcgan", "cgan"])
def test_another_number_of_faces_reuses_the_gan_and_gives_the_faces_of_a_new_training(
    project: Path, gan: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {key.replace("dcgan", gan): value for key, value in TINY.items()}
    toy.write(project, **tiny | {"gan": gan})
    synthesize.run(params.load())
    toy.set_params(project, **{"gans.images_per_class": 14, "gans.filters.distance": 0.01})
    with monkeypatch.context() as patch:
        patch.setattr(trainer.GanTrainer, "run", None)
        synthesize.run(params.load())
    assert "synthesize: reused the GAN of an earlier run: " in capsys.readouterr().out
    reused = outputs()
    [file] = paths.reusable("generators").iterdir()
    tensors, about = checkpoint.restore(file) or ({}, {})
    if gan == "dcgan":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        checkpoint.store(file, tensors, about | {"file": "gan-of-others.safetensors"})
    synthesize.run(params.load())
    assert "reused" not in capsys.readouterr().out
    assert outputs() == reused


def test_only_the_gans_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate("abcd"):
        (tmp_path / f"{name}.safetensors").touch()
        os.utime(tmp_path / f"{name}.safetensors", (1000 - age, 1000 - age))
    (tmp_path / "c.safetensors").touch()
    checkpoint.keep_newest(tmp_path, 2)
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "c"]


def test_only_the_training_split_reaches_the_gan(project: Path) -> None:
    toy.write(project, **TINY)
    labels = pq.read_table(paths.LABELS).to_pylist()
    expected = sum(row["split"] == "train" and row["label"] == "happiness" for row in labels)
    synthesize.run(params.load())
    assert json.loads((paths.METRICS / "synthesize.json").read_text())["happiness"]["trained_on"] == expected
    first = paths.SYNTHETIC.read_bytes()
    # Without the other splits the faces are the same to the byte.
    kept = [row for row in labels if row["split"] == "train"]
    store.write_rows(paths.LABELS, schema.labels(toy.CLASSES), kept)
    synthesize.run(params.load())
    assert paths.SYNTHETIC.read_bytes() == first


def test_without_a_gan_the_table_is_empty_and_training_goes_on(project: Path) -> None:
    toy.write(project)
    synthesize.run(params.load())
    real = toy.labelled(params.load()).split("train")
    assert len(toy.labelled(params.load()).with_synthetic(real, paths.SYNTHETIC, alone=False)) == len(real)


def test_synthetic_faces_join_the_training_set_with_their_class(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    real = toy.labelled(params.load()).split("train")
    both = toy.labelled(params.load()).with_synthetic(real, paths.SYNTHETIC, alone=False)
    assert len(both) == len(real) + 12
    assert both.labels[len(real) :].tolist() == [1] * 12
    stored = store.Faces(paths.SYNTHETIC)
    taken = both.take(torch.arange(len(real), len(both))).numpy()
    assert np.array_equal(taken, np.stack([stored[i] for i in range(12)]))


def test_a_class_without_faces_is_refused_by_name(project: Path) -> None:
    toy.write(project, **TINY | {"classes": [*toy.CLASSES, "fear"], "gans.classes": ["fear"]})
    rows = pq.read_table(paths.LABELS).to_pylist()
    for row in rows:
        row["target"] = [*row["target"], 0.0]
    store.write_rows(paths.LABELS, schema.labels([*toy.CLASSES, "fear"]), rows)
    with pytest.raises(UserError, match="'fear' with 0 faces"):
        synthesize.run(params.load())


def rewrite_labels(change: Any) -> None:
    """Rewrite data/labels.parquet with `change` applied to each row; drop rows that become None."""
    rows = [change(row) for row in pq.read_table(paths.LABELS).to_pylist()]
    store.write_rows(paths.LABELS, schema.labels(toy.CLASSES), [row for row in rows if row])


def measured() -> dict[str, Any]:
    return json.loads((paths.METRICS / "synthesize.json").read_text())


# ---------------------------------------------------------------------------------------------------- leaks


def test_a_gan_never_sees_what_valid_or_test_hold_nor_a_face_twice(project: Path) -> None:
    toy.write(project)
    train_rows = toy.labelled(params.load()).split("train").ids.to_pylist()
    valid_rows = toy.labelled(params.load()).split("valid").ids.to_pylist()
    cluster = {train_rows[0]: "a", valid_rows[0]: "a"}  # in valid too
    cluster |= dict.fromkeys(train_rows[3:6], "b")  # three times in train
    rewrite_labels(lambda row: row | {"cluster": cluster.get(row["id"])})
    learned = toy.labelled(params.load()).learnable()
    gone = {train_rows[0], train_rows[4], train_rows[5]}
    assert learned.ids.to_pylist() == [id_ for id_ in train_rows if id_ not in gone]
    every = toy.labelled(params.load()).split("train")
    rows = np.array([every.ids.to_pylist().index(id_) for id_ in learned.ids.to_pylist()])
    np.testing.assert_array_equal(learned.gather(np.arange(len(rows))), every.gather(rows))
    assert torch.equal(learned.labels, every.labels[rows])


def test_the_hash_knows_ids_labels_and_pixels(project: Path) -> None:
    toy.write(project)
    p = params.load()
    before = data.digest(toy.labelled(p).learnable())
    assert data.digest(toy.labelled(p).learnable()) == before
    swapped = {"neutral": "happiness", "happiness": "neutral"}
    rewrite_labels(lambda row: row | {"label": swapped[row["label"]]})
    assert data.digest(toy.labelled(p).learnable()) != before
    toy.write(project)
    rewrite_labels(lambda row: None if row["id"] == "toy/000" else row)
    assert data.digest(toy.labelled(p).learnable()) != before


def test_training_refuses_faces_of_a_gan_that_saw_another_split(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    made_from = measured()["made_from"]
    rewrite_labels(lambda row: None if row["id"] == "toy/000" else row)
    with pytest.raises(UserError, match=f"another training split .{made_from[:12]}.* run `dvc repro`"):
        train.run(params.load())
    assert not paths.CLASSIFIER.exists()


# ------------------------------------------------------------------------------------------------- how many


def test_balance_fills_a_class_to_the_largest_or_to_a_number(project: Path) -> None:
    toy.write(project, **TINY | {"gans.images_per_class": "balance"})
    rewrite_labels(lambda row: None if row["label"] == "happiness" and row["id"] > "toy/060" else row)
    p = params.load()
    counts = np.bincount(toy.labelled(p).split("train").labels.numpy())
    synthesize.run(p)
    assert measured()["happiness"]["images"] == counts[0] - counts[1] > 0
    toy.set_params(project, **{"gans.balance_to": int(counts[1]) + 5})
    synthesize.run(params.load())
    assert measured()["happiness"]["images"] == 5
    toy.set_params(project, **{"gans.balance_to": int(counts[1]) - 5})
    synthesize.run(params.load())
    assert len(store.Faces(paths.SYNTHETIC)) == 0


def test_a_distance_needs_two_faces_of_a_class(project: Path) -> None:
    toy.write(project, **TINY | {"gan": "repeat", "gans.filters.distance": 0.5})
    rewrite_labels(lambda row: None if row["label"] == "happiness" and row["id"] > "toy/002" else row)
    with pytest.raises(
        UserError, match=r"gans\.filters\.distance: found 0\.5 with 1 training face of a class"
    ):
        synthesize.run(params.load())


def test_alone_trains_on_synthetic_faces_only(project: Path) -> None:
    toy.write(project, **TINY | {"gans.classes": toy.CLASSES, "train.synthetic": "alone"})
    synthesize.run(params.load())
    p = params.load()
    faces = toy.labelled(p)
    alone = faces.with_synthetic(faces.split("train"), paths.SYNTHETIC, alone=p.train.synthetic == "alone")
    assert len(alone) == 24
    assert all(id_.startswith("synthetic/") for id_ in alone.ids.to_pylist())
    train.run(p)
    samples = json.loads((paths.METRICS / "train.json").read_text())["samples"]
    assert samples == {"real": 0, "synthetic": 24, "datasets": {"sample": 0}}


# -------------------------------------------------------------------------------------------------- filters


def test_filters_count_what_they_turn_down_and_others_take_its_place() -> None:
    def draw(seeds: list[int]) -> np.ndarray:
        return np.array(seeds, np.uint8).reshape(-1, 1, 1, 1)

    filters = {"even": lambda faces: faces.ravel() % 2 == 0, "small": lambda faces: faces.ravel() < 50}
    kept = keep(draw, 10, 0, filters)
    assert kept.seeds == list(range(0, 20, 2))
    assert kept.faces.ravel().tolist() == kept.seeds
    assert keep(draw, 10, 0, {}).seeds == list(range(10))
    few = keep(draw, 5, 0, {"none": lambda faces: np.zeros(len(faces), bool)})
    assert (few.seeds, few.rejected["none"], len(few.faces)) == ([], 5 * TRIES, 0)


def test_a_filter_that_accepts_nothing_leaves_a_class_empty_and_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write(project, **TINY | {"gans.filters.distance": 1000.0})
    synthesize.run(params.load())
    assert "happiness has 0 of 12 faces; rejected distance 240" in capsys.readouterr().out
    assert measured()["happiness"]["rejected"] == {"distance": 240}
    assert measured()["happiness"]["fid"] is None
    assert len(store.Faces(paths.SYNTHETIC)) == 0


def test_repeated_faces_are_memorised_and_a_filter_finds_them(project: Path) -> None:
    toy.write(project, **TINY | {"gan": "repeat"})
    synthesize.run(params.load())
    assert measured()["happiness"]["memorised"] == 1
    assert measured()["happiness"]["precision"] == 1
    toy.set_params(project, **{"gans.filters.distance": 0.1})
    synthesize.run(params.load())
    assert measured()["happiness"]["images"] == 0


# --------------------------------------------------------------------------------------------------- judges


def judged(p: params.Params, samples: data.Samples, number: int) -> judge.Judge:
    where, seconds = torch.device("cpu"), p.train.checkpoint_seconds
    return judge.trained(
        samples, p.classes, p.seed, number, p.gans.judge_epochs, where, torch.float32, seconds
    )


def test_judges_are_trained_once_and_know_the_classes(project: Path) -> None:
    toy.write(project, **TINY | {"gans.judge_epochs": 40})
    p = params.load()
    samples = toy.labelled(p).learnable()
    first, second = (judged(p, samples, number) for number in range(2))
    assert first.digest != second.digest
    assert judged(p, samples, 0).digest == first.digest
    faces = samples.gather(np.arange(len(samples)))
    features, chances = first.assess(faces)
    assert features.shape == (len(samples), 256)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances.argmax(axis=1) == samples.labels.numpy()).mean() > 0.6
    # The judges' training does not depend on the GAN.
    toy.set_params(project, gan="none")
    assert judged(params.load(), samples, 0).digest == first.digest


def test_a_judge_that_has_changed_on_the_disk_is_trained_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write(project, **TINY | {"gans.judge_epochs": 1})
    p = params.load()
    samples = toy.labelled(p).learnable()
    first = judged(p, samples, 0)
    [path] = paths.reusable("judges").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-99] + bytes([whole[-99] ^ 1]) + whole[-98:])
    assert judged(p, samples, 0).digest == first.digest
    assert path.read_bytes() == whole
    assert f"{path}: damaged, so its training starts again" in capsys.readouterr().err


def test_chances_are_those_under_equally_frequent_classes() -> None:
    class Even(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = torch.tensor([[0.9, 0.1]]).log().repeat(len(images), 1)
            return logits, images.flatten(1)

    even = judge.Judge(Even(), 16, np.array([0.9, 0.1]), "")
    np.testing.assert_allclose(even.assess(np.zeros((3, 16, 16, 1), np.uint8))[1], 0.5, rtol=1e-6)
    # A class that no training face has is never recognised.
    one = judge.Judge(Even(), 16, np.array([1.0, 0.0]), "")
    np.testing.assert_array_equal(one.assess(np.zeros((1, 16, 16, 1), np.uint8))[1], [[1, 0]])


# ------------------------------------------------------------------------------------------------ bad endings


def killed() -> None:
    """Run the stage until the process is killed after the first epoch of a GAN."""
    save = trainer.GanTrainer.save

    def last(training: trainer.GanTrainer) -> None:
        save(training)
        if training.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.GanTrainer.save = last
    synthesize.run(params.load())


def test_a_killed_stage_goes_on_and_ends_with_the_same_bytes(project: Path) -> None:
    toy.write(project, **TINY | {"gans.processes": 1, "gans.classes": toy.CLASSES})
    assert forked.run(forked.fer, "synthesize").returncode == 0
    files = [
        paths.SYNTHETIC,
        paths.METRICS / "synthesize.json",
        *sorted((paths.PLOTS / "synthesize").iterdir()),
    ]
    whole = {str(path): path.read_bytes() for path in files}
    assert not list(paths.reusable("checkpoints").iterdir()), "a finished run leaves no checkpoint"
    shutil.rmtree(paths.reusable("generators"))
    toy.set_params(project, **{"train.checkpoint_seconds": 0})
    done = forked.run(killed)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {str(path): path.read_bytes() for path in files} == whole
    stage = [sys.executable, "-m", "pipeline", "synthesize"]
    subprocess.run(stage, check=True, capture_output=True)
    assert {str(path): path.read_bytes() for path in files} == whole


def test_a_disk_that_fills_up_costs_one_line_and_no_earlier_result(project: Path) -> None:
    toy.write(project, **TINY)
    synthesize.run(params.load())
    files = [paths.SYNTHETIC, paths.METRICS / "synthesize.json", *sorted((paths.MODELS / "gan").iterdir())]
    before = {str(path): path.read_bytes() for path in files}
    toy.set_params(project, **{"gans.images_per_class": 14})

    def short_of_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    stage = [sys.executable, "-B", "-m", "pipeline", "synthesize"]  # no compiled module is cut off
    done = subprocess.run(stage, capture_output=True, text=True, preexec_fn=short_of_space)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("fer: ")]
    assert len(said) == 1
    assert "cannot be written" in said[0]
    assert "Traceback" not in done.stderr
    assert {str(path): path.read_bytes() for path in files} == before
    left = [path for folder in ("data", "models", "plots") for path in Path(folder).rglob("*.part")]
    assert not left
