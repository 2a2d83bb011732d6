"""A new augmentation is a module, a settings class and a block of parameters: shown on a copy of the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.tables import paths
from tests import toy

ROOT = Path(__file__).parents[1]

NOISE = '''
"""Noise: normal noise is added to every face."""

from __future__ import annotations

import numpy as np

from pipeline.methods.augments import View


def draw(settings, rng, count, size):
    """Draw the noise's strength."""
    return {"strength": np.abs(rng.normal(0, settings.deviation, count))}


def apply(images, targets, partner_images, partner_targets, draws):
    """Add noise."""
    noise = images.new_empty(images.shape).normal_() * draws["strength"].float().reshape(-1, 1, 1, 1)
    return [View((images + noise).clamp(0, 1), targets)]
'''


SETTINGS = '''
class NoiseSettings(Block):
    """Settings of noise."""

    deviation: NonNegative


class Augments(Block):
'''


def add_noise(folder: Path) -> None:
    """Copy the package into a folder, and add the module and the settings class of `noise`."""
    package = folder / "pipeline"
    shutil.copytree(ROOT / "pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "augments" / "noise.py").write_text(NOISE.lstrip())
    siblings = package / "params" / "augments.py"
    text = siblings.read_text().replace("import UNCHOSEN,", "import UNCHOSEN, NonNegative,")
    text = text.replace("\nclass Augments(Block):\n", SETTINGS) + "    noise: NoiseSettings = UNCHOSEN\n"
    siblings.write_text(text)


@pytest.fixture
def extended(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose package, a copy, has the augmentation `noise`: one more file, settings class and block."""
    add_noise(project / "copy")
    toy.write(project, model="light")
    toy.set_params(project, **{"augments.noise": {"deviation": 0.1}, "augment": "noise"})
    monkeypatch.setenv("PYTHONPATH", str(project / "copy"))
    return project


def fer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, env=os.environ
    )


def test_an_augmentation_is_a_module_its_settings_and_a_block(extended: Path) -> None:
    done = fer("check")
    assert done.returncode == 0, done.stderr
    assert "augment: noise" in done.stdout
    done = fer("train")
    assert done.returncode == 0, done.stderr
    assert json.loads((extended / "metrics" / "train.json").read_text())["epochs"] == 2
    assert (extended / paths.CLASSIFIER).is_file()


def test_its_settings_are_checked_and_its_name_is_offered(extended: Path) -> None:
    toy.set_params(extended, **{"augments.noise.deviation": -1.0})
    assert "augments.noise.deviation: found -1.0" in fer("check").stderr
    toy.set_params(extended, **{"augments.noise.deviation": 0.1, "augment": "nois"})
    assert "did you mean noise?" in fer("check").stderr
