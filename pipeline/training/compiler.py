"""Networks compiled by torch, for training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import UserError, one_line


def compiled(network: nn.Module) -> Any:
    """Return a function that computes what `network` does, with its weights.

    Each shape of a batch is compiled when it first comes. Nothing is chosen by timing, so the same run gives the same
    bytes.
    """
    from torch._inductor import config  # here, because the import takes seconds

    config.deterministic = True
    return torch.compile(network, dynamic=False)


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Turn the compiler's errors into a line about `train.compile`.

    Raises:
        UserError: torch cannot compile on this machine.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        found = f"true, but torch cannot compile here ({one_line(error)})"
        raise UserError.of("params.yaml: train.compile", found, "false, or a C compiler") from None
