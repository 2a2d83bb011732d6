"""Render a scene as a camera saves it: pose, light, body, background, exposure, blur, noise, JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sample.drawing.background import background, faceless
from pipeline.sample.drawing.canvas import Frame, Light, Slices, blur, display, noise, paint, rgb
from pipeline.sample.drawing.expression import ActionUnits
from pipeline.sample.drawing.face import Head, render_head
from pipeline.sample.drawing.geometry import SIDES, spline
from pipeline.sample.drawing.person import Person, person
from pipeline.sample.drawing.relief import DEPTH

# Height of the average head from crown to chin, units.
_HEAD = 2.27
# Pivot of the head, units: x, y and depth.
_PIVOT = (0.0, 0.45, 0.2)
# Least and greatest scale at which a head is rendered, pixels per unit.
_SCALES = (56.0, 144.0)


@dataclass(frozen=True)
class Pose:
    """Rotation of the head (radians) and its position in the image (pixels)."""

    yaw: float  # to the right of the image
    pitch: float  # down
    roll: float  # clockwise
    x: float  # of the point between the eyes before the rotation
    y: float
    scale: float  # pixels per unit

    @property
    def rotation(self) -> np.ndarray:
        """Matrix (3, 3) from the head's axes to the image's: x right, y down, z to the viewer."""
        cy, sy, cp, sp, cr, sr = (f(a) for a in (self.yaw, self.pitch, self.roll) for f in (np.cos, np.sin))
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return roll @ pitch @ yaw


@dataclass(frozen=True)
class Scene:
    """The content of an image. Equal scenes give equal files.

    Attributes:
        seed: of everything random in this image.
        person: seed of the identity; None for an image without a face.
        units: of the expression.
    """

    seed: tuple[int, ...]
    person: tuple[int, ...] | None
    units: ActionUnits


def render(scene: Scene) -> bytes:
    """Return the JPEG file of a scene."""
    rng = np.random.default_rng(scene.seed)
    if scene.person is None:
        shape = _size(rng)
        image = faceless(rng, shape)
        return _photograph(rng, image, 0.4 * max(shape), float(image.mean()))
    return _portrait(rng, person(np.random.default_rng(scene.person)), scene.units)


def _portrait(rng: np.random.Generator, who: Person, units: ActionUnits) -> bytes:
    """Return the JPEG file of a scene with one person who shows the action units."""
    shape = _size(rng)
    pose = _pose(rng, shape)
    light = _light(rng)
    image = background(rng, shape)
    scale = float(np.clip(1.15 * pose.scale, *_SCALES))
    turned = Light(pose.rotation.T @ light.direction, light.colour, light.ambient)
    gaze = (float(np.clip(rng.normal(-0.6 * pose.yaw, 0.25), -0.9, 0.9)), float(rng.normal(0, 0.25)))
    head = render_head(who, units, gaze, turned, scale)
    region = _extent(head.frame, pose, shape)
    columns, rows = _turn(head, pose, region)
    if head.back is not None:
        _over(image[region], _take(head.back, columns, rows, scale / pose.scale))
    _body(rng, who, pose, light, image)
    _over(image[region], _take(head.front, columns, rows, scale / pose.scale))
    return _photograph(rng, image, pose.scale, _metered(image, pose))


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Draw height and width, the longer side 160 to 640 pixels."""
    longer = int(np.exp(rng.uniform(np.log(160), np.log(640))))
    aspect = rng.choice([1.0, 0.75, 0.8, 4 / 3, 1.5])
    return (longer, round(longer * aspect)) if aspect <= 1 else (round(longer / aspect), longer)


def _pose(rng: np.random.Generator, shape: tuple[int, int]) -> Pose:
    rows, columns = shape
    roll = float(np.clip(rng.normal(0, 0.13), -0.44, 0.44))
    share = float(np.clip(rng.lognormal(np.log(0.50), 0.35), 0.16, 1.05))
    head = max(share * min(rows, 1.25 * columns), 42.0)
    scale = head / _HEAD
    # The hair may be outside the image, the features may not.
    left, top = 0.75 * scale, min(0.95 * scale, 0.46 * rows)
    right, bottom = columns - left, rows - 1.30 * scale
    x = rng.uniform(left, right) if right > left else columns / 2
    y = rng.uniform(top, bottom) if bottom > top else (top + bottom) / 2
    yaw, pitch = (float(np.clip(rng.normal(0, d), -2 * d, 2 * d)) for d in (0.17, 0.11))
    return Pose(yaw, pitch, roll, x, y, scale)


def _light(rng: np.random.Generator) -> Light:
    around, above = float(np.clip(rng.normal(0, 0.5), -1.1, 1.1)), rng.uniform(0.15, 0.9)
    direction = np.array([np.sin(around) * np.cos(above), -np.sin(above), np.cos(around) * np.cos(above)])
    warm = rng.normal(0, 0.05)
    tint = np.array([1 + warm, 1.0, 1 - 1.3 * warm], np.float32)
    strength, soft = rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.4)
    return Light(direction, strength * tint, soft * (2 - tint))


def _extent(frame: Frame, pose: Pose, shape: tuple[int, int]) -> Slices:
    """Return the region of the image that the turned head can cover."""
    across = [frame.left, frame.left + frame.width]
    down = [frame.top - _PIVOT[1], frame.top + frame.height - _PIVOT[1]]
    corners = np.array([(x, y, z - _PIVOT[2]) for x in across for y in down for z in (0.0, DEPTH)])
    seen = (corners @ pose.rotation.T)[:, :2] * pose.scale
    # The rotation does not move the pivot.
    roll = np.array([-math.sin(pose.roll), math.cos(pose.roll)]) * _PIVOT[1] * pose.scale
    seen += (pose.x, pose.y) + roll
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    rows, columns = shape
    return slice(max(0, int(top)), min(rows, int(bottom) + 2)), slice(
        max(0, int(left)), min(columns, int(right) + 2)
    )


def _turn(head: Head, pose: Pose, region: Slices) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and the row of the rendered head for every pixel of a region, (h, w) each.

    The rotation R moves a point to R (x, y, z). The z depends on the unknown x and y, so they are computed by
    iteration over a smooth relief, which converges for small rotations.
    """
    frame, s = head.frame, pose.scale
    y, x = np.mgrid[region].astype(np.float32)
    cr, sr = math.cos(pose.roll), math.sin(pose.roll)
    dx, dy = (x - pose.x) / s, (y - pose.y) / s
    u, v = cr * dx + sr * dy, cr * dy - sr * dx - _PIVOT[1]
    height = blur(np.minimum(head.height, 1.6 * DEPTH), 0.06 * frame.scale) - _PIVOT[2]
    (cy, sy), (cp, sp) = ((math.cos(a), math.sin(a)) for a in (pose.yaw, pose.pitch))
    px, py = u, v
    for _ in range(4):
        columns = (px - frame.left) * frame.scale - 0.5
        rows = (py + _PIVOT[1] - frame.top) * frame.scale - 0.5
        z = cv2.remap(height, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        px = (u - sy * z) / cy
        py = (v - sp * (cy * z - sy * px)) / cp
    return (px - frame.left) * frame.scale - 0.5, (py + _PIVOT[1] - frame.top) * frame.scale - 0.5


def _take(layer: np.ndarray, columns: np.ndarray, rows: np.ndarray, shrink: float) -> np.ndarray:
    if shrink > 1.2:
        layer = cv2.GaussianBlur(layer, (0, 0), 0.42 * shrink)
    return cv2.remap(layer, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _over(image: np.ndarray, layer: np.ndarray) -> None:
    *colours, cover = cv2.split(layer)
    image *= rgb(1 - cover)
    image += cv2.merge(colours)


def _body(rng: np.random.Generator, who: Person, pose: Pose, light: Light, image: np.ndarray) -> None:
    """Paint neck, shoulders and clothes below the head, in place."""
    rows, columns = image.shape[:2]
    s, w = pose.scale, who.proportions.width
    # The neck follows half of the tilt of the head.
    x = pose.x - 0.5 * math.sin(pose.roll) * s + 0.15 * math.sin(pose.yaw) * s
    frame = Frame(-x / s, -pose.y / s, columns / s, rows / s, s)
    neck = np.array([(0.37, 0.55), (0.38, 1.15), (0.46, 1.36), (0.95, 1.58), (0.9, 2.2)]) * (w, 1)
    torso = [(0.0, 1.50), (0.36, 1.42), (0.54, 1.39), (0.96, 1.50), (1.38, 1.67), (1.64, 1.98), (1.76, 2.6)]
    across = frame.axes[0]
    facing = np.clip(1 - np.square(across / 0.62), 0, 1)
    bright = 0.35 + 0.65 * np.clip(facing + 0.7 * across * float(light.direction[0]), 0, 1.2)
    mask, region = frame.fill(_both(spline(neck, 30)), soft=0.5 / s)
    shadow = np.clip((frame.axes[1] - 1.0) / 0.5, 0.0, 1.0) * 0.5 + 0.5
    skin = rgb((bright * shadow)[region], 0.85 * who.skin * (0.75 * light.colour + light.ambient))
    paint(image[region], mask, skin)
    cloth = rng.dirichlet([7, 7, 7]) * 3 * rng.uniform(0.02, 0.5)
    outline = np.vstack([spline(np.array(torso), 50), (2.6, 14.0)])
    if rng.random() < 0.4:  # open collar
        outline = np.vstack([[(0.0, 1.50 + rng.uniform(0.1, 0.35))], outline[outline[:, 0] > 0.3]])
    mask, region = frame.fill(_both(outline), soft=0.006)
    if not mask.size:
        return
    folds, weave = (noise(rng, mask.shape, max(1.5, cell * s)) for cell in (0.4, 0.02))
    drape = 1 + 0.06 * folds + 0.02 * weave
    edge = 0.45 + 0.55 * blur(mask, 0.10 * s)
    side = np.clip(0.8 + 0.35 * across * float(light.direction[0]), 0.3, 1.3)[:, region[1]]
    paint(image[region], mask, rgb(drape * edge * side, cloth * (0.65 * light.colour + light.ambient)))


def _both(right: np.ndarray) -> np.ndarray:
    return np.vstack([right, right[::-1] * (SIDES[0], 1)])


def _metered(image: np.ndarray, pose: Pose) -> float:
    """Return the mean brightness of the face, from which a camera sets its exposure."""
    rows, columns = image.shape[:2]
    s = pose.scale
    top, bottom = int(np.clip(pose.y - 0.4 * s, 0, rows - 8)), int(np.clip(pose.y + 0.9 * s, 8, rows))
    left, right = int(np.clip(pose.x - 0.45 * s, 0, columns - 8)), int(np.clip(pose.x + 0.45 * s, 8, columns))
    return float(image[top:bottom, left:right].mean())


def _photograph(rng: np.random.Generator, image: np.ndarray, detail: float, metered: float) -> bytes:
    """Return the JPEG file that a camera makes of a scene in linear light.

    Args:
        rng: draws exposure, white balance, colour, vignette, blur, noise and quality.
        image: (h, w, 3).
        detail: pixels per unit of the face, which limits blur so that the features stay visible.
        metered: brightness from which the exposure is set.
    """
    rows, columns = image.shape[:2]
    balance = rng.normal(1, 0.05, 3)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (rows, columns))
    vignette = 1 - rng.uniform(0, 0.3) * (x[None] ** 2 + y[:, None] ** 2) / 2
    # The camera compensates most of the difference between dark and bright subjects.
    exposure = rng.uniform(0.85, 1.2) * (0.30 / max(metered, 0.02)) ** 0.75
    shown = display(image * rgb(vignette, exposure * balance))
    shown = (shown - 118) * rng.uniform(0.9, 1.15) + (118 + rng.normal(0, 5))
    colour = float(rng.choice([0.0, rng.uniform(0.6, 1.15)], p=[0.12, 0.88]))
    grey = rgb((1 - colour) * cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))
    shown = blur(grey + colour * shown, rng.uniform(0, 1) ** 2 * 0.024 * detail)
    if rng.random() < 0.12:
        shown = _shaken(shown, rng.uniform(0.02, 0.05) * detail, rng.uniform(0, np.pi))
    # Uniform noise: after JPEG it looks like normal noise, and drawing it is much faster.
    channels = 3 if colour else 1
    grain = rng.integers(-128, 128, (rows, columns, channels), np.int8) * np.float32(
        rng.uniform(0, 1) ** 2 * 0.10
    )
    pixels = np.clip(np.round(shown + grain), 0, 255).astype(np.uint8)
    quality = int(rng.integers(48, 96))
    _, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return encoded.tobytes()


def _shaken(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Return the image blurred along a line `length` pixels long."""
    reach = max(1, int(np.ceil(length / 2)))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        kernel[round(reach + t * np.sin(angle)), round(reach + t * np.cos(angle))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
