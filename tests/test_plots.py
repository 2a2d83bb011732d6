import csv
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.figures import scores

CLASSES = ["neutral", "happiness", "fear"]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def dark_blue(path: Path) -> tuple[float, float]:
    """Return the mean place (x, y) of dark blue pixels as shares of the width and height of the matrix."""
    image = pixels(path)
    image = image[:, : int(0.75 * image.shape[1])]  # without the colour bar
    y, x = np.nonzero((image[..., 2] > image[..., 0] + 60) & (image[..., 0] < 40))
    return float(x.mean()), float(y.mean())


def test_dvc_reads_the_confusion_from_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)

    scores.confusion_table(tmp_path / "confusion.csv", "test", labels, predicted, CLASSES)

    table = pd.read_csv(tmp_path / "confusion.csv")
    assert list(table.columns) == ["split", "actual", "predicted"]
    assert set(table["split"]) == {"test"}
    for (actual, said), count in table.groupby(["actual", "predicted"]).size().items():
        pair = (labels == CLASSES.index(actual)) & (predicted == CLASSES.index(said))
        assert count == pair.sum()
    with (tmp_path / "confusion.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 201


def test_rows_of_the_confusion_matrix_are_true_and_columns_predicted(tmp_path: Path) -> None:
    first, last = np.zeros(10, int), np.full(10, 2)

    scores.confusion_matrix(tmp_path / "right.png", "test", first, first, CLASSES)
    scores.confusion_matrix(tmp_path / "taken for the last.png", "test", first, last, CLASSES)
    scores.confusion_matrix(tmp_path / "taken for the first.png", "test", last, first, CLASSES)

    left, top = dark_blue(tmp_path / "right.png")
    right, still_top = dark_blue(tmp_path / "taken for the last.png")
    still_left, bottom = dark_blue(tmp_path / "taken for the first.png")
    assert still_top == pytest.approx(top, abs=3)
    assert right > left + 50
    assert still_left == pytest.approx(left, abs=3)
    assert bottom > top + 50


def test_bars_of_the_reliability_diagram_are_as_high_as_the_accuracy(tmp_path: Path) -> None:
    # Half of the images at 55 % confidence and a quarter of those at 85 % are right.
    confidence = np.repeat([0.55, 0.85], 100)
    right = np.arange(200) % 100 < np.repeat([50, 25], 100)
    scores.reliability(
        tmp_path / "both.png", "test", 1 - right.astype(int), np.stack([confidence, 1 - confidence], 1)
    )

    image = pixels(tmp_path / "both.png")
    dark = np.abs(image - [0x2F, 0x7E, 0xBC]).max(axis=-1) < 3
    heights = dark[100:].sum(axis=0)
    first, second = heights[: image.shape[1] * 3 // 4].max(), heights[image.shape[1] * 3 // 4 :].max()
    assert second / first == pytest.approx(0.25 / 0.5, rel=0.03)


def test_the_reliability_diagram_counts_the_faces_of_each_bin(tmp_path: Path, figures: list[Figure]) -> None:
    confidence = np.random.default_rng(0).beta(6, 1, 30_000) / 2 + 0.5
    scores.reliability(
        tmp_path / "a.png", "test", np.zeros(30_000, int), np.stack([confidence, 1 - confidence], 1)
    )

    [figure] = figures
    lower = figure.axes[1]
    counts, edges = np.histogram(confidence, np.linspace(0, 1, 16))
    assert [bar.get_x() for bar in lower.patches] == pytest.approx(edges[:-1][counts > 0])
    assert [bar.get_height() for bar in lower.patches] == counts[counts > 0].tolist()
    assert [text.get_text() for text in lower.texts] == [f"{count:,}" for count in counts if count]
    boxes = [text.get_window_extent() for text in lower.texts]
    assert not [one for one, other in combinations(boxes, 2) if one.overlaps(other)]
    assert all(box.y1 <= lower.get_window_extent().y1 for box in boxes)


@pytest.mark.parametrize("confidence", [0.5, 1.0])
def test_one_face_has_a_reliability_diagram(tmp_path: Path, confidence: float) -> None:
    scores.reliability(
        tmp_path / "one.png", "valid", np.zeros(1, int), np.array([[confidence, 1 - confidence]], np.float32)
    )

    assert pixels(tmp_path / "one.png").shape == (748, 682, 3)


def test_the_sheet_shows_every_face_in_its_colours(tmp_path: Path) -> None:
    faces = np.zeros((10, 32, 32, 3), np.uint8)
    faces[:9, ..., 0] = 255  # red
    faces[9, ..., 2] = 255  # blue, the second in the second row

    scores.mistakes_sheet(tmp_path / "mistakes.png", "test", faces, ["fear\n→ anger 0.97"] * 10)

    image = pixels(tmp_path / "mistakes.png")
    assert 600 <= image.shape[1] <= 1200  # readable in a README
    red, blue = ((image == colour).all(axis=-1) for colour in ([255, 0, 0], [0, 0, 255]))
    assert red.sum() == pytest.approx(9 * blue.sum(), rel=0.05)
    y, x = np.nonzero(blue)
    assert y.min() > image.shape[0] / 2
    assert image.shape[1] / 8 < x.mean() < image.shape[1] / 4
    assert not red[y.min() :, x.max() :].any()


def test_grey_faces_stay_grey(tmp_path: Path) -> None:
    faces = np.full((1, 20, 20, 1), 200, np.uint8)

    scores.mistakes_sheet(tmp_path / "mistakes.png", "valid", faces, ["fear\n→ anger 0.97"])

    assert (pixels(tmp_path / "mistakes.png") == 200).all(axis=-1).sum() > 10_000


def test_a_network_without_mistakes_has_a_sheet(tmp_path: Path) -> None:
    scores.mistakes_sheet(tmp_path / "mistakes.png", "test", np.empty((0, 48, 48, 1), np.uint8), [])

    assert (pixels(tmp_path / "mistakes.png") < 128).any()  # the title says so


def test_images_do_not_depend_on_the_user_or_the_time(tmp_path: Path) -> None:
    def draw(folder: Path) -> list[bytes]:
        labels = np.array([0, 1, 2, 2])
        scores.confusion_matrix(folder / "confusion.png", "test", labels, labels[::-1], CLASSES)
        face = np.arange(48 * 48, dtype=np.uint8).reshape(1, 48, 48, 1)
        scores.mistakes_sheet(folder / "mistakes.png", "test", face, ["fear\n→ happiness 0.51"])
        scores.reliability(folder / "reliability.png", "test", labels, np.eye(3)[labels[::-1]])
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    once = draw(tmp_path / "once")
    with matplotlib.rc_context(
        {"font.size": 20, "image.cmap": "gray", "axes.facecolor": "black", "savefig.dpi": 50}
    ):
        again = draw(tmp_path / "again")

    assert once == again
    assert Image.open(tmp_path / "once" / "confusion.png").text == {}
