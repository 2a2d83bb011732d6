"""Faces that show the same image are found, others are not, and the search looks at every pair it should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labels import likeness

RNG = np.random.default_rng(11)
# Stand-ins for faces: smooth noise over one common shape, so that they resemble each other as faces do.
SHAPE = 40 * cv2.GaussianBlur(RNG.normal(size=(48, 48)), (0, 0), 6) / 0.05
NOISE = np.stack([cv2.GaussianBlur(RNG.normal(size=(48, 48)), (0, 0), 2) for _ in range(200)]) / 0.14
FACES = (120 + SHAPE.clip(-40, 40) + 30 * NOISE).clip(0, 255).astype(np.uint8)[..., None]


def found(*faces: np.ndarray) -> set[tuple[int, int]]:
    pairs = likeness.pairs(*likeness.descriptors(faces))
    return {(min(pair), max(pair)) for pair in pairs.tolist()}


def compressed(face: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)[..., None]


@pytest.mark.parametrize(
    "change",
    [
        compressed,
        lambda face: cv2.resize(face, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)[..., None],
        lambda face: (face * 0.7 + 35).astype(np.uint8),
        lambda face: cv2.resize(face[1:, 1:], (48, 48))[..., None],
        lambda face: np.repeat(face, 3, axis=2),
    ],
    ids=["compressed", "smaller", "darker", "shifted", "colour"],
)
def test_a_changed_copy_is_found_and_nothing_else(change) -> None:
    changed = [change(face) for face in FACES[:50]]
    assert found(*FACES, *changed) == {(i, 200 + i) for i in range(50)}


def test_plain_surfaces_are_like_nothing() -> None:
    plain = np.full((48, 48, 1), 90, np.uint8)
    noisy = plain + RNG.integers(0, 2, plain.shape).astype(np.uint8)
    assert found(plain, plain, noisy, noisy, np.zeros((2, 2, 1), np.uint8)) == set()


def test_no_faces_have_no_pairs() -> None:
    assert found() == set()


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_every_pair_within_the_distance_is_looked_at(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2**63, count, dtype=np.uint64)
    for i in range(1, count):  # most are some flipped bits away from the one before
        bits = rng.choice(63, rng.integers(0, 13), replace=False)
        signs[i] = signs[i - 1] ^ np.bitwise_or.reduce(
            np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)
        )
    near = {
        (i, j)
        for i in range(count)
        for j in range(i)
        if (int(signs[i]) ^ int(signs[j])).bit_count() <= likeness.DISTANCE
    }
    looked_at = [np.sort(pair)[::-1] for part in likeness._near(signs) for pair in np.stack(part, axis=1)]
    assert sorted(tuple(pair.tolist()) for pair in looked_at) == sorted(near)  # each pair once


def test_the_search_is_the_same_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    described = likeness.descriptors([*FACES[:100], *FACES[:100]])
    whole = np.unique(likeness.pairs(*described), axis=0)
    monkeypatch.setattr(likeness, "TILES", 1)
    monkeypatch.setattr(likeness, "ROWS", 9)
    assert np.array_equal(np.unique(likeness.pairs(*described), axis=0), whole)
    again = likeness.descriptors([*FACES[:100], *FACES[:100]])
    assert np.array_equal(again[0], described[0])
