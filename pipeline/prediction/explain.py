"""Class-activation maps: the parts of a face that support its label.

Grad-CAM (Selvaraju et al. 2017), by captum. The activations of a late layer are weighted by the mean gradient of the
label's logit and summed; negative values become zero. A map has the layer's resolution: 3 x 3 to 6 x 6 positions for
faces of 48 pixels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.inference.crops import centre_crop
from pipeline.inference.model_file import TrainedModel
from pipeline.methods.models import shapes_of
from pipeline.prediction.annotate import FONT, write_image
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.sources import with_ending

# Side of the coarsest activations that still locate something, in positions.
LEAST_SIDE = 3
# Side of each of a drawing's two faces and height of its caption, in pixels; opacity of the map.
SIDE, LINE, OPACITY = 256, 28, 0.45


class Explainer:
    """Writes a drawing of each face: the face, and beside it the face under the map of its label.

    Args:
        folder: output folder for `<name of the source>-<frame>-<face>.png`. Existing files are replaced.
        classifier: the network and its preprocessing.

    Raises:
        UserError: the network has no suitable layer; see `layer`.
    """

    def __init__(self, folder: Path, classifier: TrainedModel) -> None:
        self._folder, self._classifier = folder, classifier
        self._layer = layer(classifier)

    def add(self, prediction: Prediction) -> None:
        """Write a drawing of each face of an image.

        Raises:
            UserError: the folder cannot be written to.
        """
        name, frame = prediction.image.source.name, prediction.image.frame
        for number, expression in enumerate(prediction.faces):
            of_frame = "" if frame is None else f"-{frame:06}"
            path = self._folder / with_ending(name, f"{of_frame}-{number}.png")
            write_image(path, drawing(self._classifier, self._layer, expression))


def layer(classifier: TrainedModel) -> nn.Module:
    """Return what `located` of the network names, or its last stage whose activations have at least 3 x 3 positions.

    Raises:
        UserError: the network has no such activations.
    """
    network = classifier.network
    candidates = list(network.body) if isinstance(network.body, nn.Sequential) else []
    if network.located is not None:
        candidates = [network.located]
    side = classifier.crop
    faces = torch.zeros(1, classifier.channels, side, side, device=network.head.weight.device)
    shapes = shapes_of(candidates, network, faces)
    fitting = [
        stage
        for stage, shape in zip(candidates, shapes, strict=True)
        if len(shape) == 4 and min(shape[2:]) >= LEAST_SIDE
    ]
    if not fitting:
        allowed = "one whose activations have at least 3 x 3 positions"
        raise UserError.of("--explain", f"the network {classifier.model}", allowed)
    return fitting[-1]


def network_input(classifier: TrainedModel, faces: list[np.ndarray]) -> Tensor:
    """Return the centre crops of aligned faces, float [N, C, crop, crop] in 0..1."""
    images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 255
    images = centre_crop(images, classifier.crop)[0]
    return images.to(next(classifier.network.parameters()).device)


def maps(classifier: TrainedModel, stage: nn.Module, images: Tensor, labels: Tensor) -> np.ndarray:
    """Return a map for each face of how strongly each position supports a label. Computed in float32.

    Args:
        classifier: the network.
        stage: the stage of the network whose activations are read; see `layer`.
        images: see `network_input`.
        labels: int64 [N], class indices.

    Returns:
        float32 [N, crop, crop], 0 or more. The values have no unit: compare positions within one face only.
    """
    gradcam = LayerGradCam(lambda x: classifier.network(x)[0], stage)
    heat = gradcam.attribute(images, labels.to(images.device), relu_attributions=True)
    side = images.shape[-2:]
    return LayerAttribution.interpolate(heat, side, "bilinear")[:, 0].detach().cpu().numpy()


def drawing(classifier: TrainedModel, stage: nn.Module, expression: Expression) -> np.ndarray:
    """Return a face, and beside it the face under the map of its label, from blue (0) to red (the maximum).

    Args:
        classifier: the network.
        stage: the stage of the network whose activations are read; see `layer`.
        expression: the face.

    Returns:
        BGR, uint8, (SIDE + LINE) x 2 SIDE x 3.
    """
    [image] = images = network_input(classifier, [expression.face.pixels])
    [heat] = maps(classifier, stage, images, torch.tensor([expression.index]))
    pixels = (image.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
    convert = cv2.COLOR_GRAY2BGR if pixels.shape[2] == 1 else cv2.COLOR_RGB2BGR
    face = cv2.resize(cv2.cvtColor(pixels, convert), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    heat = cv2.resize(heat / max(float(heat.max()), 1e-12), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)
    over = cv2.addWeighted(face, 1 - OPACITY, colours, OPACITY, 0)
    canvas = np.full((SIDE + LINE, 2 * SIDE, 3), 255, np.uint8)
    canvas[:SIDE, :SIDE], canvas[:SIDE, SIDE:] = face, over
    cv2.putText(canvas, expression.caption, (8, SIDE + LINE - 9), FONT, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas
