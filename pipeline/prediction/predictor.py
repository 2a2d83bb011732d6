"""Predict expressions in images. The model file contains all settings of the preprocessing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.core.parallel import chunks, cores, ordered
from pipeline.download.models import located
from pipeline.faces.detectors import detector_module, load_detector
from pipeline.faces.weights import missing_pack
from pipeline.inference.crops import VIEWS
from pipeline.inference.device import pick, pick_precision
from pipeline.inference.model_file import TrainedModel, load
from pipeline.inference.probabilities import probabilities
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.face_finder import AlignedFace, FaceFinder
from pipeline.prediction.output import table
from pipeline.prediction.sources import InputImage, Source, images, listed

if TYPE_CHECKING:
    import pandas as pd

Crops = Literal["centre", "mirror", "ten"]
# Images that a worker receives at a time, and the bytes of memory that they may take, unless a single one takes more.
CHUNK, CHUNK_BYTES = 32, 128 * 2**20


class Predictor:
    """A model with its detector, alignment and crops. Use `load` to create one.

    Attributes:
        classifier: the network and its preprocessing.
        device: device of the network.
        classes: K names, in the order of the probabilities.
    """

    def __init__(
        self,
        classifier: TrainedModel,
        device: torch.device,
        crops: Crops = "centre",
        every: bool = True,
        workers: int | None = None,
        memory: float | None = None,
        turn: bool = False,
    ) -> None:
        self.classifier, self.device, self.classes = classifier, device, classifier.classes
        self._workers, self._memory = workers or cores(), memory
        self._views, self._batch = VIEWS[crops]
        # The precision of validation and evaluation, so that a face gets the same probabilities.
        self._precision = pick_precision(classifier.precision, device)
        align = classifier.align.model_copy(update={"turn": True}) if turn else classifier.align
        self._finder = FaceFinder(align, _weights(classifier), every)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        crops: Crops = "centre",
        faces: Literal["all", "main"] = "all",
        workers: int | None = None,
        memory: float | None = None,
        turn: bool = False,
    ) -> Predictor:
        """Load a model file. The detector's weights are downloaded if they are missing.

        Args:
            path: a file that `train` wrote, the name of a model that comes with the project, or an address: see
                `pipeline.download.models.located`.
            device: `auto` (a GPU if there is one), `cpu` or `cuda`.
            crops: `centre`; `mirror` (the centre and its mirror image); `ten` (centre and corners, each with its
                mirror image). They are equal to the default of `evaluate`, `evaluate.mirror` and `evaluate.ten_crop`.
            faces: `all` faces of an image, or the `main` face that `align` would choose.
            workers: processes that find faces; None: one per core.
            memory: GB that images may take in all processes together; None: a quarter of the available memory, and
                at most 0.75 GB for each process. An image that takes more is worked on alone.
            turn: also look for faces on their side or head, as with `align.turn`; False: as in training.

        Raises:
            UserError: the file does not exist or is not a model, or it or the weights cannot be downloaded.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError.of("device", "cuda", "auto or cpu, as torch sees no GPU here")
        picked = pick(device)
        return cls(load(located(path), picked), picked, crops, faces == "all", workers, memory, turn)

    def predict(
        self, sources: str | Path | Iterable[str | Path | np.ndarray], every: int = 1
    ) -> pd.DataFrame:
        """Return a row for each face, and for each image without a face, in the order of the sources.

        Args:
            sources: paths of images, videos and folders. You can also pass NumPy arrays (uint8, H x W x 3, BGR).
                Their `source` is their index among the sources.
            every: use every `every`-th frame of a video.

        Returns:
            A data frame with the columns of `pipeline.prediction.output.schema`.

        Raises:
            UserError: an array has another shape or type.
        """
        several = [sources] if isinstance(sources, str | Path) else sources
        return table(self.stream(_input_images(several, every)), self.classes)

    def stream(self, images: Iterable[InputImage], live: bool = False) -> Iterator[Prediction]:
        """Yield a prediction for each image, in their order.

        Processes find faces, several images at a time. This process classifies them in batches.

        Args:
            images: images, which are read ahead to keep the processes busy.
            live: finish each image before reading the next one.

        Raises:
            UserError: the network's probabilities are not finite.
        """
        pending: deque[list[InputImage]] = deque()

        def read_ahead() -> Iterator[list[InputImage]]:
            for chunk in chunks(images, 1 if live else CHUNK, attrgetter("cost"), CHUNK_BYTES):
                pending.append(chunk)
                yield chunk

        found: Iterator[list[list[AlignedFace] | str]]
        if live or self._workers == 1:  # a second process would only take the time to start it
            found = map(self._finder, read_ahead())
        else:
            found = ordered(self._finder, read_ahead(), "local", self._workers, self._memory, _cost)
        for faces in found:
            yield from self._classified(pending.popleft(), faces)

    def _classified(
        self, images: list[InputImage], found: list[list[AlignedFace] | str]
    ) -> Iterator[Prediction]:
        pixels = [face.pixels for faces in found if not isinstance(faces, str) for face in faces]
        rows = iter(self.probabilities(pixels))
        for image, faces in zip(images, found, strict=True):
            if isinstance(faces, str):
                yield Prediction(image, [], faces)
            else:
                yield Prediction(image, [Expression(face, next(rows), self.classes) for face in faces])

    def probabilities(self, faces: list[np.ndarray]) -> np.ndarray:
        """Return the probabilities of aligned faces, float32 [N, K].

        Args:
            faces: N arrays of uint8, size x size x channels.

        Raises:
            UserError: they are not finite.
        """
        if not faces:
            return np.empty((0, len(self.classes)), np.float32)
        # A batch of one face uses other kernels. They round differently: by 1e-5 in bfloat16.
        count = len(faces)
        faces = faces + faces[-1:] if count % self._batch == 1 else faces
        batches = torch.from_numpy(np.stack(faces)).to(self.device).split(self._batch)
        network, crop = self.classifier.network, self.classifier.crop
        found = probabilities(network, batches, crop, self._views, self._precision)[:count]
        if not np.isfinite(found).all():
            raise UserError("the model: found probabilities that are not numbers: its training diverged")
        return found


def _weights(classifier: TrainedModel) -> Path | None:
    """Return the detector's weights file after loading it once; None if nothing is detected.

    Raises:
        UserError: they do not fit, cannot be downloaded, or are a model pack: a model file does not start its download.
    """
    settings = classifier.align
    if settings.mode == "none":
        return None
    if pack := missing_pack(settings.weights, detector_module(settings.detector).PACKAGED):
        there = f"one that is there; `insightface-cli model.download {pack.name}` downloads it"
        raise UserError.of("the model's align.weights", f"a model pack that is not in {pack.parent}", there)
    return load_detector(settings.detector, settings.weights, settings.threshold)[1].path


def _cost(images: list[InputImage]) -> int:
    return sum(image.cost for image in images)


def _input_images(sources: Iterable[str | Path | np.ndarray], every: int) -> Iterator[InputImage]:
    for number, source in enumerate(sources):
        if isinstance(source, str | Path):
            yield from images(listed([source]), every)
            continue
        pixels = np.asarray(source)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            found = f"{pixels.dtype} {pixels.shape}"
            raise UserError.of(f"image {number}", found, "a path, or an array of uint8, H x W x 3")
        yield InputImage(Source(str(number), "image", Path(str(number))), pixels=pixels)
