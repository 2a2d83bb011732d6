"""The report in a browser: no errors, no requests, light and dark, phone and screen, and axe's accessibility checks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as BrowserPage

from pipeline.report.page import render
from pipeline.report.run import FinishedRun
from pipeline.tables import paths
from scripts.screenshots import CHROMIUM
from tests import finished
from tests.test_report import HOSTILE, Folder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="found no chromium on the PATH")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three runs. Names in the third run look like markup."""
    root = tmp_path_factory.mktemp("runs")
    finished.write(root / "first")
    finished.write(root / "second", answers=1, word="two")
    finished.write(root / "third", ["neutral", *HOSTILE[:2]], seed=2, word="".join(HOSTILE))
    runs = [FinishedRun(Folder(root / name)) for name in ("first", "second", "third")]
    (root / "single.html").write_text(render(runs[:1]).html)
    (root / "report.html").write_text(render(runs).html)
    (root / "hostile.html").write_text(render(runs[::-1]).html)
    return root / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )


def opened(
    browser: Browser, file: Path, width: int = 1440, scheme: str = "light"
) -> tuple[BrowserPage, list[str]]:
    """Open a file. Return its page, and a list that collects messages, errors and requests."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith("data:") or faults.append(request.url))
    page.goto(file.as_uri())
    assert faults.pop(0) == file.as_uri()
    return page, faults


@pytest.mark.parametrize(
    ("width", "scheme"), [(375, "dark"), (375, "light"), (1440, "dark"), (1440, "light")]
)
def test_it_opens_without_a_fault(browser: Browser, file: Path, width: int, scheme: str) -> None:
    page, faults = opened(browser, file, width, scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)")
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert faults == []


@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1440, "light")])
def test_axe_finds_no_fault(browser: Browser, file: Path, width: int, scheme: str) -> None:
    page, _ = opened(browser, file, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["impact"], rule["nodes"][0]["html"]) for rule in found] == []


def test_scores_come_first_and_losses_of_a_gan_are_folded(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file.with_name("single.html"))
    titles = [
        "Scores",
        "Confusion on test",
        "Curves of training",
        "Most confident mistakes",
        "All faces",
        "Data",
    ]
    titles += ["Alignment", "Synthetic faces", "Parameters", "Hashes", "All values"]
    assert page.locator("h2").all_inner_texts() == titles
    assert page.evaluate("document.querySelector('#scores').getBoundingClientRect().bottom") < 2 * 900
    synthetic = page.locator("#synthetic")
    assert synthetic.locator("details[open] summary").all_inner_texts() == ["Synthetic faces: fear"]
    assert synthetic.locator("details:not([open]) summary").all_inner_texts() == [
        "Training of the GAN: all, loss"
    ]


def test_names_that_hold_markup_do_nothing(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file.with_name("hostile.html"))
    page.get_by_label("True class").select_option(HOSTILE[0])
    assert page.locator("#gallery li:visible").count() > 0
    assert faults == []


def test_runs_are_sorted_and_filtered(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file)

    def names() -> list[str]:
        return page.locator("#runs tbody tr:visible th").all_inner_texts()

    def column(heading: str) -> list[float]:
        place = page.locator("#runs thead th").all_text_contents().index(heading)
        rows = "[...document.querySelectorAll('#runs tbody tr')]"
        return page.evaluate(f"{rows}.map((row) => +row.cells[{place}].querySelector('data').value)")

    page.get_by_text("All scores of all runs").click()
    assert names() == ["first", "second", "third"]
    heading = page.locator("#runs thead th", has_text="test: macro F1")
    heading.get_by_role("button").click()
    assert column("test: macro F1") == sorted(column("test: macro F1"))
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert column("test: macro F1") == sorted(column("test: macro F1"), reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"

    page.get_by_label("Runs with").fill("SEC")
    assert names() == ["second"]
    assert page.locator("#runs-count").inner_text() == "1 run"
    page.get_by_label("Runs with").fill("")
    shown = page.locator("#runs thead th:visible").all_inner_texts()
    assert not [text for text in shown if text.startswith(("train:", "valid:"))]
    page.locator("#runs-split").select_option("valid")
    shown = page.locator("#runs thead th:visible").all_inner_texts()
    assert not [text for text in shown if text.startswith(("train:", "test:"))]
    assert faults == []


def test_mistakes_are_chosen_by_class_and_from_the_confusion_matrix(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file, 375)
    faces = page.locator("#gallery li:visible")
    everything = faces.count()
    page.get_by_label("True class").select_option("fear")
    shown = faces.evaluate_all("(items) => items.map((item) => item.dataset.true)")
    assert 0 < len(shown) < everything
    assert set(shown) == {"fear"}
    link = page.get_by_role("link", name="faces of happiness predicted as neutral").first
    count = int(link.locator("b").inner_text())
    link.click()
    pairs = faces.evaluate_all("(items) => items.map((item) => [item.dataset.true, item.dataset.predicted])")
    assert pairs == [["happiness", "neutral"]] * count
    assert page.locator("#mistakes-count").inner_text().split()[0] == str(count)
    assert page.locator("#predicted-class").input_value() == "neutral"
    assert faults == []


def test_a_comparison_begins_with_what_differs(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file)
    titles = ["What differs", "Scores compared", "Curves of training", "Mistakes compared", "Scores of first"]
    assert page.locator("h2").all_inner_texts()[:5] == titles
    assert page.locator("#differences table").first.bounding_box()["y"] < 300


def test_curves_show_their_values_and_runs_can_be_switched_off(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file)
    plot, readout = page.locator(".plot"), page.locator(".plot output")
    lines = page.locator(".plot .line:visible")
    assert plot.count() == 1
    assert lines.count() == 3 * 2
    plot.scroll_into_view_if_needed()
    assert not readout.is_visible()
    plot.hover()  # in the middle: the second of three epochs
    shown = readout.locator("span").all_text_contents()
    assert shown[0] == "epoch 2"
    assert shown[1:3] == ["0.7500 train, first", "0.8750 valid, first"]
    plot.focus()
    page.keyboard.press("End")
    assert readout.locator("span").all_text_contents()[:3] == [
        "epoch 3",
        "0.5000 train, first",
        "1 valid, first",
    ]
    page.get_by_role("button", name="first").click()
    assert lines.count() == 2 * 2
    page.get_by_role("button", name="train").click()
    assert lines.count() == 2
    plot.focus()
    page.keyboard.press("Home")
    assert readout.locator("span").all_text_contents()[1] == "1.250 valid, second"
    assert faults == []


def test_all_faces_are_searched_filtered_and_sorted(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file)
    rows = pq.read_table(file.with_name("first") / paths.PREDICTIONS).to_pylist()
    album, count = page.locator("#album"), page.locator("#album-count")
    faces = page.locator("#album-faces li")
    assert count.inner_text() == f"1 to 60 of {len(rows)} faces"
    album.get_by_role("button", name="Next").click()
    assert count.inner_text() == f"61 to {len(rows)} of {len(rows)} faces"
    assert faces.count() == len(rows) - 60

    def ids() -> list[str]:
        return [text.split(" · ")[0] for text in faces.locator(".id").all_inner_texts()]

    page.locator("#album-split").select_option("test")
    page.locator("#album-answer").select_option("wrong")
    wrong = {
        row["id"]: max(row["probabilities"])
        for row in rows
        if row["split"] == "test" and row["label"] != row["predicted"]
    }
    assert set(ids()) == wrong.keys()
    album.get_by_label("Sort by").select_option("confidence, lowest first")
    assert ids() == sorted(wrong, key=wrong.get)
    album.get_by_label("Confidence from").fill("0.7")
    assert set(ids()) == {id_ for id_, confidence in wrong.items() if confidence >= 0.7}
    album.get_by_label("Confidence from").fill("0")
    page.locator("#album-answer").select_option("any")
    page.locator("#album-split").select_option("any")
    page.locator("#album-label").select_option("fear")
    page.locator("#album-predicted").select_option("neutral")
    assert set(ids()) == {
        row["id"] for row in rows if (row["label"], row["predicted"]) == ("fear", "neutral")
    }
    page.locator("#album-label").select_option("any")
    page.locator("#album-predicted").select_option("any")
    page.locator("#album-id").fill("TOY00012")
    assert ids() == ["sample/toy00012"]
    image = faces.locator(".thumb").evaluate("(box) => getComputedStyle(box).backgroundImage")
    assert image.startswith('url("data:image/webp')
    assert faults == []


def test_the_map_shows_a_face_and_chooses_a_region(browser: Browser, file: Path) -> None:
    page, faults = opened(browser, file)
    table = pq.read_table(file.with_name("first") / paths.PREDICTIONS)
    x, y = (table[axis].to_numpy() for axis in "xy")
    canvas = page.locator("#album-map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    # The longer axis spans the map up to its margin of 8 pixels.
    span = max(np.ptp(x), np.ptp(y))
    scale = (box["width"] - 16) / span
    left = box["x"] + 8 + (x - x.min() + (span - np.ptp(x)) / 2) * scale
    top = box["y"] + box["height"] - 8 - (y - y.min() + (span - np.ptp(y)) / 2) * scale
    face = int(np.argmax(x))
    page.mouse.move(float(left[face]), float(top[face]))
    assert table["id"][face].as_py() in page.locator(".map .near").inner_text()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] - 1, steps=3)
    page.mouse.up()
    inside = int((left >= middle).sum())
    assert page.locator("#album-count").inner_text().endswith(f"of {inside} faces")
    page.mouse.click(middle, box["y"] + 1)
    assert page.locator("#album-count").inner_text().endswith(f"of {len(x)} faces")
    assert faults == []


def test_nothing_is_folded_on_paper(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file)
    folded = page.locator("details:not([open])").count()
    page.evaluate(
        "addEventListener('beforeprint', () => (window.left = document.querySelectorAll('details:not([open])').length))"
    )
    assert folded > 0
    page.pdf()
    assert page.evaluate("window.left") == 0
    assert page.locator("details:not([open])").count() == folded
