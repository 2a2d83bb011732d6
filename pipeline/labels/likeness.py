"""Find faces that show the same image although their pixels differ: recompressed, resized, shifted, brightened.

The descriptor of a face is the 63 lowest frequencies of its cosine transform at 32 x 32 pixels. Leaving out the
constant removes brightness, and scaling to unit length removes contrast. Two faces show one image if at most
`DISTANCE` signs of their descriptors differ (the perceptual hash pHash, Zauner 2010, with zero instead of the median)
and the correlation of the descriptors is at least `CORRELATION`.

Both conditions are needed because aligned faces resemble each other. FER+ (32,140 faces) has 11,300 pairs within 9
signs that are not pixel-identical. 5,260 of them correlate by 0.96; most pairs below that show two people. Signs alone
are as precise at a distance of 4. There they miss 24 % of the faces compressed at JPEG quality 50, 28 % of those
resized by 0.8 and 57 % of those shifted by 1 to 2 of 48 pixels. Both conditions together miss 6 %, 5 % and 23 %, and
1 % after a change of contrast and brightness. Judged by eye, about 20 of all pairs found in FER+ are two images: 4 in
100 million compared pairs (benchmarks/near_duplicates.py).

The aligned face is compared, because a network learns from it, and not the whole image. Comparing whole images
would find every recompressed and resized copy, but would miss 84 % of the shifted images and of the faces that
another data set cropped differently. Aligned faces differ mostly because their landmarks move by a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from scipy.fft import dctn

# Greatest number of different signs, of 63, and least correlation of the descriptors.
DISTANCE = 9
CORRELATION = 0.96

SIDE = 32  # pixels, the size at which faces are compared
FREQUENCIES = 8  # in each direction
# A face with a smaller standard deviation, in grey levels, is a plain surface. All plain surfaces look alike.
PLAIN = 2.0

# The signs are split into five bands. If at most nine signs differ, at most one differs in some band (multi-index
# hashing, Norouzi et al. 2012). Every fifth sign belongs to one band: neighbouring frequencies correlate, and a band of
# them would have few different values.
WIDTHS = (13, 13, 13, 12, 12)
_ORDER = np.concatenate([np.arange(FREQUENCIES**2 - 1)[band :: len(WIDTHS)] for band in range(len(WIDTHS))])
_MASKS = [np.uint64(((1 << width) - 1) << sum(WIDTHS[:band])) for band, width in enumerate(WIDTHS)]
# Faces that correlate are at most this far apart in every frequency, and a little for rounding.
REACH = (2 - 2 * CORRELATION) ** 0.5 + 1e-3
APART = 4  # more than the values of two rows and their reach
ROWS = 4096  # faces described at a time
# Rows that follow each other, and rows that all of them are compared with: no pair needs an index of its own.
GROUP, TILE = 16, 32
TILES = 512  # compared at a time, few enough for the processor's cache


def descriptors(faces: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptors of faces.

    Args:
        faces: N faces, uint8, H x W x C; C is 1 or 3, H and W may differ between faces.

    Returns:
        float32 [N, 63] of unit length, or zero for a plain surface; and their signs as bits, uint64 [N].
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
    """Return the pairs of faces that show one image.

    Args:
        low, signs: of N faces, from `descriptors`.

    Returns:
        Rows of both faces, int64 [M, 2], every pair once. Plain surfaces are in no pair.
    """
    alike_pairs = [np.zeros((0, 2), np.int64)]
    usable = np.flatnonzero(low.any(axis=1))
    widest = low.std(axis=0).argmax() if len(low) else 0
    for left, right in _near(signs[usable], low[usable, widest]):
        left, right = usable[left], usable[right]
        alike = np.einsum("ij,ij->i", low[left], low[right]) >= CORRELATION
        alike_pairs.append(np.stack([left[alike], right[alike]], axis=1))
    return np.concatenate(alike_pairs)


def _near(signs: np.ndarray, values: np.ndarray | float = 0.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of pairs that differ in at most `DISTANCE` bits and `REACH`, every such pair once.

    For each band the rows are sorted by the bits of the band, and rows with equal bits by their values. Rows with equal
    bits, or one bit flipped, and values within reach are then neighbours: 2 % of all pairs. Groups and tiles add some.

    Args:
        signs: uint64 [N].
        values: of one frequency of each row, -1 to 1, [N].
    """
    values = np.broadcast_to(values, signs.shape)
    for band, width in enumerate(WIDTHS):
        keys = ((signs & _MASKS[band]) >> np.uint64(sum(WIDTHS[:band]))).astype(np.int64)
        places = APART * keys + values  # bits first, then values
        order = np.argsort(places, kind="stable")
        keys, places, ordered = keys[order], places[order], np.pad(signs[order], (0, TILE))
        for flipped in (0, *(1 << bit for bit in range(width))):
            # Each pair once: with equal bits from the earlier row, with a flipped bit from the row in which it is 0.
            rows = np.flatnonzero(keys & flipped == 0)
            first, last = rows[::GROUP], np.append(rows[GROUP - 1 : -1 : GROUP], rows[-1:])
            begin = np.searchsorted(places, places[first] + APART * flipped - REACH) if flipped else first + 1
            end = np.searchsorted(places, places[last] + APART * flipped + REACH, side="right")
            for left, right in _close(ordered, rows, begin, end):
                later = (left < right) & (right < len(order))
                left, right = left[later], right[later]
                new = np.abs(places[right] - places[left] - APART * flipped) <= REACH
                for earlier in _MASKS[:band]:
                    new &= np.bitwise_count((ordered[left] ^ ordered[right]) & earlier) > 1
                yield order[left[new]], order[right[new]]


def _close(
    signs: np.ndarray, rows: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compare each `GROUP` of rows with the rows from its `begin` to its `end` at least, and yield the close pairs.

    Args:
        signs: uint64 [N + TILE]. The last `TILE` belong to no row, but pairs may have them.
        rows: ascending, [R].
        begin, end: of each group, [R / GROUP].
    """
    members = np.pad(rows, (0, -len(rows) % GROUP), constant_values=len(signs) - TILE).reshape(-1, GROUP)
    tiles = -(-(end - begin) // TILE)
    group = np.repeat(np.arange(len(members)), tiles)
    start = begin[group] + TILE * (np.arange(len(group)) - np.repeat(np.cumsum(tiles) - tiles, tiles))
    windows = np.lib.stride_tricks.sliding_window_view(signs, TILE)
    for part in range(0, len(group), TILES):
        of, at = members[group[part : part + TILES]], start[part : part + TILES]
        differ = np.bitwise_count(signs[of][:, :, None] ^ windows[at][:, None])
        tile, member, place = np.unravel_index(np.flatnonzero(differ <= DISTANCE), differ.shape)
        yield of[tile, member], at[tile] + place
