"""CK+ (Lucey et al. 2010, The Extended Cohn-Kanade Dataset): posed expressions, from neutral to their peak.

    data/raw/ckplus/
        cohn-kanade-images/S005/001/   S005_001_00000001.png ... S005_001_00000011.png: a sequence of a subject
        Emotion/S005/001/              S005_001_00000011_emotion.txt: one number, 3.0000000e+00; often absent

or CK+48, the images that are mostly trained on, cut to 48 x 48 pixels (its folders may lie in one named CK+48):

    data/raw/ckplus/
        anger/ contempt/ disgust/ fear/ happy/ sadness/ surprise/    S010_004_00000017.png ...

Codes are 0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happiness, 6 sadness, 7 surprise. The last three frames
of every labelled sequence are records: 981 images of 327 sequences, the same ones as in CK+48. A sequence starts with
a neutral face, but no label says so: its first frame is not used. The metrics count the frames not used. A sequence
without a label is one rejected row. If the folder holds both forms, the first one is read.

An id is `ckplus/<name of the image without .png>`, `ckplus/S010_004_00000017`, in both forms. The group is the
subject, `S010`: a subject has many similar images, and must not be in two splits. No splits are published; all are
drawn.
"""

from __future__ import annotations

import re
from collections import defaultdict

from pipeline.intake.class_folders import class_folders, folders
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

CODES: dict[float, str] = {
    0: "neutral",
    1: "anger",
    2: "contempt",
    3: "disgust",
    4: "fear",
    5: "happiness",
    6: "sadness",
    7: "surprise",
}
IMAGES, LABELS, SMALL = "cohn-kanade-images", "Emotion", "CK+48"
FRAMES = 3  # of a sequence

_NAME = re.compile(r"(S\d{1,9})_(\d{1,9})_(\d{1,9})\.png", re.ASCII)
_EXPECTED = f"{IMAGES}/ and {LABELS}/ with folders S005/001/ ..., or folders named after classes: anger/, contempt/ ..."


def records(tree: Tree, options: Options) -> Listing:
    """List CK+ in whichever of its two forms lies in `tree`.

    Raises:
        UserError: the tree is neither.
    """
    top = tree.entries()
    listing = Listing(tree.read, draw=("valid", "test"))
    if f"{IMAGES}/" in top and f"{LABELS}/" in top:
        _sequences(tree, listing)
        return listing
    root = f"{SMALL}/" if f"{SMALL}/" in top else ""
    if not class_folders(tree, options.names, root.rstrip("/")):
        raise wrong_tree(tree, _EXPECTED)
    _folders(tree, root, options.names, listing)
    return listing


def _sequences(tree: Tree, listing: Listing) -> None:
    # One pass over each tree: in an archive, listing a folder takes longer than finding a file.
    frames, labels = defaultdict(list), defaultdict(list)
    for place in _files(tree, IMAGES, ".png"):
        frames[place.removeprefix(f"{IMAGES}/").rpartition("/")[0]].append(place)
    for place in _files(tree, LABELS, "_emotion.txt"):
        labels[place.removeprefix(f"{LABELS}/").rpartition("/")[0]].append(place)
    used = total = 0
    for sequence in sorted(frames.keys() | labels.keys()):
        good = []
        for place in frames[sequence]:
            try:
                good.append((_parsed(place), place))
            except Rejection as why:
                listing.reject(place, 0, place.rpartition("/")[2], why)
        try:
            label = _label(tree, labels[sequence])
            if not good:
                raise Rejection("missing_image", f"found no image in {IMAGES}/{sequence}")
            in_order = sorted(good, key=lambda frame: int(frame[0][3]))
            last = in_order[1:][-FRAMES:]
            if not last:
                raise Rejection("too_few_frames", "found the first frame alone, which is neutral")
        except Rejection as why:
            listing.reject(f"{IMAGES}/{sequence}", 0, sequence, why)
            if why.reason == "no_label":  # of 593 sequences, 327 are published with one
                listing.expected["no_label"] += 1
            continue
        total, used = total + len(good), used + len(last)
        for match, place in last:
            listing.add(match[0][:-4], None, place, place, 0, label=label, group=match[1])
    listing.notes["frames_not_used"] = total - used


def _folders(tree: Tree, root: str, names: Names, listing: Listing) -> None:
    for folder in folders(tree, root.rstrip("/")):
        for place in _files(tree, f"{root}{folder}", ".png"):
            try:
                match, label = _parsed(place), names.label(folder)
                listing.add(match[0][:-4], None, place, place, 0, label=label, group=match[1])
            except Rejection as why:
                listing.reject(place, 0, place.rpartition("/")[2], why)


def _files(tree: Tree, folder: str, ending: str) -> list[str]:
    """Return the sorted places of files with an ending below a folder, without hidden files."""
    return sorted(
        p for p in tree.files(folder) if p.endswith(ending) and not p.rpartition("/")[2].startswith(".")
    )


def _parsed(place: str) -> re.Match[str]:
    """Return the subject, the sequence and the frame in an image's name."""
    name = place.rpartition("/")[2]
    match = _NAME.fullmatch(name)
    if not match:
        raise Rejection.of("bad_image_name", repr(name[:80]), "names like S010_004_00000017.png")
    return match


def _label(tree: Tree, places: list[str]) -> str:
    """Return the label in the files of a sequence, one number each. Most sequences have one file."""
    if not places:
        raise Rejection("no_label", f"found no file of this sequence in {LABELS}/")
    labels = set()
    for place in places:
        text = tree.read(place)[:1000].decode("utf-8", "replace").strip()
        try:
            labels.add(CODES[float(text)])
        except (ValueError, KeyError):
            allowed = ", ".join(f"{code} {name}" for code, name in CODES.items())
            raise Rejection("unknown_label", f"{place}: found {text[:40]!r}, allowed: {allowed}") from None
    if len(labels) > 1:
        raise Rejection("contradicting_label", f"found {' and '.join(sorted(labels))} in {', '.join(places)}")
    return labels.pop()
