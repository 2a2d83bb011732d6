"""A linear support vector machine in the place of gradient steps: the last layer of a network that stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.inference.classifier import build_network
from pipeline.inference.crops import centre_crop
from pipeline.inference.probabilities import passes
from pipeline.inference.samples import Samples
from pipeline.params.model import Params
from pipeline.tables.paths import LABELS
from pipeline.training import pretrained
from pipeline.training.engine import Epoch, Progress


class SupportVectors:
    """What `engine.Run` is to a network that learns by steps: the features of the faces' centres, seen once.

    Liang et al.'s way (the GAN augmentation paper): scikit-learn's linear machine, one class against the rest, with
    squared hinge loss. The logits are the distances from its planes, so their softmax is no calibrated probability.

    Args:
        params: the whole of params.yaml.
        train: samples to learn from; their labels count, not their targets.
        valid: samples that are scored; None if the data set has no such split.
        device, precision: of the features.
    """

    resumed = False

    def __init__(
        self,
        params: Params,
        train: Samples,
        valid: Samples | None,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.params, self.precision = params, precision
        self.train, self.valid = train.to(device), valid and valid.to(device)
        torch.manual_seed(params.seed)
        self.network = build_network(params)
        self.starts = pretrained.starts(self.network, params)
        self.network.to(device)
        self.progress = Progress()

    def fit(self, on_epoch: Callable[[int, Epoch], None]) -> None:
        """Find the planes; the only epoch's `loss` is the mean squared hinge loss, summed over the classes.

        Raises:
            UserError: the training faces have one class alone.
        """
        labels = self.train.labels.numpy()
        if len(np.unique(labels)) < 2:
            only = self.params.classes[labels[0]]
            raise UserError.of(LABELS, f"{only} alone in split train", "at least two classes")
        features = self._features(self.train, "features of train")
        from sklearn.svm import LinearSVC  # here, as it takes longer to load than torch and few runs use it

        machine = LinearSVC(C=self.params.chosen("model")[1].C, random_state=self.params.seed)
        machine.fit(features, labels)
        self._set_head(machine.classes_, machine.coef_, machine.intercept_)

        signs = np.where(labels[:, None] == np.arange(len(self.params.classes)), 1, -1)
        margins = 1 - signs * self._logits(features)
        figures = {"loss": float((np.maximum(margins, 0) ** 2).sum(1).mean())}
        if self.valid is not None:
            found = self._logits(self._features(self.valid, "features of valid")).argmax(1)
            figures["accuracy"] = float((found == self.valid.labels.numpy()).mean())
        self.progress = Progress(1, 0, [figures], 0 if self.valid is not None else -1)
        on_epoch(0, figures)

    def _features(self, samples: Samples, desc: str) -> np.ndarray:
        crop = self.params.train.crop
        parts = [
            features[0].float().cpu()
            for _, features in passes(self.network, samples, crop, centre_crop, self.precision, 256, desc)
        ]
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def _set_head(self, classes: np.ndarray, planes: np.ndarray, offsets: np.ndarray) -> None:
        weight, bias = torch.from_numpy(planes), torch.from_numpy(offsets)
        if len(classes) == 2:  # one plane, whose positive side is the second class's
            weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
        head = self.network.head
        head.bias.fill_(-torch.inf)  # a class that train lacks has no plane, and a share of zero
        head.weight[classes] = weight.to(head.weight)
        head.bias[classes] = bias.to(head.bias)

    def _logits(self, features: np.ndarray) -> np.ndarray:
        weight, bias = (tensor.detach().cpu().numpy() for tensor in self.network.head.parameters())
        return features @ weight.T + bias
