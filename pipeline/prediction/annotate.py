"""Pictures and videos with their faces marked: box, label and probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.finding import read
from pipeline.prediction.sources import Source, drawn

# The longer side of the least picture on which text can be read, pixels; smaller ones are enlarged by a whole number.
LEAST_SIDE = 480
# Height of the text as a share of the picture's shorter side, and its bounds in pixels.
TEXT_SHARE, TEXT_LEAST, TEXT_MOST = 0.035, 14, 64
# Of a camera that does not say it, frames per second.
USUAL_FPS = 25.0
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 22  # of a capital letter at scale 1, pixels
# BGR: of the face that `align` takes, and of the others.
MAIN, OTHER, INK = (80, 200, 80), (230, 160, 60), (0, 0, 0)


def marked(picture: np.ndarray, faces: Sequence[Expression], classes: Sequence[str]) -> np.ndarray:
    """Return a copy of a picture with its faces marked, several times as large if it is small.

    Args:
        picture: BGR, uint8, H x W x 3.
        faces: of the picture; one without a box is the whole of it.
        classes: names in the order of the probabilities.
    """
    height, width = picture.shape[:2]
    zoom = max(1, -(-LEAST_SIDE // max(height, width)))
    canvas = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    height, width = canvas.shape[:2]
    text = float(np.clip(TEXT_SHARE * min(height, width), TEXT_LEAST, TEXT_MOST))
    line = max(1, round(text / 8))
    for expression in sorted(faces, key=lambda one: one.cut.main):  # align's on top of the others
        face, colour = expression.cut.face, MAIN if expression.cut.main else OTHER
        box = np.array([0, 0, width - 1, height - 1]) if face is None else np.rint(face.box * zoom)
        x1, y1, x2, y2 = box.astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line, cv2.LINE_AA)
        best = int(expression.probabilities.argmax())
        caption = f"{classes[best]} {expression.probabilities[best]:.2f}"
        _write(canvas, caption, (x1, y1), text, colour)
    return canvas


def _write(
    canvas: np.ndarray, caption: str, corner: tuple[int, int], text: float, colour: tuple[int, ...]
) -> None:
    """Write on a bar above the left upper corner of a box, or below it where the picture ends; never beyond."""
    height, width = canvas.shape[:2]
    scale, stroke = text / FONT_HEIGHT, max(1, round(text / 10))
    (wide, _), _ = cv2.getTextSize(caption, FONT, scale, stroke)
    if wide + text > width:  # a narrow picture
        scale, stroke = scale * width / (wide + text), 1
        (wide, _), _ = cv2.getTextSize(caption, FONT, scale, stroke)
    bar = round(1.7 * text)
    left = min(max(corner[0], 0), max(0, width - wide - round(text / 2)))
    top = min(max(corner[1] - bar if corner[1] >= bar else corner[1], 0), max(0, height - bar))
    cv2.rectangle(canvas, (left, top), (left + wide + round(text / 2), top + bar), colour, cv2.FILLED)
    place = (left + round(text / 4), top + round(1.3 * text))
    cv2.putText(canvas, caption, place, FONT, scale, INK, stroke, cv2.LINE_AA)


class Annotator:
    """Writes what it is given into a folder, pictures as pictures and frames as videos; a context manager.

    A video that an error ends is not kept.

    Args:
        folder: gets the tree of the sources; files of the same name are replaced.
        classes: names in the order of the probabilities.
        every: one frame of a video in so many is given; the drawn one takes as long.
    """

    def __init__(self, folder: Path, classes: Sequence[str], every: int) -> None:
        self._folder, self._classes, self._every = folder, classes, every
        self._source: Source | None = None
        self._video: Video | None = None

    def __enter__(self) -> Annotator:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(whole=kind is None)

    def add(self, prediction: Prediction) -> None:
        """Draw a picture, or the next frame; nothing of one that cannot be read.

        Raises:
            UserError: the folder cannot be written to.
        """
        shot = prediction.shot
        if shot.source != self._source:
            self._close()
            self._source = shot.source
        if prediction.refused:
            return
        canvas = marked(read(shot), prediction.faces, self._classes)
        path = self._folder / drawn(shot.source)
        if shot.frame is None:
            write_picture(path, canvas)
        else:
            if self._video is None:
                self._video = Video(path, canvas.shape[1::-1], (shot.fps or USUAL_FPS) / self._every)
            self._video.add(canvas)

    def _close(self, whole: bool = True) -> None:
        if self._video is not None:
            self._video.close(whole)
        self._video = None


class Video:
    """An .mp4 file (MPEG-4) that is there when it is closed.

    Args:
        path: of the file.
        size: width and height of its frames.
        fps: frames per second.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._path, self._size = path, size
        # OpenCV takes the format from the name.
        self._temporary = path.with_name(f".{path.stem}.part.mp4")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise UserError(
                f"{path}: cannot be written: OpenCV opens no video of {size[0]} x {size[1]} there"
            )

    def add(self, frame: np.ndarray) -> None:
        """Add a frame, BGR, uint8; one of another size is resized."""
        self._writer.write(frame if frame.shape[1::-1] == self._size else cv2.resize(frame, self._size))

    def close(self, whole: bool) -> None:
        """Finish the file, or leave an earlier one of its name as it was if it is not whole."""
        self._writer.release()
        if whole:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink()


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a picture, BGR, uint8, in the format that its name says.

    Raises:
        UserError: it cannot be written.
    """
    encoded = cv2.imencode(path.suffix.lower(), pixels)[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
