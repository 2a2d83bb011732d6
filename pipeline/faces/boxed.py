"""Find the face that a data set's box is about, in an image that may show several faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.faces.detection import (
    SAME_FACE,
    Detection,
    FaceDetector,
    Window,
    distinct_faces,
    faces_on_canvases,
    overlap,
)

# A face with this intersection over union with a box is the box's: no face beside it can overlap the box more.
SURE = 0.5
# Share of the box's longer side around it, on each side. Boxes that people draw may be tight.
BORDER = 0.5


def face_in_box(
    detector: FaceDetector,
    image: np.ndarray,
    box: Sequence[float],
    main: Detection | None,
    turn: bool = False,
) -> Detection | None:
    """Return the face that a box is about; None if there is none.

    A face can be the box's if one of the two boxes holds the centre of the other. The one with the largest overlap is
    taken. If the face that the search has found is surely the box's, it is returned to the last bit. Otherwise the
    region around the box is searched once more, and again at twice the scale if no face is found there.

    Args:
        detector: finds the faces.
        image: BGR, uint8, H x W x 3.
        box: x1, y1, x2, y2 in pixels.
        main: the result of `detector.detect`.
        turn: whether to look in all four directions. Of the faces found at one place, the one with the best score is
            taken.
    """
    of_box = Detection(np.array(box, np.float32), np.full((5, 2), np.nan, np.float32), np.nan)
    if main and overlap(main, of_box) >= SURE:
        return main
    window = Window.around(of_box.centre, of_box.side * (1 + 2 * BORDER))
    # Still finer looks take textures for faces: on 640 pixels 1 of 139 regions without a face, on 320 none.
    for size in (detector.search.near_look.size, 2 * detector.search.near_look.size):
        quarters = list(range(4 if turn else 1))
        looks = faces_on_canvases(
            [image] * len(quarters), [window] * len(quarters), size, detector.faces, quarters
        )
        seen = [canvas.to_image(face) for canvas, on_canvas in looks for face in on_canvas]
        seen = distinct_faces(seen) if turn else seen
        candidates = [main, *(f for f in seen if overlap(f, main) <= SAME_FACE)] if main else seen
        about = [face for face in candidates if _holds(of_box, face) or _holds(face, of_box)]
        if about:
            return max(about, key=lambda face: overlap(face, of_box))
    return None


def _holds(one: Detection, other: Detection) -> bool:
    """Return whether the box of one face holds the centre of the other's."""
    return bool((one.box[:2] <= other.centre).all() and (other.centre <= one.box[2:]).all())
