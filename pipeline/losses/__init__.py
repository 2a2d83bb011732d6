"""One module per loss, each a function of logits and soft targets in float32.

A module offers `Params`, its settings under `losses.<module>`, and `build(params, counts)`, which returns
`loss(logits, features, targets) -> scalar`. `counts` is the number of training samples of each class; `logits`
is [N, K], `features` [N, D] what the network's last layer sees, `targets` [N, K] with rows of sum 1.

Targets are always soft: with index targets and class weights torch divides by the sum of the weights instead of
the number of samples, which made a factor of 5.3 in one measured case.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
