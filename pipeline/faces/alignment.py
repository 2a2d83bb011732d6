"""From a picture and five landmarks to a face of fixed size: the similarity transform and the warp.

All transforms are 2 x 3 matrices that take points of the picture to points of the face, as `cv2.warpAffine`
does; whole coordinates are centres of pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

# Eyes, nose and mouth corners at 112 x 112 pixels: insightface's `arcface_dst`, the field's standard.
REFERENCE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
REFERENCE_SIZE = 112

# Share of the box added on each side in `crop`: detectors' boxes end at the forehead and the chin.
CROP_MARGIN = 0.1


def similarity(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Return the similarity transform that takes five landmarks to the reference points at `size` pixels.

    Rotation, scale and translation with the least sum of squared distances, never a reflection (Umeyama 1991,
    equations 40 to 43). In the plane it is a linear regression of complex numbers, w = a z + b.

    Args:
        landmarks: (5, 2), pixels of the picture.
        size: side of the face, pixels.

    Returns:
        float64 (2, 3).
    """
    z, w = _complex(landmarks), _complex(REFERENCE * (size / REFERENCE_SIZE))
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def carried(landmarks: np.ndarray) -> np.ndarray:
    """Return where `similarity` takes the landmarks of many faces, at the size of the reference.

    Args:
        landmarks: [N, 5, 2], pixels of the pictures.

    Returns:
        float64 [N, 5, 2], pixels of the reference face, to be compared with `REFERENCE`.
    """
    points = np.asarray(landmarks, np.float64)
    z, w = points[..., 0] + 1j * points[..., 1], _complex(REFERENCE)
    z, w = z - z.mean(axis=1, keepdims=True), w - w.mean()
    a = (z.conj() * w).sum(axis=1) / (z.conj() * z).real.sum(axis=1)
    moved = a[:, None] * z + _complex(REFERENCE).mean()
    return np.stack([moved.real, moved.imag], axis=-1)


def likeness(landmarks: np.ndarray) -> float:
    """Return how much like the reference face five landmarks are, whatever their place, scale and rotation.

    One minus the residual of `similarity` over the spread of the reference points: 1 for the reference
    itself, 0.98 for the median face of FER+, 0.5 to 0.8 for profiles, 0.05 for a mirrored face.
    """
    z, w = _complex(landmarks), _complex(REFERENCE)
    z, w = z - z.mean(), w - w.mean()
    spread = np.vdot(z, z).real * np.vdot(w, w).real
    return float(abs(np.vdot(z, w)) ** 2 / spread) if spread > 0 else 0.0


def square(centre: tuple[float, float], side: float, size: int) -> np.ndarray:
    """Return the transform that takes an upright square of the picture to size x size pixels.

    Args:
        centre: of the square, in pixels of the picture counted from the outer edge of the first pixel.
        side: of the square, pixels.
        size: side of the face, pixels.
    """
    zoom = size / side
    # Edges meet edges: pixel centres lie half a pixel inside.
    x, y = ((size - 1) / 2 - zoom * (c - 0.5) for c in centre)
    return np.array([[zoom, 0.0, x], [0.0, zoom, y]])


def box_square(box: np.ndarray, size: int) -> np.ndarray:
    """Return the transform of `align.mode: crop`: a square on the box's longer side, with a margin."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = max(x2 - x1, y2 - y1) * (1 + 2 * CROP_MARGIN)
    return square(((x1 + x2) / 2, (y1 + y2) / 2), side, size)


def whole_square(picture: np.ndarray, size: int) -> np.ndarray:
    """Return the transform of a picture that stands in for a face: its central square, undistorted."""
    height, width = picture.shape[:2]
    return square((width / 2, height / 2), min(height, width), size)


def warp(picture: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Return the face that a transform cuts out of a picture.

    Bilinear. Where the picture shrinks to less than two thirds it is sampled k times as densely and averaged
    over k x k samples: bilinear alone reads four pixels of the many that fall into one and turns hair and
    beards into noise. Pixels beyond the picture repeat its edge: a tight crop such as FER+'s would get black
    wedges, hard edges that say how the head was held.

    Args:
        picture: uint8, H x W x C.
        transform: (2, 3), picture to face.
        size: side of the face, pixels.

    Returns:
        uint8, size x size x C.
    """
    k = max(1, round(1 / float(np.hypot(*transform[:, 0]))))
    dense = transform * k
    dense[:, 2] += (k - 1) / 2  # the centre of a pixel is the centre of its k x k samples
    face = cv2.warpAffine(picture, dense, (size * k, size * k), borderMode=cv2.BORDER_REPLICATE)
    return face if k == 1 else cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[:, 0] + 1j * points[:, 1]
