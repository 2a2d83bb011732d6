"""One module per loss. A loss is computed in float32 from logits, features and soft targets.

A module offers `build(settings, counts, features) -> Loss`. `counts` [K] is the number of training samples of each
class, `features` the number D of features of the network. The settings are a class in `pipeline/params/losses.py`.

Targets are always soft. With index targets and class weights, torch divides by the sum of the weights instead of the
number of samples; in one measured case the loss differed by a factor of 5.3.
"""

from __future__ import annotations

from torch import Tensor, nn


class Loss(nn.Module):
    """A loss. Its state between steps is in buffers, which a checkpoint stores.

    On a GPU `forward` is recorded and replayed (`pipeline.training.replay`), so a Python number would never change.
    """

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: [N, K].
            features: [N, D], input of the network's last layer.
            targets: [N, K], rows of sum 1.
        """
        raise NotImplementedError

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Update the state of the loss, once per step after the gradients. Most losses have no state.

        Args:
            features: [N, D], features of the last view of the batch, which MixAugment uses for the real faces.
            targets: [N, K], targets of that view.
        """
