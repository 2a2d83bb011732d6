"""From pictures to class probabilities, with the model file alone: what training did to faces stands in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.core.parallel import cores, ordered
from pipeline.faces.detectors import load_detector
from pipeline.inference.classifier import Classifier, load
from pipeline.inference.crops import VIEWS
from pipeline.inference.device import pick, pick_precision
from pipeline.inference.probabilities import probabilities
from pipeline.inference.samples import Samples
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.finding import Cut, Finder
from pipeline.prediction.output import table
from pipeline.prediction.sources import Shot, Source, listed, shots

if TYPE_CHECKING:
    import pandas as pd

Crops = Literal["centre", "mirror", "ten"]
# Pictures that a worker takes at a time, fewer where they come decoded.
CHUNK, CHUNK_BYTES = 32, 32 * 2**20


class Predictor:
    """A model with all that stands before it: detector, alignment, crops. `load` makes one.

    Attributes:
        classifier: the network and how faces must look to it.
        device: where the network runs.
        classes: K names, in the order of the probabilities.
    """

    def __init__(
        self, classifier: Classifier, where: torch.device, crops: Crops = "centre", every: bool = True
    ) -> None:
        self.classifier, self.device, self.classes = classifier, where, classifier.classes
        self._views, self._batch = VIEWS[crops]
        # In which validation and evaluation ran: the same face gets the same probabilities.
        self._precision = pick_precision(classifier.precision, where)
        self._finder = Finder(classifier.align, _weights(classifier), every)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        crops: Crops = "centre",
        faces: Literal["all", "main"] = "all",
    ) -> Predictor:
        """Read a model file; the detector's weights are fetched if they are not there.

        Args:
            path: of a file that `train` wrote.
            device: `auto` (a GPU if there is one), `cpu` or `cuda`.
            crops: `centre`, `mirror` (and its mirror image) or `ten` (corners and centre, mirrored too); `evaluate`
                does the same with its default, `evaluate.mirror` or `evaluate.ten_crop`.
            faces: `all`, or `main`: the one that `align` takes from a picture.

        Raises:
            UserError: the file is absent or not a model, or the weights cannot be had.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError.of("device", "cuda", "auto or cpu, as torch sees no GPU here")
        where = pick(device)
        if not Path(path).is_file():
            raise UserError(
                f"{path}: found no file, expected: a model; `dvc repro` makes models/classifier.safetensors, --model "
                "names another"
            )
        return cls(load(Path(path), where), where, crops, faces == "all")

    def predict(
        self, sources: str | Path | Iterable[str | Path | np.ndarray], every: int = 1
    ) -> pd.DataFrame:
        """Return a row for each face, and one for each picture without, in the order of the sources.

        Args:
            sources: paths of pictures, folders and videos, or pictures in memory: uint8, BGR as OpenCV reads them,
                H x W x 3, whose `source` in the table is their number among the sources.
            every: of videos, one frame in so many.

        Returns:
            The columns of `pipeline.prediction.output.schema`.

        Raises:
            UserError: an array of another shape or type.
        """
        named = [sources] if isinstance(sources, str | Path) else sources
        return table(self.stream(_looked_at(named, every)), self.classes)

    def stream(self, pictures: Iterable[Shot], live: bool = False) -> Iterator[Prediction]:
        """Yield what is found in each picture, in their order, while further ones are being read.

        Faces are found in one process per core, several pictures at a time, and classified here in batches.

        Args:
            pictures: read ahead as far as the processes need.
            live: each picture is done with before the next one is asked for.

        Raises:
            UserError: the network's probabilities are not numbers.
        """
        under_way: deque[list[Shot]] = deque()

        def chunks() -> Iterator[list[Shot]]:
            for chunk in _chunks(pictures, 1 if live else CHUNK):
                under_way.append(chunk)
                yield chunk

        for found in map(self._finder, chunks()) if live else self._spread(chunks()):
            yield from self._classified(under_way.popleft(), found)

    def _spread(self, chunks: Iterator[list[Shot]]) -> Iterator[list[list[Cut] | str]]:
        """Find faces in processes, unless one chunk is all there is."""
        first = list(islice(chunks, 2))
        if len(first) < 2 or cores() == 1:
            return map(self._finder, chain(first, chunks))
        return ordered(self._finder, chain(first, chunks))

    def _classified(self, pictures: list[Shot], found: list[list[Cut] | str]) -> Iterator[Prediction]:
        cuts = [cut for faces in found if not isinstance(faces, str) for cut in faces]
        rows = iter(self.probabilities([cut.pixels for cut in cuts]))
        for shot, faces in zip(pictures, found, strict=True):
            if isinstance(faces, str):
                yield Prediction(shot, [], faces)
            else:
                yield Prediction(shot, [Expression(cut, next(rows)) for cut in faces])

    def probabilities(self, faces: list[np.ndarray]) -> np.ndarray:
        """Return the probabilities of aligned faces, float32 [N, K].

        Args:
            faces: N of uint8, size x size x channels.

        Raises:
            UserError: they are not numbers.
        """
        if not faces:
            return np.empty((0, len(self.classes)), np.float32)
        # A pass with one face alone takes other kernels, which round otherwise: 1e-5 apart in bfloat16.
        count, none = len(faces), np.empty(0, np.int64)
        faces = faces + faces[-1:] if count % self._batch == 1 else faces
        samples = Samples(
            [""] * len(faces),
            (),
            none,
            none,
            torch.zeros(len(faces), len(self.classes), device=self.device),
            torch.zeros(len(faces), dtype=torch.int64),
            torch.from_numpy(np.stack(faces)).to(self.device),
        )
        found = probabilities(
            self.classifier.network,
            samples,
            self.classifier.crop,
            self._views,
            self._precision,
            self._batch,
        )[:count]
        if not np.isfinite(found).all():
            raise UserError("the model: found probabilities that are not numbers: its training diverged")
        return found


def _weights(classifier: Classifier) -> Path | None:
    """Return the detector's file of weights, which is tried; None if nothing is detected."""
    settings = classifier.align
    if settings.mode == "none":
        return None
    return load_detector(settings.detector, settings.weights, settings.threshold)[1].path


def _chunks(pictures: Iterable[Shot], most: int) -> Iterator[list[Shot]]:
    chunk: list[Shot] = []
    size = 0
    for shot in pictures:
        chunk.append(shot)
        size += 0 if shot.pixels is None else shot.pixels.nbytes
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _looked_at(sources: Iterable[str | Path | np.ndarray], every: int) -> Iterator[Shot]:
    for number, source in enumerate(sources):
        if isinstance(source, str | Path):
            yield from shots(listed([source]), every)
            continue
        pixels = np.asarray(source)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            found = f"{pixels.dtype} {pixels.shape}"
            raise UserError.of(f"picture {number}", found, "a path, or an array of uint8, H x W x 3")
        yield Shot(Source(str(number), "picture", Path(str(number))), pixels=pixels)
