"""Write as HTML what the page shows of a model, an image and a video. All text from files is escaped."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment

from pipeline.core.errors import UserError
from pipeline.inference.origin import learned_from
from pipeline.prediction.annotate import USUAL_FPS, marked, video
from pipeline.prediction.explain import drawing, layer
from pipeline.prediction.expression import Prediction
from pipeline.prediction.face_finder import read
from pipeline.prediction.output import written
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.sources import count, images, listed
from pipeline.report.templates import templates

# Longest side of a marked image, and of a video, in pixels. Larger videos take longer to write than to predict.
SHOWN, FILMED = 1280, 640


def about(predictor: Predictor) -> str:
    """Return what a model learned from and what it cannot do."""
    return _rendered(
        "about.html", learned=learned_from(predictor.classifier.learned), classes=predictor.classes
    )


def error(message: object) -> str:
    """Return an error as one paragraph."""
    return _rendered("error.html", message=str(message))


def image(predictor: Predictor, path: str) -> str:
    """Return an image with marked faces, and each face with its probabilities and its class-activation map.

    Raises:
        UserError: the network's probabilities are not finite.
    """
    [prediction] = predictor.stream(images(listed([path])))
    if prediction.error:
        return error(f"{Path(path).name}: {prediction.error}")
    classifier, without = predictor.classifier, ""
    drawings: list[np.ndarray | None] = [None] * len(prediction.faces)
    try:
        stage = layer(classifier)
        drawings = [drawing(classifier, stage, face) for face in prediction.faces]
    except UserError as refused:
        without = str(refused)
    return _rendered(
        "faces.html",
        image=_fitted(marked(read(prediction.image), prediction.faces), SHOWN),
        faces=[*zip(prediction.faces, drawings, strict=True)],
        without=without,
    )


def film(
    predictor: Predictor, path: str, every: int, folder: Path
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield, for each frame of a video, how far the prediction is; then the counts of labels and the written files.

    Args:
        predictor: the model.
        path: the video.
        every: use every `every`-th frame.
        folder: for `<name>.webm`, the video with marked faces, and `<name>.csv`, the rows of `fer predict`.

    Yields:
        HTML, and at the end the paths of the video and of the rows. A video without a readable frame has neither.
    """
    sources = listed([path])
    name, total, frames, without, reason = Path(path).name, count(sources, every), 0, 0, ""
    labels: Counter[str] = Counter()
    marked_film, rows = folder / f"{name}.webm", folder / f"{name}.csv"
    add_frame: Callable[[np.ndarray], None] | None = None
    with ExitStack() as stack:
        add_row = stack.enter_context(written(rows, predictor.classes))
        for prediction in predictor.stream(images(sources, every), live=True):
            add_row(_named(prediction, name))
            if prediction.error:
                reason = prediction.error
                continue
            canvas = _fitted(marked(read(prediction.image), prediction.faces), FILMED)
            if add_frame is None:
                fps = (prediction.image.fps or USUAL_FPS) / every
                add_frame = stack.enter_context(video(marked_film, canvas.shape[1::-1], fps))
            add_frame(canvas)
            frames += 1
            found = [face.label for face in prediction.faces if face.face.detection is not None]
            labels.update(found)
            without += not found
            yield _rendered("progress.html", frames=frames, total=total), None, None
    if not frames:
        yield error(f"{name}: {reason}"), None, None
        return
    yield (
        _rendered("film.html", frames=frames, without=without, labels=labels.most_common(), reason=reason),
        str(marked_film),
        str(rows),
    )


def _named(prediction: Prediction, name: str) -> Prediction:
    """Return a prediction whose source has the file's name in place of its temporary path."""
    source = replace(prediction.image.source, path=name)
    return replace(prediction, image=replace(prediction.image, source=source))


def _fitted(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return an image whose longer side has at most `side` pixels."""
    scale = side / max(pixels.shape[:2])
    return (
        pixels if scale >= 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    )


def _inline(pixels: np.ndarray) -> str:
    """Return an image (BGR, uint8) as the address of an image that a page holds itself."""
    encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 90])[1]
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = templates("pipeline.demo")
    environment.filters["inline"] = _inline
    return environment
