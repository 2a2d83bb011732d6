"""Names of FER+'s pictures as numbers, to compare the rows of several files with each other and with the pictures."""

from __future__ import annotations

import re
from array import array

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.intake.listing import mixed
from pipeline.tables.schema import VOTES

NAME = re.compile(r"fer\d{1,15}\.png", re.ASCII)


def plain(images: pa.Array, cells: dict[str, pa.Array]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys of the names, votes int32 [N, V], and which rows have a good name and good votes."""
    keys = of(images)
    good = keys >= 0
    given = pa.concat_arrays([cells[name] for name in VOTES])
    numbers = _numbers(given, 9)
    votes = pc.if_else(numbers, given, "0").cast(pa.int32()).to_numpy().reshape(len(VOTES), -1).T
    good &= numbers.to_numpy(zero_copy_only=False).reshape(len(VOTES), -1).all(axis=0)
    return keys, votes, good & votes.any(axis=1)


def _numbers(text: pa.Array, most: int) -> pa.Array:
    """Return which texts are 1 to `most` digits."""
    return pc.and_(pc.ascii_is_decimal(text), pc.less_equal(pc.binary_length(text), most))


def of(images: pa.Array) -> np.ndarray:
    """Return a number for each file name, int64, the same for the same name; -1 for what is no name of FER+'s."""
    digits = pc.utf8_slice_codeunits(images, 3, -4)
    shaped = pc.and_(pc.starts_with(images, "fer"), pc.ends_with(images, ".png"))
    good = pc.and_(shaped, _numbers(digits, 15))
    digits = pc.if_else(good, digits, "0")
    keys = digits.cast(pa.int64()).to_numpy() * 16 + pc.binary_length(digits).to_numpy()  # 007 is not 7
    return np.where(good.to_numpy(zero_copy_only=False), keys, -1)


def of_one(image: str) -> np.ndarray:
    """Return what `of` returns for one name."""
    return np.array([int(image[3:-4]) * 16 + len(image) - 7 if NAME.fullmatch(image) else -1])


def with_votes(keys: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return a hash of each name with its votes, int64, not negative."""
    hashes = (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ mixed(votes)
    return (hashes >> np.uint64(1)).astype(np.int64)


class Keys:
    """Keys of names, eight bytes each: a million take no more than some thousand names would as text."""

    def __init__(self) -> None:
        self._all = array("q")

    def add(self, keys: np.ndarray) -> None:
        """Add keys, int64 [n]."""
        self._all.frombytes(keys.tobytes())

    def sorted(self) -> np.ndarray:
        """Return all keys in order; none can be added afterwards."""
        keys = np.frombuffer(self._all, np.int64)
        keys.sort()
        return keys


class Found:
    """Which of some keys are found elsewhere, looked for a block at a time."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys.sorted()
        self._found = np.zeros(len(self._keys), bool)

    def find(self, values: np.ndarray) -> None:
        """Mark the keys that are among `values`, int64 [n]."""
        if len(self._keys):
            first = np.searchsorted(self._keys, values).clip(max=len(self._keys) - 1)
            self._found[first[self._keys[first] == values]] = True

    def count(self) -> int:
        """Return how many keys were found, those that occur twice counted twice."""
        return int(self._found[np.searchsorted(self._keys, self._keys)].sum())


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which values are in a sorted array; -1 never is."""
    if not len(known):
        return np.zeros(len(values), bool)
    return (values >= 0) & (known[np.searchsorted(known, values).clip(max=len(known) - 1)] == values)
