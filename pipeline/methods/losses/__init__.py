"""One module per loss, each computed in float32 from logits, features and soft targets.

A module's settings are a class in `pipeline/params/losses.py`. It offers `build(settings, counts, features)`, which
returns a `Loss`. `counts` [K] is the number of training samples of each class, `features` the D of the network.

Targets are always soft: with index targets and class weights torch divides by the sum of the weights instead of
the number of samples, which made a factor of 5.3 in one measured case.
"""

from __future__ import annotations

from torch import Tensor, nn


class Loss(nn.Module):
    """A loss, and what it keeps from step to step: its buffers, which a checkpoint holds.

    On a GPU `forward` is recorded and replayed (`pipeline.training.replay`): a number kept in Python would not change.
    """

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: [N, K].
            features: [N, D], what the network's last layer sees.
            targets: [N, K], rows of sum 1.
        """
        raise NotImplementedError

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move what the loss keeps, once in a step and after its gradients; most losses keep nothing.

        Args:
            features: [N, D], of the last view of the batch: MixAugment shows the real faces there.
            targets: [N, K], of that view.
        """
