"""The ONNX file with convolutions and fully connected layers in 8 bits: a quarter of the size, faster on a CPU.

This is onnxruntime's static quantisation. Activations are unsigned, with one scale per tensor, which covers the range
that training faces produce. Weights have one scale per channel. The last layer and the softmax stay in float32: so
probabilities keep their resolution, and a class without training faces keeps a probability of zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import Tensor

from pipeline.core.scratch import temporary_folder
from pipeline.export.onnx import INPUT, quiet, read_metadata, with_metadata

# Training faces that set the ranges of the activations.
FACES = 256


class _Reader(CalibrationDataReader):
    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def evenly_spaced(count: int) -> np.ndarray:
    """Return the rows of `FACES` evenly spaced faces among `count`, or of all if there are fewer."""
    return np.linspace(0, count, min(FACES, count), endpoint=False).astype(np.int64)


def quantized(model: bytes, batches: Iterable[Tensor]) -> bytes:
    """Return an ONNX file in 8 bits.

    Args:
        model: the float32 file, as `onnx.build` returns it.
        batches: training faces, uint8 [n, H, W, C], that set the ranges.
    """
    with temporary_folder() as folder, quiet():
        loaded = onnx.load_from_string(model)
        last = [node.name for node in loaded.graph.node if node.op_type == "Gemm"][-1]
        path = folder / "int8.onnx"
        quantize_static(
            loaded,
            path,
            _Reader(batches),
            op_types_to_quantize=["Conv", "Gemm"],
            nodes_to_exclude=[last],
            per_channel=True,
            # CPUs have fast instructions for unsigned times signed. Some of them add in 16 bits: weights of
            # 7 bits then prevent an overflow.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        result = onnx.load(path)
    return with_metadata(result, read_metadata(model) | {"precision": "int8"})
