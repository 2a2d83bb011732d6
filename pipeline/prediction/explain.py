"""Which parts of a face spoke for its label: class-activation maps, by captum.

Grad-CAM (Selvaraju et al. 2017): the maps of a late layer, weighted by how much the label's logit grows with each of
them, summed, and cut off at zero. A map is as fine as the layer, 3 x 3 to 6 x 6 positions for faces of 48 pixels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.inference.classifier import Classifier
from pipeline.inference.crops import centre_crop
from pipeline.prediction.annotate import FONT, write_picture
from pipeline.prediction.expression import Prediction

# Positions along a side of the coarsest maps that still say where something is.
LEAST_SIDE = 3
# Of a drawing, pixels: each of its two faces, the line of text below, and the share of the map's colours.
SIDE, LINE, SHARE = 256, 28, 0.45


class Explainer:
    """Writes a picture for each face: the face, and with the map of its label over it.

    Args:
        folder: gets `<name of the source>-<frame>-<face>.png`; files of the same name are replaced.
        classifier: the network and how faces must look to it.

    Raises:
        UserError: the network has no maps; see `layer`.
    """

    def __init__(self, folder: Path, classifier: Classifier) -> None:
        self._folder, self._classifier = folder, classifier
        self._layer = layer(classifier)

    def add(self, prediction: Prediction) -> None:
        """Explain each face of a picture.

        Raises:
            UserError: the folder cannot be written to.
        """
        name, frame = prediction.shot.source.name, prediction.shot.frame
        for number, expression in enumerate(prediction.faces):
            label = int(expression.probabilities.argmax())
            seen = views(self._classifier, [expression.cut.pixels])
            heat = maps(self._classifier, self._layer, seen, torch.tensor([label]))[0]
            caption = f"{self._classifier.classes[label]} {expression.probabilities[label]:.2f}"
            parts = [name.name, *([] if frame is None else [f"{frame:06}"]), str(number)]
            write_picture(
                self._folder / name.with_name("-".join(parts) + ".png"), _drawing(seen[0], heat, caption)
            )


def layer(classifier: Classifier) -> nn.Module:
    """Return the last of the network's stages whose maps have at least 3 x 3 positions.

    Raises:
        UserError: the network is not a row of stages, or has no such maps.
    """
    stages, found = classifier.network.body, None
    if isinstance(stages, nn.Sequential):
        weight = next(classifier.network.parameters())
        side = classifier.crop
        with torch.no_grad():
            maps = torch.zeros(1, classifier.channels, side, side, device=weight.device)
            for stage in stages:
                maps = stage(maps)
                if maps.ndim != 4 or min(maps.shape[2:]) < LEAST_SIDE:
                    break
                found = stage
    if found is None:
        raise UserError.of(
            "--explain", f"the network {classifier.model}", "one that is a row of convolutional stages"
        )
    return found


def views(classifier: Classifier, faces: list[np.ndarray]) -> Tensor:
    """Return the centres of aligned faces, as the network sees them: float [N, C, crop, crop] in 0..1."""
    images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 255
    images = centre_crop(images, classifier.crop)[0]
    return images.to(next(classifier.network.parameters()).device)


def maps(classifier: Classifier, stage: nn.Module, images: Tensor, labels: Tensor) -> np.ndarray:
    """Return for each face how much its parts speak for a label, in float32 whatever the model's precision.

    Args:
        classifier: the network.
        stage: of it, whose maps are read; see `layer`.
        images: see `views`.
        labels: int64 [N], classes.

    Returns:
        float32 [N, crop, crop], 0 or more; of unknown unit: compare places of one face.
    """
    gradcam = LayerGradCam(lambda x: classifier.network(x)[0], stage)
    found = gradcam.attribute(images, labels.to(images.device), relu_attributions=True)
    side = images.shape[-2:]
    return LayerAttribution.interpolate(found, side, "bilinear")[:, 0].detach().cpu().numpy()


def _drawing(image: Tensor, heat: np.ndarray, caption: str) -> np.ndarray:
    """Return a face beside itself under its map, blue for nothing to red for the most; BGR, uint8."""
    pixels = (image.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
    convert = cv2.COLOR_GRAY2BGR if pixels.shape[2] == 1 else cv2.COLOR_RGB2BGR
    face = cv2.resize(cv2.cvtColor(pixels, convert), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    heat = cv2.resize(heat / max(float(heat.max()), 1e-12), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)
    over = cv2.addWeighted(face, 1 - SHARE, colours, SHARE, 0)
    canvas = np.full((SIDE + LINE, 2 * SIDE, 3), 255, np.uint8)
    canvas[:SIDE, :SIDE], canvas[:SIDE, SIDE:] = face, over
    cv2.putText(canvas, caption, (8, SIDE + LINE - 9), FONT, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas
