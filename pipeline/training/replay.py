"""Work on a GPU, launched as a whole: kernels of small networks are shorter than the launching of each one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# No two pieces of work are recorded at once, by whichever training of this process.
_RECORDING = threading.Lock()


@dataclass(frozen=True)
class Recorded:
    """A CUDA graph, the tensors that it reads, and what it leaves, in tensors that each replay writes anew."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    result: Any


class Replays:
    """What a training does in every step, kept as CUDA graphs.

    The first time work is done as it stands, which also makes what stays from step to step (an optimiser's state, a
    library's handles); the second time it is recorded; from then on it is replayed. All three compute the same. Work
    that cannot be recorded, as of a network that waits for a result, goes on being done as it stands.

    Args:
        device: a GPU. On any other, work is done as it stands.
        random: a generator that the work draws from, besides torch's own; a replay draws what the work would.
    """

    def __init__(self, device: torch.device, random: torch.Generator | None = None) -> None:
        self.on, self.random = device.type == "cuda", random
        # Its own: work recorded on one stream shares memory of cuBLAS, and replays of several trainings run at once.
        self.stream = torch.cuda.Stream(device) if self.on else None
        self.known: dict[Hashable, Recorded | None] = {}

    def run(self, work: Callable[..., Result], inputs: Sequence[Tensor], kind: Hashable = None) -> Result:
        """Return `work(*inputs)`, in tensors that hold until the next call.

        Args:
            work: of what is not among its inputs it reads tensors that stay in place, and nothing that changes.
            inputs: of any shapes; work is recorded for each set of them.
            kind: tells apart what does different work on the same shapes.
        """
        key = kind, *((tensor.shape, tensor.dtype) for tensor in inputs)
        if self.on and key in self.known and self.known[key] is None:
            self.known[key] = self._recorded(work, inputs)
        recorded = self.known.setdefault(key, None)
        if recorded is None:
            return work(*inputs)
        for place, tensor in zip(recorded.inputs, inputs, strict=True):
            place.copy_(tensor)
        recorded.graph.replay()
        result: Result = recorded.result
        return result

    def _recorded(self, work: Callable[..., Any], inputs: Sequence[Tensor]) -> Recorded | None:
        graph, places = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in inputs]
        if self.random is not None:
            graph.register_generator_state(self.random)
        try:
            with _RECORDING, torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                result = work(*places)
        except RuntimeError:
            self.on = False
            return None
        return Recorded(graph, places, result)
