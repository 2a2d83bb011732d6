"""Faces that show the same picture though their pixels differ: compressed again, resized, shifted, brightened.

A face is described by the 63 lowest frequencies of its cosine transform at 32 x 32 pixels, without the constant
one: brightness falls out, and scaled to unit length so does contrast. Two faces are one picture if at most
`DISTANCE` of the signs of these numbers differ (the perceptual hash pHash, Zauner 2010, with zero in place of the
median) and their correlation is at least `CORRELATION`.

Neither would do by itself, since aligned faces resemble each other. Within 9 signs FER+ (32,140 faces) has 11,300
pairs that are not pixel-identical; 5,260 of them correlate by 0.96, and below that most pairs are two people. Signs
alone are as sure at 4, where they miss 24 % of the faces compressed at JPEG quality 50, 28 % of those resized by
0.8 and 57 % of those shifted by 1 to 2 of 48 pixels; both together miss 6 %, 5 % and 23 %, and 1 % under a change of
contrast and brightness. About 20 of all pairs found in FER+, judged by eye, are two pictures: 4 in 100 million pairs
compared. (benchmarks/near_duplicates.py)

Described is the aligned face, which is what a network learns, not the picture: compression and resizing alone would
be found there without a miss, but of the shifted pictures, or the same face cut out by another data set, 84 %
would be missed. The limit is the landmarks, which move by a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from scipy.fft import dctn

from pipeline.tables.store import Faces

# Signs that may differ, of 63; and least correlation of the low frequencies.
DISTANCE = 9
CORRELATION = 0.96

SIDE = 32  # pixels at which faces are compared
FREQUENCIES = 8  # in each direction
# Below this standard deviation, in grey levels, a face is a plain surface and like every other one.
PLAIN = 2.0

# The signs in five bands: of at most nine differences some band has at most one (Norouzi et al. 2012, multi-index
# hashing). Every fifth sign makes a band, since neighbouring frequencies go together and make crowded bands.
WIDTHS = (13, 13, 13, 12, 12)
_ORDER = np.concatenate([np.arange(FREQUENCIES**2 - 1)[band :: len(WIDTHS)] for band in range(len(WIDTHS))])
ROWS = 4096  # faces that are described at a time
PAIRS = 1 << 21  # pairs that are compared at a time


def describe(faces: Faces | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what faces are compared by.

    Args:
        faces: N faces, uint8, H x W x C; C is 1 or 3, H and W may differ between faces.

    Returns:
        float32 [N, 63] of unit length, zero where a face is a plain surface; and their signs, uint64 [N].
    """
    low = np.zeros((len(faces), FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(faces), ROWS):
        small = np.stack([_small(faces[i]) for i in range(start, min(start + ROWS, len(faces)))])
        spectrum = dctn(small, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
        low[start : start + len(small)] = spectrum.reshape(len(small), -1)[:, 1:]
        low[start : start + len(small)][small.std(axis=(1, 2)) < PLAIN] = 0
    low /= np.maximum(np.linalg.norm(low, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    bits = np.packbits(low[:, _ORDER] > 0, axis=1, bitorder="little")
    return low, np.ascontiguousarray(bits).view("<u8")[:, 0].astype(np.uint64)


def _small(face: np.ndarray) -> np.ndarray:
    grey = face[..., 0] if face.shape[2] == 1 else cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def pairs(low: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the pairs of faces that are one picture.

    Args:
        low, signs: of N faces, as `describe` returns them.

    Returns:
        Rows of both faces, int64 [M, 2]; a pair may come more than once. Plain surfaces are in none.
    """
    found = [np.zeros((0, 2), np.int64)]
    usable = np.flatnonzero(low.any(axis=1))
    for left, right in _near(signs[usable]):
        left, right = usable[left], usable[right]
        alike = np.einsum("ij,ij->i", low[left], low[right]) >= CORRELATION
        found.append(np.stack([left[alike], right[alike]], axis=1))
    return np.concatenate(found)


def _near(signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of pairs at most `DISTANCE` bits apart: every such pair at least once.

    For each band the rows are sorted by its bits, so that those with equal bits, or with one bit flipped, are a
    run of neighbours: only a few per cent of all pairs are looked at.
    """
    first = 0
    for width in WIDTHS:
        keys = (signs >> np.uint64(first) & np.uint64((1 << width) - 1)).astype(np.int64)
        first += width
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], signs[order]
        begins = np.searchsorted(keys, np.arange((1 << width) + 1))
        for flipped in (0, *(1 << bit for bit in range(width))):
            # Each pair once: equal bits from the earlier row, one flipped bit from the row where it is 0.
            rows = np.flatnonzero(keys & flipped == 0)
            begin = begins[keys[rows] ^ flipped] if flipped else rows + 1
            count = begins[(keys[rows] ^ flipped) + 1] - begin
            for left, right in _close(ordered, rows, begin, count):
                yield order[left], order[right]


def _close(
    signs: np.ndarray, rows: np.ndarray, begin: np.ndarray, count: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compare each of `rows` with the `count` rows from `begin` on, and yield the pairs that are close."""
    total = np.cumsum(count)
    cuts = np.searchsorted(total, np.arange(PAIRS, count.sum(), PAIRS))
    for part in np.split(np.arange(len(rows)), cuts):
        ends = np.cumsum(count[part])
        right = np.arange(ends[-1] if len(part) else 0) + np.repeat(
            begin[part] - (ends - count[part]), count[part]
        )
        differ = np.repeat(signs[rows[part]], count[part]) ^ signs[right]
        close = np.flatnonzero(np.bitwise_count(differ) <= DISTANCE)
        yield rows[part][np.searchsorted(ends, close, side="right")], right[close]
