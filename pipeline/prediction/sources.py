"""List images to predict: files, folders, frames of videos, a camera."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import cv2
import numpy as np

from pipeline.core.errors import UserError, one_line
from pipeline.intake.guards import Rejection, check_size, is_hidden
from pipeline.intake.image import check_pixels, cost, dimensions

IMAGES = frozenset(
    {".bmp", ".gif", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
) | {".tif", ".tiff", ".webp"}
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
# Images of formats that are not read. Each gets a row that says so.
OTHERS = frozenset({".avif", ".heic", ".heif", ".jxl"})
LONGEST_NAME = 255  # of a file, in bytes
# A video may have this many frames fewer than its header says, as some containers only estimate the number.
GUESSED, GUESSED_SHARE = 2, 0.02
# Each of the threads that decode a video holds frames. One thread decodes frames of more pixels than this: 4096 x 2304.
THREADED_PIXELS = 9_437_184

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: the output reports unreadable videos


@dataclass(frozen=True)
class Source:
    """A file or a camera.

    Attributes:
        path: the path as the output shows it, or the camera's address.
        kind: how the source is opened.
        name: path of its drawing, relative to the folder of drawings.
        named: True if the user named the file itself, False if the user named a folder that contains it.
        error: why the source cannot be read, as far as is known before it is opened; else empty.
    """

    path: str
    kind: Literal["image", "video", "camera"]
    name: Path
    named: bool = True
    error: str = ""


@dataclass(frozen=True)
class InputImage:
    """An image file, a frame of a video or camera, or an array.

    Attributes:
        source: the file or camera.
        frame: number of the frame, from 0; None for an image file.
        time: seconds since the start of the video, or since the camera was opened.
        pixels: BGR, uint8, H x W x 3; None for an image file, which a worker reads.
        error: why the image cannot be read; empty if it may be readable.
        fps: frames per second of the video.
        decoding: bytes that an image file takes in memory while it is decoded.
    """

    source: Source
    frame: int | None = None
    time: float | None = None
    pixels: np.ndarray | None = None
    error: str = ""
    fps: float = 0.0
    decoding: int = 0

    @property
    def cost(self) -> int:
        """Bytes that the image takes in memory until it is predicted."""
        # This process holds an array and sends a copy. A worker holds what arrives and the array that it unpacks.
        return self.decoding if self.pixels is None else 4 * self.pixels.nbytes


def listed(paths: Iterable[str | Path]) -> list[Source]:
    """Return the images and videos at some paths. Folders are searched recursively and through links, in sorted order.

    A path without images or videos becomes a source with an error, and so does a folder that cannot be read. In
    folders, hidden files and files with other suffixes than `IMAGES`, `VIDEOS` and `OTHERS` are skipped.
    """
    sources = []
    for path in map(Path, paths):
        if os.path.isdir(path):  # never raises, unlike Path.is_dir
            inside = sorted(_inside(path))
            sources += [
                Source(str(file), _kind(file), file.relative_to(path), False, error or _error(file))
                for file, error in inside
            ]
            if not inside:
                error = "a folder without images or videos"
                sources.append(Source(str(path), "image", Path(path.name), error=error))
        else:
            sources.append(Source(str(path), _kind(path), Path(path.name), error=_error(path)))
    return sources


def camera(address: str) -> Source:
    """Return a camera by its number (from 0), device file or stream address."""
    name = "".join(c if c.isalnum() else "-" for c in address).strip("-")
    return Source(address, "camera", Path(f"camera-{name}"))


def check_names(sources: Sequence[Source], folder: Path, option: str) -> None:
    """Reject a folder for drawings if two drawings would get the same name, or one would overwrite a source.

    Raises:
        UserError: names the two sources, or the source; or a video cannot be written under its name.
    """
    drawings: dict[Path, Source] = {}
    files = {os.path.realpath(source.path) for source in sources if source.kind != "camera"}
    for source in sources:
        target = folder / drawing_name(source)
        if os.path.realpath(target) in files:
            raise UserError(f"{option}: {target} is an image or video to be read; name another folder")
        if source.kind != "image" and not source.error and not _is_utf8(target):
            raise UserError(f"{option}: {target} is not UTF-8, so OpenCV cannot write a video there")
        other = drawings.setdefault(target, source)
        if other.path != source.path:
            raise UserError(
                f"{option}: {other.path} and {source.path} would both become {target}; name a folder that holds both"
            )


def drawing_name(source: Source) -> Path:
    """Return the name of a source's drawing. Names that do not end in .png, .jpg, .jpeg or .mp4 get a suffix."""
    kept, other = ((".png", ".jpg", ".jpeg"), ".png") if source.kind == "image" else ((".mp4",), ".mp4")
    return with_ending(source.name, "" if source.name.suffix.lower() in kept else other)


def with_ending(path: Path, ending: str) -> Path:
    """Return a path with more characters at the end of its name.

    A name that would be longer than a file's name may be is cut. A hash of the whole name then tells it from others.
    """
    name = os.fsencode(path.name + ending)
    if len(name) <= LONGEST_NAME:
        return path.with_name(path.name + ending)
    ending = f"-{hashlib.sha256(name).hexdigest()[:16]}{ending}"
    kept = name[: LONGEST_NAME - len(os.fsencode(ending))]
    return path.with_name(kept.decode(errors="ignore") + ending)


def count(sources: Iterable[Source], every: int) -> int:
    """Return the number of images; for videos, their headers tell the number of frames."""
    total = 0
    for source in sources:
        frames = 1
        if source.kind == "video" and not source.error:
            frames = max(1, int(cv2.VideoCapture(source.path).get(cv2.CAP_PROP_FRAME_COUNT)))
        total += -(-frames // every)
    return total


def images(sources: Iterable[Source], every: int = 1) -> Iterator[InputImage]:
    """Yield image files, and every `every`-th frame of videos and cameras.

    A source that cannot be opened, an image or video of too many pixels, or a video that is shorter than its header
    says yields an image with an error. The header of an image file is read, and its pixels are not.
    """
    for source in sources:
        if source.error:
            yield InputImage(source, error=source.error)
        elif source.kind == "image":
            yield _measured(source)
        else:
            yield from _frames(source, every)


def _measured(source: Source) -> InputImage:
    """Return an image file with its cost, or why it cannot be read. Only its header is read."""
    try:
        with opened(source.path) as file:
            width, height = dimensions(file)
            return InputImage(source, decoding=cost(width, height, os.fstat(file.fileno()).st_size))
    except Rejection as error:
        return InputImage(source, error=error.detail)


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Open an image file.

    Raises:
        Rejection: the file cannot be opened or read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            check_size(os.fstat(file.fileno()).st_size)
            yield file
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise Rejection("unreadable_image", f"cannot be read: {reason}") from None


def _frames(source: Source, every: int) -> Iterator[InputImage]:
    live = source.kind == "camera"
    capture = _capture(source)
    start = time.monotonic()
    number = 0
    try:
        if not capture.isOpened():
            raise Rejection("unreadable_image", f"cannot be opened as a {source.kind}")
        check_pixels(*_size(capture))
        fps = capture.get(cv2.CAP_PROP_FPS)
        while capture.grab():
            if number % every == 0:
                # Before `retrieve`, after which OpenCV reports the next frame's time.
                seconds = time.monotonic() - start if live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                read, pixels = capture.retrieve()
                if not read:
                    break
                check_pixels(*pixels.shape[1::-1])  # a later frame may be larger
                yield InputImage(source, number, seconds, pixels, fps=fps)
            number += 1
        claimed = 0 if live else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if number == 0 or claimed - number > GUESSED + GUESSED_SHARE * claimed:
            yield InputImage(source, number, error=f"ends after {number} of {max(claimed, 1)} frames")
    except Rejection as error:
        yield InputImage(source, number or None, error=error.detail)
    finally:
        capture.release()


def _capture(source: Source) -> cv2.VideoCapture:
    """Open a video or a camera. It may turn out not to be open."""
    if source.kind == "camera":
        return cv2.VideoCapture(int(source.path) if source.path.isdecimal() else source.path)
    capture = cv2.VideoCapture(source.path)
    if math.prod(_size(capture)) > THREADED_PIXELS and capture.getBackendName() == "FFMPEG":
        capture.release()
        capture = cv2.VideoCapture(source.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    return capture


def _size(capture: cv2.VideoCapture) -> tuple[int, int]:
    """Return the width and height of a video's frames, as its header says; 0 and 0 if it is not open."""
    return int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _inside(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the images and videos in a folder, and each folder in it that cannot be read with the reason."""
    closed: list[OSError] = []
    walked: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        real = os.path.realpath(parent)
        if real in walked:  # links may lead to a folder twice, or round in circles
            folders.clear()
            continue
        walked.add(real)
        # Links come last, so that an image has the path without one.
        folders[:] = [name for name in folders if not is_hidden(name)]
        folders.sort(key=lambda name: (os.path.islink(os.path.join(parent, name)), name))
        for name in files:
            path = Path(parent, name)
            if not is_hidden(name) and path.suffix.lower() in IMAGES | VIDEOS | OTHERS:
                yield path, ""
    yield from ((Path(error.filename), f"cannot be read: {error.strerror}") for error in closed)


def _is_utf8(path: Path) -> bool:
    """Return whether a path is UTF-8. OpenCV ends the process if it is given another one."""
    try:
        return bool(str(path).encode())
    except UnicodeError:
        return False


def _kind(path: Path) -> Literal["image", "video"]:
    return "video" if path.suffix.lower() in VIDEOS else "image"


def _error(path: Path) -> str:
    if os.path.isfile(path):
        if _kind(path) == "video" and not _is_utf8(path):
            return "has a path that is not UTF-8, which OpenCV cannot open"
        return ""
    return "is not a file" if os.path.exists(path) else "does not exist"
