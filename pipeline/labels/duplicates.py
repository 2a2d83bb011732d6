"""Pictures that occur more than once, pixel by pixel, and the leaks between splits that they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pipeline.schema import SPLITS


def between_splits(splits: Sequence[str], pixels: Sequence[str]) -> dict[str, int]:
    """Count leaks: `valid_in_train` is the number of valid pictures whose pixels also occur in train.

    Args:
        splits: of each picture.
        pixels: fingerprint of each picture's pixels.

    Returns:
        One count for each pair of splits that have pictures.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for split, fingerprint in zip(splits, pixels, strict=True):
        members[split].append(fingerprint)
    counts = {}
    for later, earlier in (("valid", "train"), ("test", "train"), ("test", "valid")):
        if members[later] and members[earlier]:
            known = set(members[earlier])
            counts[f"{later}_in_{earlier}"] = sum(fingerprint in known for fingerprint in members[later])
    return counts


def first_copies(ids: Sequence[str], splits: Sequence[str], pixels: Sequence[str]) -> list[str | None]:
    """Return for each picture the id of the first one with the same pixels, None if it is the first itself.

    First means first in train, then valid, then test, by id within a split.
    """
    order = sorted(range(len(ids)), key=lambda i: (SPLITS.index(splits[i]), ids[i]))
    first: dict[str, str] = {}
    for i in order:
        first.setdefault(pixels[i], ids[i])
    return [None if first[pixels[i]] == ids[i] else first[pixels[i]] for i in range(len(ids))]
