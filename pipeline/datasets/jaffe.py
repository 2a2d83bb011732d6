"""JAFFE (Lyons et al. 1998, Coding Facial Expressions with Gabor Wavelets): 213 posed portraits of ten Japanese women.

    data/raw/jaffe/
        KA.AN1.39.tiff ...    person, expression and number of the take, number of the image

Expressions are AN anger, DI disgust, FE fear, HA happiness, NE neutral, SA sadness, SU surprise. The group is the
person. No splits are published; all are drawn, and no person is in two of them. Copies as PNG or JPEG, and images in
folders, are read too.

An id is `jaffe/<file name without its ending>`, `jaffe/KA.AN1.39`.
"""

from __future__ import annotations

import re

from pipeline.intake.class_folders import images
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.names import class_of_code
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

CODES = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
_NAME = re.compile(r"(([A-Z]{2})\.([A-Z]{2})\d{1,3}\.\d{1,4})\.+\w+", re.ASCII | re.IGNORECASE)


def records(tree: Tree, options: Options) -> Listing:
    """List every image.

    Raises:
        UserError: no image has a name of this form.
    """
    listing = Listing(tree.read, ("valid", "test"))
    for place in sorted(images(tree)):
        name = place.rpartition("/")[2]
        try:
            match = _NAME.fullmatch(name)
            if not match:
                raise Rejection.of("bad_image_name", repr(name[:80]), "names like KA.AN1.39.tiff")
            stem, person, code = match[1], match[2].upper(), match[3].upper()
            listing.add(stem, None, place, place, 0, label=class_of_code(code, CODES), group=person)
        except Rejection as why:
            listing.reject(place, 0, name, why)
    if not listing:
        raise wrong_tree(tree, "images with names like KA.AN1.39.tiff")
    return listing
