"""The classifier as an ONNX graph that takes faces as they are stored, with all that it takes to use it inside.

The graph scales, crops and scores: `face`, uint8 [N, size, size, C], becomes `probabilities`, float32 [N, K]. Equal
weights give equal bytes: what the exporter writes about this machine (paths, source lines) is taken out.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError, one_line
from pipeline.core.progress import track
from pipeline.inference.classifier import Classifier
from pipeline.inference.crops import centre_crop
from pipeline.inference.samples import Samples, scaled

# Mish, of the booster networks, came with 18; every later runtime reads it.
OPSET = 18
INPUT, OUTPUT = "face", "probabilities"
KEY = "fer"  # of the metadata, as in the model file


class Whole(nn.Module):
    """A classifier from stored faces to probabilities.

    Args:
        classifier: what is scored.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.crop = classifier.network, classifier.crop

    def forward(self, face: Tensor) -> Tensor:
        """Map faces, uint8 [N, H, W, C], to probabilities, float32 [N, K]."""
        return self.network(centre_crop(scaled(face), self.crop)[0])[0].softmax(1)


def build(classifier: Classifier, about: dict[str, Any]) -> bytes:
    """Return the classifier as an ONNX file.

    Args:
        classifier: on the CPU.
        about: what stands under `fer` in the file's metadata, as JSON.

    Raises:
        UserError: the exporter refuses the network, or the file would pass the 2 GB that ONNX allows.
    """
    example = torch.zeros(2, classifier.size, classifier.size, classifier.channels, dtype=torch.uint8)
    try:
        with quiet():
            program = torch.onnx.export(
                Whole(classifier).eval(),
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
    except Exception as error:  # whatever PyTorch's exporter, onnxscript and protobuf raise
        raise UserError(f"{classifier.model}: cannot be exported to ONNX: {one_line(error)}") from None
    return described(model, about)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks of the exporter and the quantiser, on their own libraries, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def described(model: onnx.ModelProto, about: dict[str, Any]) -> bytes:
    """Return a model as bytes, described by `about` and by nothing of the machine that made it."""
    _strip(model)
    model.producer_name, model.producer_version = "fer-pipeline", about["versions"]["fer-pipeline"]
    model.graph.name = "fer"
    onnx.helper.set_model_props(model, {KEY: json.dumps(about, sort_keys=True)})
    return model.SerializeToString(deterministic=True)


def _strip(message: Any) -> None:
    """Empty `doc_string` and `metadata_props` of a message and of all in it."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _strip(part)


def about(model: bytes) -> dict[str, Any]:
    """Return what `described` wrote into a file."""
    props = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    return json.loads(props[KEY])


def probabilities(model: bytes, samples: Samples, desc: str, batch_size: int = 256) -> np.ndarray:
    """Return what onnxruntime makes of faces on the CPU, float32 [N, K].

    Args:
        model: an ONNX file that `build` or `int8.quantized` returned.
        samples: N faces.
        desc: what the progress bar says.
        batch_size: faces per run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run([OUTPUT], {INPUT: batch})[0] for batch in batches(samples, len(samples), batch_size, desc)
    ]
    return np.concatenate(parts)


def batches(samples: Samples, count: int, batch_size: int, desc: str) -> Iterator[np.ndarray]:
    """Yield `count` faces, spread evenly over the samples, as uint8 [n, H, W, C]."""
    rows = np.linspace(0, len(samples), count, endpoint=False).astype(np.int64)
    for start in track(range(0, count, batch_size), desc=desc, unit="batches"):
        yield samples.take(torch.from_numpy(rows[start : start + batch_size])).numpy()
