"""What a prediction looks at: pictures, folders of them, videos frame by frame, a camera."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pipeline.core.errors import UserError

PICTURES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
# Frames that a video may lack of those that its header counts: containers that do not count them guess.
GUESSED, GUESSED_SHARE = 2, 0.02

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a video, the output says


@dataclass(frozen=True)
class Source:
    """A file or a camera.

    Attributes:
        path: as it stands in the output; the address of a camera.
        kind: what it is taken for.
        name: of what is drawn for it, relative to the folder that drawings go to.
        named: whether the user named it, and not a folder that holds it.
        refused: why there is nothing to look at; empty if there may be.
    """

    path: str
    kind: Literal["picture", "video", "camera"]
    name: Path
    named: bool = True
    refused: str = ""


@dataclass(frozen=True)
class Shot:
    """One picture to look at.

    Attributes:
        source: where it comes from.
        frame: its number in a video, from 0; None for a picture file.
        time: seconds from the beginning of the video or since the camera was opened.
        pixels: BGR, uint8, H x W x 3; None for a picture file, which is read where it is looked at.
        refused: why there are no pixels; empty if there may be.
        fps: frames per second of the video.
    """

    source: Source
    frame: int | None = None
    time: float | None = None
    pixels: np.ndarray | None = None
    refused: str = ""
    fps: float = 0.0


def listed(paths: Iterable[str | Path]) -> list[Source]:
    """Return the pictures and videos at some paths; folders with all that they hold, sorted, but hidden files.

    Nothing is lost: a path with nothing to look at is a source that says why. In a folder, files of other kinds
    than `PICTURES` and `VIDEOS` are passed over.
    """
    sources = []
    for path in map(Path, paths):
        if os.path.isdir(path):  # unlike pathlib's it never raises
            inside = sorted(_inside(path))
            sources += [
                Source(str(file), _kind(file), file.relative_to(path), False, _refused(file))
                for file in inside
            ]
            if not inside:
                refused = "a folder without pictures or videos"
                sources.append(Source(str(path), "picture", Path(path.name), refused=refused))
        else:
            sources.append(Source(str(path), _kind(path), Path(path.name), refused=_refused(path)))
    return sources


def camera(address: str) -> Source:
    """Return the camera with a number (0 is the first), a device file or a stream's address."""
    name = "".join(c if c.isalnum() else "-" for c in address).strip("-")
    return Source(address, "camera", Path(f"camera-{name}"))


def check_names(sources: Sequence[Source], folder: Path, option: str) -> None:
    """Refuse a folder for drawings in which two sources would get one name, or in which a source itself lies.

    Raises:
        UserError: names both sources, or the one that would be overwritten.
    """
    taken: dict[Path, Source] = {}
    files = {os.path.realpath(source.path) for source in sources if source.kind != "camera"}
    for source in sources:
        target = folder / drawn(source)
        if os.path.realpath(target) in files:
            raise UserError(f"{option}: {target} is a picture or video to be read; name another folder")
        if target in taken and taken[target].path != source.path:
            raise UserError(
                f"{option}: {taken[target].path} and {source.path} would both become {target}; name a folder "
                "that holds both"
            )
        taken[target] = source


def drawn(source: Source) -> Path:
    """Return the name of a source with its faces drawn: .png, .jpg and .mp4 stay, others get one of them added."""
    kept, other = ((".png", ".jpg", ".jpeg"), ".png") if source.kind == "picture" else ((".mp4",), ".mp4")
    if source.name.suffix.lower() in kept:
        return source.name
    return source.name.with_name(source.name.name + other)


def count(sources: Iterable[Source], every: int) -> int:
    """Return how many pictures there are to look at, frames as the videos' headers count them."""
    total = 0
    for source in sources:
        frames = 1
        if source.kind == "video" and not source.refused:
            frames = max(1, int(cv2.VideoCapture(source.path).get(cv2.CAP_PROP_FRAME_COUNT)))
        total += -(-frames // every)
    return total


def shots(sources: Iterable[Source], every: int = 1) -> Iterator[Shot]:
    """Yield each picture, and of videos and cameras one frame in `every`.

    What cannot be opened, and a video that ends before its header says, yields a shot that says so.
    """
    for source in sources:
        if source.refused:
            yield Shot(source, refused=source.refused)
        elif source.kind == "picture":
            yield Shot(source)
        else:
            yield from _frames(source, every)


def _frames(source: Source, every: int) -> Iterator[Shot]:
    live = source.kind == "camera"
    capture = cv2.VideoCapture(int(source.path) if live and source.path.isdecimal() else source.path)
    start = time.monotonic()
    try:
        if not capture.isOpened():
            yield Shot(source, refused=f"cannot be opened as a {source.kind}")
            return
        fps, number = capture.get(cv2.CAP_PROP_FPS), 0
        while capture.grab():
            if number % every == 0:
                # Before it is retrieved, or OpenCV names the next frame's time.
                seconds = time.monotonic() - start if live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                read, pixels = capture.retrieve()
                if not read:
                    break
                yield Shot(source, number, seconds, pixels, fps=fps)
            number += 1
        claimed = 0 if live else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if number == 0 or claimed - number > GUESSED + GUESSED_SHARE * claimed:
            yield Shot(source, number, refused=f"ends after {number} of {max(claimed, 1)} frames")
    finally:
        capture.release()


def _inside(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURES | VIDEOS:
                yield path


def _kind(path: Path) -> Literal["picture", "video"]:
    return "video" if path.suffix.lower() in VIDEOS else "picture"


def _refused(path: Path) -> str:
    if os.path.isfile(path):
        return ""
    return "is not a file" if os.path.exists(path) else "does not exist"
