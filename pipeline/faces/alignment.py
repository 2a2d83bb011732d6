"""Align a face by five landmarks: a similarity transform, and a warp to a fixed size.

All transforms are 2 x 3 matrices from points of the image to points of the face, as for `cv2.warpAffine`. Integer
coordinates are centres of pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

# Eyes, nose and mouth corners at 112 x 112 pixels: `arcface_dst` of insightface, the standard of the field.
REFERENCE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
REFERENCE_SIZE = 112

# Samples along a side of a face. A face of as many pixels fills the largest image that is allowed. Landmarks that a
# data set publishes may ask for any number.
MOST_SAMPLES = 12_000

# Share of the box added on each side in mode `crop`, because boxes of detectors end at the forehead and the chin.
CROP_MARGIN = 0.1


def reference(size: int, zoom: float = 1.0, lift: float = 0.0) -> np.ndarray:
    """Return where `similarity` puts eyes, nose and mouth corners.

    Args:
        size: side of the face, pixels.
        zoom: how much larger the face is than at the standard points; it grows from the centre.
        lift: how far it is then moved up, as a share of the side.

    Returns:
        float64 (5, 2), pixels.
    """
    centre = REFERENCE_SIZE / 2
    points = (REFERENCE - centre) * zoom + centre - [0, lift * REFERENCE_SIZE]
    return points * (size / REFERENCE_SIZE)


def similarity(landmarks: np.ndarray, size: int, zoom: float = 1.0, lift: float = 0.0) -> np.ndarray:
    """Return the similarity transform from five landmarks to the points of `reference`.

    It is the rotation, scale and translation with the least sum of squared distances, without reflection (Umeyama 1991,
    equations 40 to 43). In the plane this is a linear regression of complex numbers, w = a z + b.

    Args:
        landmarks: (5, 2), pixels of the image.
        size, zoom, lift: as in `reference`.

    Returns:
        float64 (2, 3).
    """
    z, w = _complex(landmarks), _complex(reference(size, zoom, lift))
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def carried(landmarks: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Apply `similarity` to the landmarks of many faces.

    Args:
        landmarks: [N, 5, 2], pixels of the images.
        goal: (5, 2), from `reference`.

    Returns:
        float64 [N, 5, 2], comparable with `goal`.
    """
    points = np.asarray(landmarks, np.float64)
    z, w = points[..., 0] + 1j * points[..., 1], _complex(goal)
    z, w = z - z.mean(axis=1, keepdims=True), w - w.mean()
    a = (z.conj() * w).sum(axis=1) / (z.conj() * z).real.sum(axis=1)
    moved = a[:, None] * z + _complex(goal).mean()
    return np.stack([moved.real, moved.imag], axis=-1)


def quarters(landmarks: np.ndarray) -> np.ndarray:
    """Return the quarter turns by which faces are turned, clockwise: 0 upright, 1 and 3 on a side, 2 on the head.

    It is the rotation of `similarity`, rounded. `np.rot90(image, quarters)` stands a face up.

    Args:
        landmarks: [N, 5, 2], pixels of the images.

    Returns:
        int [N], 0 to 3.
    """
    points = np.asarray(landmarks, np.float64)
    z, w = points[..., 0] + 1j * points[..., 1], _complex(REFERENCE)
    rotation = np.angle(((z - z.mean(axis=1, keepdims=True)).conj() * (w - w.mean())).sum(axis=1))
    return np.rint(-rotation / (np.pi / 2)).astype(int) % 4


def likeness(landmarks: np.ndarray) -> float:
    """Return the likeness of five landmarks to the reference points, 0 to 1, after the best `similarity`.

    It is one minus the residual of the transform divided by the spread of the reference points: 1 for the reference,
    0.98 for the median face of FER+, 0.5 to 0.8 for profiles, 0.05 for a mirrored face.
    """
    z, w = _complex(landmarks), _complex(REFERENCE)
    z, w = z - z.mean(), w - w.mean()
    spread = np.vdot(z, z).real * np.vdot(w, w).real
    return float(abs(np.vdot(z, w)) ** 2 / spread) if spread > 0 else 0.0


def square(centre: tuple[float, float], side: float, size: int) -> np.ndarray:
    """Return the transform from an upright square of the image to size x size pixels.

    Args:
        centre: of the square, in pixels of the image from the outer edge of the first pixel.
        side: of the square, pixels.
        size: side of the face, pixels.
    """
    zoom = size / side
    # The edges of the square become edges of the face; centres of pixels are half a pixel further in.
    x, y = ((size - 1) / 2 - zoom * (c - 0.5) for c in centre)
    return np.array([[zoom, 0.0, x], [0.0, zoom, y]])


def box_square(box: np.ndarray, size: int) -> np.ndarray:
    """Return the transform for `align.mode: crop`: a square with the longer side of the box and a margin."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = max(x2 - x1, y2 - y1) * (1 + 2 * CROP_MARGIN)
    return square(((x1 + x2) / 2, (y1 + y2) / 2), side, size)


def whole_square(image: np.ndarray, size: int) -> np.ndarray:
    """Return the transform for an image without a face: its central square, undistorted."""
    height, width = image.shape[:2]
    return square((width / 2, height / 2), min(height, width), size)


def warp(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Cut a face out of an image.

    Sampling is bilinear. An image that shrinks to less than two thirds is sampled k times as densely and averaged over
    k x k samples: bilinear sampling alone reads only four pixels of many and turns hair and beards into noise. Pixels
    outside the image repeat its edge. Black pixels there would give tight crops, such as those of FER+, hard edges
    that reveal the rotation of the head.

    Args:
        image: uint8, H x W x C.
        transform: (2, 3), from the image to the face.
        size: side of the face, pixels.

    Returns:
        uint8, size x size x C.
    """
    scale = float(np.hypot(*transform[:, 0]))
    k = max(1, round(1 / max(scale, size / MOST_SAMPLES)))
    dense = transform * k
    dense[:, 2] += (k - 1) / 2  # the k x k samples of a pixel have the same centre as the pixel
    face = cv2.warpAffine(image, dense, (size * k, size * k), borderMode=cv2.BORDER_REPLICATE)
    return face if k == 1 else cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[:, 0] + 1j * points[:, 1]
