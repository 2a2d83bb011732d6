"""Faces per second of a training run: this engine over timm's own training script with the flags that make it fastest.

timm's script is no part of its package: get `train.py` from its repository, at the tag of the installed version. With
`model: resnet18`, both train timm's ResNet-18 with the stem for small faces (3 x 3, stride 2, no pooling). With `fast`,
both train this network; for timm its convolutions are torch's own. The faces are the same. timm reads them as PNG files
through its loader without augmentation, which is the least that it can do; this engine crops and mirrors.

    python benchmarks/timm_script.py path/to/train.py [steps]     (in a folder with the outputs of `label`)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch

from pipeline import params
from pipeline.inference import device
from pipeline.inference.samples import LabelledFaces
from pipeline.stages.train import starting_network, training_parts
from pipeline.tables.paths import SYNTHETIC
from pipeline.training.engine import TrainingRun

LAUNCH = """
import runpy, sys, torch
from pipeline.methods.models.parts import torchvision   # torchvision imports beside a CPU build of torch
import timm
from torch import nn

@timm.models.register_model
def small_resnet18(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **settings):
    net = timm.create_model("resnet18", **settings)
    net.conv1 = nn.Conv2d(net.conv1.in_channels, 64, 3, 2, 1, bias=False)
    net.maxpool = nn.Identity()
    return net

@timm.models.register_model
def small_fast(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **settings):
    from pipeline.methods.models.fast import fast
    from pipeline.params.models import FastSettings

    own = FastSettings(width=64, members=1, dropout=0, extra=None, frozen=0, weights=None, scaling="unit")
    net = fast(own, settings["num_classes"], settings["in_chans"]).to(memory_format=torch.contiguous_format)
    for module in net.body.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = nn.Conv2d
    return nn.Sequential(net.body, net.head)

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
COMMON = (
    "--device cpu --opt sgd --lr 0.05 --weight-decay 5e-4 --smoothing 0 --no-aug "
    "--epochs 2 --warmup-epochs 0 --val-interval 100 --log-interval 1"
)
ROUNDS = 3
HALF = ["--amp", "--amp-dtype", "bfloat16"]
FLAGS = {
    "default": ["--workers", "2"],
    "channels-last": ["--workers", "2", "--channels-last"],
    "bfloat16": ["--workers", "2", *HALF],
    "bfloat16, channels-last": ["--workers", "2", "--channels-last", *HALF],
    "bfloat16, channels-last, one worker": ["--workers", "1", "--channels-last", *HALF],
    "bfloat16, channels-last, no worker": ["--workers", "0", "--channels-last", *HALF],
    "bfloat16, channels-last, compiled": ["--workers", "1", "--channels-last", *HALF, "--torchcompile"],
    "bfloat16 weights, channels-last": ["--workers", "1", "--channels-last", "--model-dtype", "bfloat16"],
}


def main(script: str, steps: str = "40") -> None:
    count = int(steps)
    p = params.load()
    where = device.pick("cpu")
    precision = device.pick_precision("auto", where)
    faces = LabelledFaces(p.classes, p.train_datasets, p.align)
    train = faces.with_synthetic(faces.split("train"), SYNTHETIC, p.train.synthetic == "alone")
    batch, crop = p.train.batch_size, p.train.crop
    network, _ = starting_network(p, where)
    parts, unused = training_parts(p, network, train), Path(tempfile.mkdtemp(), "unused")
    ours = TrainingRun(parts, p.train, p.seed, train, None, precision, unused)
    plan = ours.plan(0)

    def engine() -> float:
        for i in range(3):
            ours._step(plan[i], len(plan[i].samples))
        start = time.perf_counter()
        for i in range(3, 3 + count):
            ours._step(plan[i], len(plan[i].samples))
        return sum(len(b.samples) for b in plan[3 : 3 + count]) / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        for row in range(min(len(train), count * batch)):
            for split in ("train", "validation"):
                path = Path(folder, split, p.classes[int(train.labels[row])], f"{row}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                if split == "train" or row < batch:
                    cv2.imwrite(str(path), train.gather(torch.tensor([row]).numpy())[0])

        channels = train.tables[0].shape[2]
        sizes = f"--input-size {channels} {crop} {crop} --num-classes {len(p.classes)} --batch-size {batch}"
        mode = "--input-img-mode L --mean 0.5 --std 0.25" if channels == 1 else ""

        def timm(flags: list[str]) -> float:
            given = [
                f"--model=small_{p.model}",
                *COMMON.split(),
                *sizes.split(),
                *mode.split(),
                *flags,
            ]
            command = [sys.executable, "-c", LAUNCH, script, "--data-dir", folder, *given]
            done = subprocess.run(
                [*command, "--output", f"{folder}/out"], capture_output=True, text=True, check=False
            )
            # The second epoch's mean: the first one starts workers and compiles.
            found = re.findall(r"Train: 1 \[.*\(\s*[\d.]+s,\s*([\d.]+)/s\)", done.stdout + done.stderr)
            if not found:
                sys.exit(f"timm's script with {' '.join(flags)}: {done.stderr[-2000:]}")
            return float(found[-1])

        rates = {name: timm(flags) for name, flags in FLAGS.items()}
        for name, rate in rates.items():
            print(f"{name:>40}: {rate:7.1f} faces/s", flush=True)
        best = max(rates, key=lambda name: rates[name])
        ratios = []
        for _ in range(ROUNDS):
            mine, theirs = engine(), timm(FLAGS[best])
            ratios.append(mine / theirs)
            print(
                f"engine {mine:7.1f}, timm's script ({best}) {theirs:7.1f} faces/s: {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"{p.model}, batch {batch}, {precision}; ratio: {sorted(ratios)[ROUNDS // 2]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
