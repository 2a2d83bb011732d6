"""Check what `label` draws: which images are chosen, where they stand, and what the figures say."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy import stats
from skimage.transform import SimilarityTransform

from pipeline.core.errors import UserError
from pipeline.faces.alignment import REFERENCE, carried, similarity
from pipeline.figures import labels as sheets
from pipeline.figures import landmarks as plots
from pipeline.figures import scores, synthetic
from pipeline.figures import sheet as layout
from pipeline.stages import label
from pipeline.suspects import output
from pipeline.tables.schema import aligned
from pipeline.tables.store import GROUP_ROWS, Faces, take_parquet, write_rows
from pipeline.tables.vocabulary import VOTES
from tests.test_label import image, params, write_dataset

SIZE = 12
# Names of forty letters, in several parts and in one.
LONG = tuple(f"{('happily_surprised_and_' * 2, 'w' * 40)[i % 2][:38]}_{i}" for i in range(10))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def texts(figure: Figure) -> list[str]:
    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


def colour(row: int) -> tuple[int, int, int]:
    """A colour for each row below 512, none of them grey."""
    return 255 * (row >> 8), 64 + row % 16 * 8, row // 16 % 16 * 4


def coloured(status: list[str], landmarks: list[np.ndarray] | None = None, channels: int = 3) -> Faces:
    """Return a table of plain faces that are told apart by their colours."""
    shape = (SIZE, SIZE, channels)
    rows = [
        {
            "id": f"d/{row:04d}.png",
            "status": found,
            "face": np.broadcast_to(colour(row)[:channels], shape).astype(np.uint8).tobytes(),
            "landmarks": None if landmarks is None else landmarks[row].reshape(10).tolist(),
        }
        for row, found in enumerate(status)
    ]
    write_rows(Path("faces.arrow"), aligned(SIZE, channels), rows)
    return Faces(Path("faces.arrow"))


def no_votes(count: int) -> np.ndarray:
    return np.zeros((count, len(VOTES)), int)


def png(row: int, height: int = 20, width: int = 20) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), colour(row)[::-1], np.uint8))[1].tobytes()


def sheet(
    faces: Faces,
    labels: Any,
    votes: np.ndarray,
    mode: str = "five_point",
    images: Any = None,
    names: tuple[str, ...] = VOTES,
) -> Path:
    path = Path("sheet.png")
    images = images or (lambda rows: [png(row) for row in rows])
    sheets.contact_sheet(path, "d", faces, np.array(labels), votes, names, names[:8], mode, images)
    return path


def places(path: Path, rows: int) -> dict[int, tuple[int, int, int, int]]:
    """Return the place (left, top, width, height in pixels) of each row's colour that is in an image."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    code = image @ [1 << 16, 1 << 8, 1]
    found = {}
    for row in range(rows):
        y, x = np.nonzero(code == np.array(colour(row)) @ [1 << 16, 1 << 8, 1])
        if len(y) > 50:  # more than the edges of letters
            found[row] = (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
    return found


def test_examples_are_spread_over_the_table_and_stand_in_the_row_of_their_class(
    figures: list[Figure],
) -> None:
    names = ["fear", "", "neutral"] * 67
    status = ["found"] * 200 + ["missing"]
    shown = places(sheet(coloured(status), names, no_votes(201)), 200)

    for name in ("neutral", "fear"):
        of_class = [row for row in range(200) if names[row] == name]
        chosen = [row for row in shown if names[row] == name]
        assert len(chosen) == sheets.COLUMNS
        assert (chosen[0], chosen[-1]) == (of_class[0], of_class[-1])
        assert np.ptp(np.diff(chosen)) <= 3, "even but for rounding to rows of the class"
        assert len({shown[row][1] for row in chosen}) == 1
        assert [shown[row][0] for row in chosen] == sorted(shown[row][0] for row in chosen)
    assert not [row for row in shown if names[row] == ""]
    assert min(shown[row][1] for row in shown if names[row] == "fear") > shown[2][1], "in label order"
    written = texts(figures[0])
    assert "fear\n67" in written
    assert "neutral\n66" in written, "the missing face is not counted"
    assert not [text for text in written if "happiness" in text], "a class without faces has no row"


def test_of_images_without_a_face_those_that_are_shown_alone_are_read(figures: list[Figure]) -> None:
    status = ["found", "whole", "whole", "found"] * 50
    asked: list[int] = []

    def images(rows: list[int]) -> list[bytes]:
        asked.extend(rows)
        return [png(row, 40, 20) if row == rows[0] else png(row) for row in rows]

    shown = places(sheet(coloured(status), [""] * 200, no_votes(200), images=images), 200)

    assert list(shown) == asked
    assert len(asked) == 20
    assert all(status[row] == "whole" for row in asked)
    assert asked[0] == 1
    assert asked[-1] == 198
    width, height = shown[1][2:]
    assert height == pytest.approx(2 * width, abs=2), "undistorted"
    assert "100 of 200\n50.00%" in texts(figures[0])
    assert "0001.png" in texts(figures[0])


def test_the_most_divided_faces_are_those_of_the_greatest_entropy() -> None:
    rng = np.random.default_rng(5)
    votes = rng.multinomial(10, rng.dirichlet([0.3] * len(VOTES), 400))
    rows = np.arange(0, 400, 2)

    chosen = sheets.most_divided(votes, rows, 30)

    bits = stats.entropy(votes, axis=1, base=2)
    assert set(chosen) <= set(rows)
    assert bits[chosen] == pytest.approx(np.sort(bits[rows])[::-1][:30])
    for one, other in pairwise(chosen):
        assert bits[one] > bits[other] + 1e-9 or one < other, "of equals the first"
    agreed = np.eye(len(VOTES), dtype=int)[:5] * 10
    assert not len(sheets.most_divided(np.concatenate([agreed, no_votes(3)]), np.arange(8), 30))


def test_ties_are_two_entries_in_front_with_equal_votes() -> None:
    rng = np.random.default_rng(6)
    votes = np.concatenate([rng.multinomial(8, [1 / len(VOTES)] * len(VOTES), 300), no_votes(5)])

    chosen = sheets.tied(votes, np.arange(305)).tolist()

    ordered = [sorted(row, reverse=True) for row in votes.tolist()]
    assert sorted(chosen) == [row for row, v in enumerate(ordered) if v[0] == v[1] > 0]
    best = [ordered[row][0] for row in chosen]
    assert best == sorted(best, reverse=True)


def test_faces_in_dispute_are_captioned_with_their_front_runners(figures: list[Figure]) -> None:
    votes = no_votes(4)
    votes[0, [0, 4, 8]] = 4, 3, 3
    votes[1, [3, 5]] = 5, 5
    votes[2, 1] = 10
    votes[3, [1, 2]] = 5, 5  # no face was found in it
    shown = places(sheet(coloured(["found"] * 3 + ["whole"]), [""] * 4, votes), 3)

    assert list(shown) == [0, 1]
    written = texts(figures[0])
    assert "neutral 4\nanger 3" in written
    assert "sadness 5\ndisgust 5" in written
    assert "ties\n1" in written
    assert "surprise 5" not in "".join(written)
    bits = stats.entropy([4, 3, 3], base=2)
    assert f"most divided\n{bits:.2f} to 1.00 bits" in written


def test_empty_parts_say_so(figures: list[Figure]) -> None:
    sheet(coloured(["found"] * 3), [""] * 3, no_votes(3))
    sheet(coloured(["whole"] * 3), ["fear"] * 3, no_votes(3), mode="none")
    agreed = no_votes(3)
    agreed[:, 2] = 10
    sheet(coloured(["found"] * 3), ["fear"] * 3, agreed)
    sheet(coloured([]), [], no_votes(0))

    first, second, third, nothing = map(texts, figures)
    assert {"no labelled image has a face", "0 of 3: every image has a face", "no votes"} <= set(first)
    assert {"whole images by label: not aligned", "fear\n3"} <= set(second)
    assert "not looked for: not aligned" in second
    assert "none: all votes for a face are for the same" in third
    assert {"d: 0 images", "no votes"} <= set(nothing)


@pytest.mark.parametrize("names", [VOTES, LONG], ids=["known", "long"])
def test_no_text_lies_over_another_or_outside(figures: list[Figure], names: tuple[str, ...]) -> None:
    votes = no_votes(400)
    votes[:, 1] = votes[:, 2] = 10
    labels = [names[row % 8] for row in range(400)]
    sheet(coloured(["found"] * 370 + ["whole"] * 30), labels, votes, names=names)
    faces = np.zeros((10, 8, 8, 1), np.uint8)
    scores.mistakes_sheet(Path("m.png"), "test", faces, [f"{names[0]}\n→ {names[1]} 0.97"] * 10)
    captions = [f"{i}. {names[0]} 0.0002\n→ {names[1]} 0.97" for i in range(10)]
    layout.captioned_sheet(Path("s.png"), "the labels", faces, captions, output.ACROSS, output.CELLS)
    plots.landmark_scatter(
        Path("l.png"), "facial_expressions", np.array([REFERENCE] * 20_000), REFERENCE, 112, None
    )

    for figure in figures:
        boxes = [
            found.get_window_extent()
            for found in figure.findobj(Text)
            if found.get_text().strip() and found.get_visible()
        ]
        assert len(boxes) >= 8
        page = figure.bbox
        assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= page.x1 and b.y1 <= page.y1 for b in boxes)
        assert not [one for one, other in combinations(boxes, 2) if one.overlaps(other)]


@pytest.mark.parametrize("count", [2, 17])
def test_figures_hold_many_and_long_names(figures: list[Figure], count: int) -> None:
    names = [f"{i}{LONG[i % 10]}" for i in range(count)]
    answers = np.arange(count)
    scores.confusion_matrix(Path("c.png"), "test", answers, answers, names)
    synthetic.curves(Path("d.png"), "dcgan", "distance", {name: [1.0, 2.0] for name in names})

    matrix, curves = figures
    [axes, _] = matrix.axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text().replace("\n", "") for tick in ticks] == names
        places = [tick.get_window_extent() for tick in ticks]
        assert not [one for one, other in combinations(places, 2) if one.overlaps(other)]
    assert axes.get_window_extent().width / count > 0.5 * matrix.dpi  # of a cell, which holds two numbers
    [plot] = curves.axes
    assert plot.get_window_extent().width > 0.4 * curves.bbox.width
    assert [text.get_text() for text in plot.get_legend().get_texts()] == names
    assert len({(line.get_color(), line.get_linestyle()) for line in plot.get_lines()}) == count
    outermost = [text for part in (axes, plot) for text in (part.title, part.xaxis.label, part.yaxis.label)]
    for text in [*outermost, *plot.get_legend().get_texts()]:
        box, page = text.get_window_extent(), text.figure.bbox
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1


def test_grey_faces_stay_grey(tmp_path: Path) -> None:
    path = sheet(coloured(["found"] * 2, channels=1), ["fear"] * 2, no_votes(2))

    image = np.asarray(Image.open(path).convert("RGB"))
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_a_damaged_image_is_named() -> None:
    with pytest.raises(UserError, match=r"^d/0000\.png: 3 bytes that are no image; run ingest again$"):
        sheet(coloured(["whole"]), [""], no_votes(1), images=lambda rows: [b"abc"])


def landmarks(count: int) -> np.ndarray:
    """Faces of all sizes, places and rotations, each a little unlike the reference: [N, 5, 2]."""
    rng = np.random.default_rng(8)
    shape = (REFERENCE + rng.normal(0, 3, (count, 5, 2))) @ [1, 1j]
    zoom = rng.uniform(0.2, 5, (count, 1)) * np.exp(1j * rng.uniform(-3, 3, (count, 1)))
    moved = shape * zoom + rng.uniform(0, 400, (count, 1)) * (1 + 1j)
    return np.stack([moved.real, moved.imag], axis=-1)


def test_landmarks_are_carried_as_by_the_alignment_of_each_face() -> None:
    found = landmarks(50)
    ours = carried(found, REFERENCE)
    for points, moved in zip(found, ours, strict=True):
        theirs = SimilarityTransform.from_estimate(points, REFERENCE)
        assert moved == pytest.approx(theirs(points), abs=1e-6)
        matrix = similarity(points, 112)
        assert moved == pytest.approx(points @ matrix[:, :2].T + matrix[:, 2], abs=1e-9)
    assert carried(np.zeros((0, 5, 2)), REFERENCE).shape == (0, 5, 2)


def test_the_legend_gives_the_median_residual_of_each_landmark(figures: list[Figure]) -> None:
    found = landmarks(41)
    plots.landmark_scatter(Path("l.png"), "d", carried(found, REFERENCE), REFERENCE, 112, None)

    residuals = []
    for points in found:
        moved = SimilarityTransform.from_estimate(points, REFERENCE)(points)
        residuals.append(np.hypot(*(moved - REFERENCE).T))
    written = texts(figures[0])
    for name, values in zip(plots.LANDMARKS, np.transpose(residuals), strict=True):
        assert f"{name}: {sorted(values)[20]:.2f}" in written


def test_the_mean_face_lies_where_its_landmarks_are_drawn(figures: list[Figure]) -> None:
    mean = plots.mean_face(coloured(["found"] * 4, channels=1), np.array([0, 3]))
    assert mean == pytest.approx(np.zeros((SIZE, SIZE, 1)))
    # A pixel of the aligned face is bright where `similarity` at its size takes a landmark.
    size, at = 28, (14, 18)  # x, y: the nose of a face of 28 pixels, to the pixel
    mean = np.zeros((size, size, 1))
    mean[at[1], at[0]] = 1
    plots.landmark_scatter(Path("l.png"), "d", np.array([REFERENCE]), REFERENCE, 112, mean)

    left, right, bottom, top = figures[0].axes[0].images[0].get_extent()
    x, y = left + (at[0] + 0.5) * (right - left) / size, top + (at[1] + 0.5) * (bottom - top) / size
    assert (x, y) == pytest.approx(REFERENCE[2], abs=0.5 * 112 / size)
    assert (x, y) == pytest.approx(np.array(at) * 112 / size)


def test_at_most_twenty_thousand_points_are_drawn(figures: list[Figure]) -> None:
    plots.landmark_scatter(Path("l.png"), "d", carried(landmarks(9000), REFERENCE), REFERENCE, 112, None)

    drawn = sum(len(points.get_offsets()) for points in figures[0].axes[0].collections)
    assert drawn - len(REFERENCE) == 20_000
    assert any("9,000 faces" in text for text in texts(figures[0]))


def test_images_do_not_depend_on_the_user_or_the_time() -> None:
    def draw() -> list[bytes]:
        sheet(coloured(["found", "whole"] * 9), ["fear"] * 18, np.ones((18, len(VOTES)), int))
        plots.landmark_scatter(
            Path("l.png"), "d", carried(landmarks(30), REFERENCE), REFERENCE, 112, np.ones((9, 9, 3)) / 2
        )
        return [Path(name).read_bytes() for name in ("sheet.png", "l.png")]

    once = draw()
    with matplotlib.rc_context(
        {"font.size": 20, "image.cmap": "gray", "axes.facecolor": "black", "savefig.dpi": 50}
    ):
        assert draw() == once
    assert Image.open("sheet.png").text == {}


@pytest.mark.parametrize("mode", ["five_point", "crop", "none"])
def test_the_stage_draws_two_images_for_each_data_set_and_nothing_else(
    mode: str, figures: list[Figure]
) -> None:
    status = "whole" if mode == "none" else "found"
    write_dataset("a", image("1", "train", {"fear": 6, "anger": 4}, status=status))
    write_dataset(
        "b", image("1", "train", "fear", status=status), image("2", "valid", "anger", status="whole")
    )
    p = params("a", "b")
    label.run(p.model_copy(update={"align": p.align.model_copy(update={"modes": {"a": mode, "b": mode}})}))

    drawn = sorted(path.name for path in Path("plots/label").iterdir())
    assert drawn == ["a-landmarks.png", "a.png", "b-landmarks.png", "b.png"]
    a, b = texts(figures[0]), texts(figures[2])
    assert "fear 6\nanger 4" in a
    assert "no votes" in b
    assert ("1 of 2\n50.00%" in b) == (mode != "none")
    assert ("faces by label, cut out by their box" in a) == (mode == "crop")
    assert "no landmarks" in texts(figures[1])

    label.run(params("a"))
    assert sorted(path.name for path in Path("plots/label").iterdir()) == ["a-landmarks.png", "a.png"]


def test_rows_are_taken_from_any_group_in_the_order_asked_for() -> None:
    # The places of the images of a table of several row groups.
    rows = [image(f"{row:05d}", "train", "fear") for row in range(2 * GROUP_ROWS + 3)]
    write_dataset("d", *rows)
    path = Path("data/ingested/d.parquet")
    asked = [2 * GROUP_ROWS + 2, 0, GROUP_ROWS, GROUP_ROWS - 1]

    assert list(take_parquet(path, "id", asked)) == [f"d/{row:05d}" for row in asked]
    assert list(take_parquet(path, "id", [])) == []
    with pytest.raises(UserError, match=r"d\.parquet: not a table with face"):
        next(take_parquet(path, "face", [0]))
    with pytest.raises(UserError, match=r"e\.parquet: not found"):
        next(take_parquet(Path("data/ingested/e.parquet"), "id", [0]))
