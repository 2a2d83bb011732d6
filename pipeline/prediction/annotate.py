"""Draw boxes, labels and probabilities on images and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.face_finder import read
from pipeline.prediction.sources import Source, drawing_name

# Images with a longer side below this many pixels are enlarged by a whole number, so that text is readable.
LEAST_SIDE = 480
# Text height as a share of the shorter side, and its bounds in pixels.
TEXT_SHARE, TEXT_LEAST, TEXT_MOST = 0.035, 14, 64
# Frames per second of a camera that does not report them.
USUAL_FPS = 25.0
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 22  # pixels of a capital letter at scale 1
# Codecs by the suffix of a video: MPEG-4, and VP8, which browsers play.
CODECS = {".mp4": "mp4v", ".webm": "VP80"}
# BGR colours of the main face, other faces and text.
MAIN, OTHER, INK = (80, 200, 80), (230, 160, 60), (0, 0, 0)


def marked(image: np.ndarray, faces: Sequence[Expression]) -> np.ndarray:
    """Return a copy of an image with its faces marked. Small images are enlarged.

    Args:
        image: BGR, uint8, H x W x 3.
        faces: faces of the image; a face without a detection is marked as the whole image.
    """
    height, width = image.shape[:2]
    zoom = max(1, -(-LEAST_SIDE // max(height, width)))
    canvas = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    height, width = canvas.shape[:2]
    text = float(np.clip(TEXT_SHARE * min(height, width), TEXT_LEAST, TEXT_MOST))
    line = max(1, round(text / 8))
    for expression in sorted(faces, key=lambda expression: expression.face.main):  # the main face on top
        detection, colour = expression.face.detection, MAIN if expression.face.main else OTHER
        box = np.array([0, 0, width - 1, height - 1]) if detection is None else np.rint(detection.box * zoom)
        x1, y1, x2, y2 = box.astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line, cv2.LINE_AA)
        _write(canvas, expression.caption, (x1, y1), text, colour)
    return canvas


def _write(
    canvas: np.ndarray, caption: str, corner: tuple[int, int], text: float, colour: tuple[int, ...]
) -> None:
    """Write a caption on a bar above the upper left corner of a box, or below the corner if there is no room."""
    height, width = canvas.shape[:2]
    scale, stroke = text / FONT_HEIGHT, max(1, round(text / 10))
    (wide, _), _ = cv2.getTextSize(caption, FONT, scale, stroke)
    if wide + text > width:
        scale, stroke = scale * width / (wide + text), 1
        (wide, _), _ = cv2.getTextSize(caption, FONT, scale, stroke)
    bar = round(1.7 * text)
    left = min(max(corner[0], 0), max(0, width - wide - round(text / 2)))
    top = min(max(corner[1] - bar if corner[1] >= bar else corner[1], 0), max(0, height - bar))
    cv2.rectangle(canvas, (left, top), (left + wide + round(text / 2), top + bar), colour, cv2.FILLED)
    start = (left + round(text / 4), top + round(1.3 * text))
    cv2.putText(canvas, caption, start, FONT, scale, INK, stroke, cv2.LINE_AA)


class Annotator:
    """Context manager that writes marked images and videos into a folder.

    An error discards the video that is being written.

    Args:
        folder: output folder, which mirrors the folders of the sources. Existing files are replaced.
        every: the step between frames of a video. The drawn video has the same duration.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        self._source: Source | None = None
        self._video = ExitStack()
        self._add_frame: Callable[[np.ndarray], None] | None = None

    def __enter__(self) -> Annotator:
        return self

    def __exit__(self, *error: Any) -> None:
        self._video.__exit__(*error)

    def add(self, prediction: Prediction) -> None:
        """Draw an image or the next frame of a video. Unreadable images are skipped.

        Raises:
            UserError: the folder cannot be written to.
        """
        image = prediction.image
        if image.source != self._source:
            self._video.close()
            self._source, self._add_frame = image.source, None
        if prediction.error:
            return
        canvas = marked(read(image), prediction.faces)
        path = self._folder / drawing_name(image.source)
        if image.frame is None:
            write_image(path, canvas)
        else:
            if self._add_frame is None:
                size, fps = canvas.shape[1::-1], (image.fps or USUAL_FPS) / self._every
                self._add_frame = self._video.enter_context(video(path, size, fps))
            self._add_frame(canvas)


@contextmanager
def video(path: Path, size: tuple[int, int], fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that adds frames (BGR, uint8) to a video, resized to the size of the video.

    Args:
        path: the file, whose suffix is one of `CODECS`. It is replaced only if the block succeeds.
        size: width and height of the frames.
        fps: frames per second.

    Raises:
        UserError: the file cannot be written.
    """

    def add(frame: np.ndarray) -> None:
        writer.write(frame if frame.shape[1::-1] == size else cv2.resize(frame, size))

    with replacing(path) as temporary:
        writer = cv2.VideoWriter(
            str(temporary), cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()]), fps, size
        )
        if not writer.isOpened():
            raise UserError(
                f"{path}: cannot be written: OpenCV opens no video of {size[0]} x {size[1]} there"
            )
        try:
            yield add
        finally:
            writer.release()


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write an image (BGR, uint8) in the format of the path's suffix.

    Raises:
        UserError: the file cannot be written.
    """
    encoded = cv2.imencode(path.suffix.lower(), pixels)[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
