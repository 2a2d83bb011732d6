"""Face detectors, one module each: `align.detector` is the module's name.

`DetectorModule` says what a module offers.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pipeline.faces.weights import Packaged, Weights, resolve

if TYPE_CHECKING:  # the doctor reads `PACKAGED` without OpenCV
    from pipeline.faces.detection import FaceDetector


class DetectorModule(Protocol):
    """Module of a detector.

    Attributes:
        PACKAGED: weights from the package index.
        Detector: a `FaceDetector` made from a file of weights and the least score of a face, 0 to 1.
    """

    PACKAGED: Packaged
    Detector: Callable[[Path, float], FaceDetector]


def detector_module(name: str) -> DetectorModule:
    """Import the module of a detector with its libraries.

    Raises:
        UserError: the detector needs an optional package that is not installed.
    """
    return cast(DetectorModule, import_module(f"{__name__}.{name}"))


def load_detector(name: str, weights: str, threshold: float) -> tuple[FaceDetector, Weights]:
    """Return a detector and the weights that `align.weights` chooses for it. Download missing weights.

    Raises:
        UserError: the weights cannot be fetched or do not fit the detector.
    """
    module = detector_module(name)
    resolved = resolve(weights, module.PACKAGED)
    return module.Detector(resolved.path, threshold), resolved
