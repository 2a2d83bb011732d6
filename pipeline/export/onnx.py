"""The classifier as an ONNX graph for stored faces, with all that its user must know in its metadata.

The graph maps `face`, uint8 [N, size, size, C], to `probabilities`, float32 [N, K]. It contains scaling and crop. Equal
weights give equal bytes: paths and source lines, which the exporter writes into the file, are removed.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError, one_line
from pipeline.inference.crops import centre_crop
from pipeline.inference.model_file import TrainedModel
from pipeline.inference.samples import scaled

# The first opset with Mish, which the booster networks use.
OPSET = 18
INPUT, OUTPUT = "face", "probabilities"
KEY = "fer"  # of the metadata, the same as in the model file


class ExportedNetwork(nn.Module):
    """A module that maps stored faces to probabilities.

    Args:
        classifier: the network and its preprocessing.
    """

    def __init__(self, classifier: TrainedModel) -> None:
        super().__init__()
        self.network, self.crop = classifier.network, classifier.crop

    def forward(self, face: Tensor) -> Tensor:
        """Map faces, uint8 [N, H, W, C], to probabilities, float32 [N, K]."""
        return self.network(centre_crop(scaled(face), self.crop)[0])[0].softmax(1)


def build(classifier: TrainedModel, metadata: dict[str, Any]) -> bytes:
    """Return the classifier as an ONNX file.

    Args:
        classifier: the classifier on the CPU.
        metadata: metadata of the file, which are stored as JSON under `fer`.

    Raises:
        UserError: the network cannot be exported, or the file would exceed ONNX's limit of 2 GB.
    """
    example = torch.zeros(2, classifier.size, classifier.size, classifier.channels, dtype=torch.uint8)
    try:
        with quiet():
            program = torch.onnx.export(
                ExportedNetwork(classifier).eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        assert program is not None
        model = program.model_proto
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # PyTorch's exporter, onnxscript and protobuf raise many kinds
        raise UserError(f"{classifier.model}: cannot be exported to ONNX: {one_line(error)}") from None
    return with_metadata(model, metadata)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide log messages and warnings of the exporter and the quantiser, which concern only their own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def with_metadata(model: onnx.ModelProto, metadata: dict[str, Any]) -> bytes:
    """Return a model as bytes, with the given metadata and without traces of this machine."""
    _strip(model)
    model.producer_name, model.producer_version = "fer-pipeline", metadata["versions"]["fer-pipeline"]
    model.graph.name = "fer"
    onnx.helper.set_model_props(model, {KEY: json.dumps(metadata, sort_keys=True)})
    return model.SerializeToString(deterministic=True)


def _strip(message: Any) -> None:
    """Clear `doc_string` and `metadata_props` of a message and of all messages in it."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _strip(part)


def read_metadata(model: bytes) -> dict[str, Any]:
    """Return the metadata of a file."""
    props = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    return json.loads(props[KEY])


def probabilities(model: bytes, batches: Iterable[Tensor]) -> np.ndarray:
    """Return onnxruntime's probabilities of N faces on the CPU, float32 [N, K].

    Args:
        model: an ONNX file from `build` or `int8.quantized`.
        batches: the faces, uint8 [n, H, W, C]; each batch is one run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT], {INPUT: batch.numpy()})[0] for batch in batches])
