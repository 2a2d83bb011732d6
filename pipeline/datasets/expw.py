"""ExpW, Expression in-the-Wild (Zhang et al. 2018, From Facial Expression Recognition to Interpersonal Relation
Prediction): 91,793 faces in photographs from the web, with manual labels.

    data/raw/expw/
        label/label.lst        or label.lst: abused_boy_1.jpg 0 50 30 110 130 94.2 2
        image/origin/          abused_boy_1.jpg ...; or in image/

The cells of label.lst are the image's name, the number of the face in it, the top, left, right and bottom of its box,
the confidence of the box, and the label. Codes are 0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise,
6 neutral. Several faces of an image may be labelled; each is a record with its box, and all are in one split. The
confidence is not used. No splits are published; all are drawn.

An id is `expw/<image's name>`; of an image with several faces it is `expw/<image's name>#<x1>,<y1>,<x2>,<y2>`.
"""

from __future__ import annotations

from pipeline.intake import csv_rows
from pipeline.intake.face_rows import FaceRow, add_faces, corners_of
from pipeline.intake.guards import Rejection
from pipeline.intake.landmarks import numbers
from pipeline.intake.listing import Listing
from pipeline.intake.locator import Locator
from pipeline.intake.names import class_of_code
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
CODES = {str(code): name for code, name in enumerate(_NAMES)}
LABEL_FILES = ("label/label.lst", "label.lst")
IMAGES, ORIGIN = "image", "image/origin"
_CELLS = "image_name face_id top left right bottom confidence label"


def records(tree: Tree, options: Options) -> Listing:
    """List the faces in label.lst.

    Raises:
        UserError: there is no label.lst.
    """
    file = next(filter(tree.has, LABEL_FILES), None)
    if file is None:
        raise wrong_tree(tree, f"{LABEL_FILES[0]} and the images in {ORIGIN}/ or {IMAGES}/")
    listing = Listing(tree.read, ("valid", "test"), face_boxes="pixels")
    locator = Locator(tree, ORIGIN if tree.entries(ORIGIN) else IMAGES)
    rows: list[FaceRow] = []
    for row, line in csv_rows.lines(tree, file):
        name, place = line.strip()[:80], ""
        try:
            cells = line.rsplit(maxsplit=len(_CELLS.split()) - 1)
            if len(cells) < len(_CELLS.split()):
                raise Rejection("bad_row", f"found {line.strip()[:80]!r}, expected: {_CELLS}")
            name, _, top, left, right, bottom, _, code = cells
            place = locator.place(name.strip())
            box = corners_of(numbers([left, top, right, bottom]))
            rows.append(FaceRow(file, row, place, None, None, box, class_of_code(code, CODES)))
        except Rejection as why:
            listing.reject(file, row, name, why, place)
    add_faces(listing, rows, lambda place: place.rpartition("/")[2])
    return listing
