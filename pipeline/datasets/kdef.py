"""KDEF (Lundqvist et al. 1998, The Karolinska Directed Emotional Faces): 70 actors, seven expressions, five angles.

    data/raw/kdef/
        AF01/ ... BM35/    AF01ANS.JPG ...: session, sex and number of the actor, expression, angle

Expressions are AF fear, AN anger, DI disgust, HA happiness, NE neutral, SA sadness, SU surprise. Angles are S straight,
HL and HR half left and right, FL and FR full left and right.

The straight images are records, 980 of 4,900, as in most papers: a profile shows one eye, so it has no five
landmarks. Images of the other angles are rejected as `other_angle`, which counts as no mistake. The group is the
actor, `F01`, whose two sessions stay together. No splits are published; all are drawn.

An id is `kdef/<file name without .JPG>`, `kdef/AF01ANS`.
"""

from __future__ import annotations

import re

from pipeline.intake.class_folders import images
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

CODES = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
STRAIGHT = "S"
_NAME = re.compile(
    rf"([AB]([FM]\d\d)({'|'.join(CODES)})(S|HL|HR|FL|FR))\.(jpe?g|png)", re.ASCII | re.IGNORECASE
)


def records(tree: Tree, options: Options) -> Listing:
    """List every straight image.

    Raises:
        UserError: there is none.
    """
    listing = Listing(tree.read, ("valid", "test"))
    for place in sorted(images(tree)):
        name = place.rpartition("/")[2]
        try:
            match = _NAME.fullmatch(name)
            if not match:
                raise Rejection.of("bad_image_name", repr(name[:80]), "names like AF01ANS.JPG")
            stem, actor, code, angle = map(str.upper, match.groups()[:4])
            if angle != STRAIGHT:
                listing.expected["other_angle"] += 1
                raise Rejection.of("other_angle", angle, f"{STRAIGHT}, straight")
            listing.add(stem, None, place, place, 0, label=CODES[code], group=actor)
        except Rejection as why:
            listing.reject(place, 0, name, why)
    if not listing:
        raise wrong_tree(tree, "AF01/ ... with images like AF01ANS.JPG")
    return listing
