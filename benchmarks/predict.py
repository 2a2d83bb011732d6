"""Images predicted per second: this pipeline over a loop of insightface and PyTorch, one image at a time.

The loop is what one writes in an afternoon: insightface's SCRFD at its default 640 x 640 with a border of half the
image's side, without which it sees 1 of 150 faces of facial_expressions, its `norm_crop`, and the network in float32
on each face. Ours finds all faces too, in one process per core, and classifies in batches. Same weights of the
detector, same network, same images, in turn, in one process tree; loading is left out of both. With
`main`, ours takes from each image the one face that training would take.

    python benchmarks/predict.py 300 data/raw/facial_expressions/images 3 [main]

Without a folder of that name, drawn scenes are predicted.
"""

from __future__ import annotations

from pipeline import params  # isort: skip  # before insightface, which then sends nothing

import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from insightface.model_zoo import SCRFD
from insightface.utils.face_align import norm_crop

from pipeline.core.parallel import cores
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.faces.weights import fetch
from pipeline.inference import model_file
from pipeline.prediction import Predictor
from pipeline.sample.drawing import scene
from pipeline.stages.train import starting_network, trained_model
from pipeline.tables.paths import DETECTORS

warnings.filterwarnings("ignore", category=FutureWarning)  # insightface's
PARAMS = Path(__file__).parents[1] / "params.yaml"


def images(folder: Path, count: int, scratch: Path) -> list[Path]:
    """Return images spread over a folder, or drawn ones."""
    if folder.is_dir():
        found = sorted(folder.iterdir())
        return [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
    for i in range(count):
        (scratch / f"{i:04}.jpg").write_bytes(scene.render(scene.Scene((1, i), (2, i), {})))
    return sorted(scratch.iterdir())


class Theirs:
    """The loop."""

    def __init__(self, weights: Path, classifier: model_file.TrainedModel) -> None:
        self.detector = SCRFD(str(weights))
        self.detector.prepare(-1, input_size=(640, 640), det_thresh=0.5)
        self.classifier = classifier

    @torch.no_grad()
    def predict(self, paths: list[Path]) -> int:
        """Return how many faces were classified."""
        faces, size, crop = 0, self.classifier.size, self.classifier.crop
        start = (size - crop) // 2
        for path in paths:
            image = cv2.imread(str(path))
            border = max(image.shape[:2]) // 2
            framed = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT)
            _, landmarks = self.detector.detect(framed)
            for points in landmarks:
                face = cv2.resize(norm_crop(framed, points), (size, size), interpolation=cv2.INTER_AREA)
                grey = torch.from_numpy(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY))[None, None].float() / 255
                grey = grey[..., start : start + crop, start : start + crop]
                self.classifier.network(grey)[0].softmax(1).numpy()
                faces += 1
        return faces


def main(count: str, folder: str, rounds: str, faces: Literal["all", "main"] = "all") -> None:
    p = params.load(PARAMS)
    weights = fetch(PACKAGED, DETECTORS)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "model.safetensors")
        network, _ = starting_network(p, torch.device("cpu"))
        model_file.save(model, trained_model(p, network))
        (drawn := Path(scratch, "drawn")).mkdir()
        paths = images(Path(folder), int(count), drawn)
        ours = Predictor.load(model, faces=faces)
        theirs = Theirs(weights, ours.classifier)
        torch.set_num_threads(cores())
        ratios, rates = [], []
        for _ in range(int(rounds)):
            start = time.perf_counter()
            their_faces = theirs.predict(paths)
            middle = time.perf_counter()
            table = ours.predict(paths)
            end = time.perf_counter()
            rates.append((len(paths) / (end - middle), len(paths) / (middle - start)))
            ratios.append(rates[-1][0] / rates[-1][1])
    our_rate, their_rate = np.median(rates, axis=0)
    found = int((table["status"] == "found").sum())
    print(f"{p.model}, {len(paths)} images, {rounds} rounds")
    print(f"{'insightface + torch':>20}: {their_rate:6.1f} images/s, {their_faces} faces")
    print(f"{'fer predict, ' + faces:>20}: {our_rate:6.1f} images/s, {found} faces")
    print(f"{'ratio':>20}: {np.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
