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
    from pipeline.faces.detection import FaceDetector, Search


class DetectorModule(Protocol):
    """Module of a detector.

    Attributes:
        PACKAGED: weights that the package index has.
        SEARCH: how the detector looks for a face, from coarse to fine.
        Detector: loads a file of weights; reports faces whose score (0 to 1) reaches the threshold.
    """

    PACKAGED: Packaged
    SEARCH: Search
    Detector: Callable[[Path, float], FaceDetector]


def detector_module(name: str) -> DetectorModule:
    """Return the module of a detector, whose libraries are imported only now.

    Raises:
        UserError: the detector needs an optional package that is not installed.
    """
    return cast(DetectorModule, import_module(f"{__name__}.{name}"))


def load_detector(name: str, weights: str, threshold: float) -> tuple[FaceDetector, Weights]:
    """Return a detector and the weights that `align.weights` chooses for it, fetched if need be.

    Raises:
        UserError: the weights cannot be had, or are not the detector's.
    """
    module = detector_module(name)
    resolved = resolve(weights, module.PACKAGED)
    return module.Detector(resolved.path, threshold), resolved
