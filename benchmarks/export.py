"""Time of the exported files over PyTorch's, for 64 faces in a batch.

The network that params.yaml chooses, with random weights, in evaluation; PyTorch in float32, channels-last, as `fer
evaluate` runs it on a processor without bfloat16. The three take turns, and each round gives two ratios. Times are
processor time of one thread, so that other work on the machine counts as little as can be.

    python benchmarks/export.py [network] [rounds]
"""

from __future__ import annotations

from pipeline import params  # isort: skip  # before onnxruntime, which then sends nothing

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch

from pipeline.export import onnx
from pipeline.export.int8 import quantized
from pipeline.export.parity import RandomFaces
from pipeline.inference.crops import centre_crop
from pipeline.inference.probabilities import probabilities
from pipeline.stages.train import starting_network, trained_model


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def runs(model: bytes, faces: np.ndarray) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    return lambda: session.run(None, {onnx.INPUT: faces})


def main(network: str = "resnet18", rounds: str = "15") -> None:
    torch.set_num_threads(1)
    p = params.load().model_copy(update={"model": network})
    fresh, _ = starting_network(p, torch.device("cpu"))
    classifier = trained_model(p, fresh.eval())
    faces = RandomFaces(classifier).faces
    model = onnx.build(classifier, {"versions": {"fer-pipeline": ""}})
    ours = {
        "PyTorch": lambda: probabilities(classifier.network, [faces], p.train.crop, centre_crop),
        "ONNX float32": runs(model, faces.numpy()),
        "ONNX int8": runs(quantized(model, faces.split(32)), faces.numpy()),
    }
    times: dict[str, list[float]] = {name: [] for name in ours}
    for turn in range(int(rounds) + 1):
        for name, work in ours.items():
            taken = seconds(work)
            if turn:  # the first one warms up
                times[name].append(taken)
    for name, taken in times.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, times["PyTorch"], strict=True)]
        print(
            f"{network}, {name}: {len(faces) / statistics.median(taken):.0f} faces/s, time over PyTorch's "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
