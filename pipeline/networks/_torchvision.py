"""torchvision's networks, also where its compiled operators cannot be loaded.

The torchvision on the package index is linked against CUDA. Beside a CPU build of torch its operators do not
load, and the import then fails where torchvision registers shapes for two of them. Networks and transforms need
neither: declaring the two by name lets the import pass, and calling them still raises.
"""

from __future__ import annotations

import torch

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")

try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

models = torchvision.models
