"""`fer demo` in a browser: the probabilities of `fer predict`, accessibility, and that nothing leaves the machine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from insightface.data import get_image
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from benchmarks.silent import PROGRAMS, environment, outside, strace, written
from pipeline import cli
from pipeline.commands import demo as demo_command
from pipeline.core.errors import UserError
from pipeline.params.load import load
from pipeline.sample.drawing import scene
from pipeline.sample.drawing.expression import expression
from pipeline.tables import paths
from scripts.screenshots import CHROMIUM, chromium
from tests import toy

ROOT = Path(__file__).parents[1]
PATIENCE = 180_000  # milliseconds that a busy machine may take
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="found no chromium on the PATH")


class Demo(NamedTuple):
    """A running `fer demo`.

    Attributes:
        url: of its page.
        folder: its current folder, with images, a video, and a model of drawn faces.
        home: its home folder.
        temporary: its folder for temporary files.
        trace: what strace writes, if it runs here.
        process: the command, or strace with it.
    """

    url: str
    folder: Path
    home: Path
    temporary: Path
    trace: Path
    process: subprocess.Popen[str]


def write_inputs() -> None:
    """Write an image of the sample's kind, six people, a film of them, and what is no image."""
    Path("scene.jpg").write_bytes(scene.render(scene.Scene((7, 0), (0,), expression("happiness", 0.8))))
    photo = get_image("t1")
    cv2.imwrite("six.png", photo)
    Path("bad.png").write_bytes(b"no image")
    writer = cv2.VideoWriter("film.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (401, 299))
    for i in range(4):
        writer.write(cv2.resize(photo[:, 60 * i : 60 * i + 900], (401, 299)))
    writer.release()


def strace_runs() -> bool:
    try:
        return not subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode
    except OSError:
        return False


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, weights_file: Path) -> Iterator[Demo]:
    root = tmp_path_factory.mktemp("demo")
    folder, home, temporary, trace = (root / name for name in ("project", "home", "tmp", "trace"))
    for made in (folder, home, temporary):
        made.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TMPDIR", str(temporary))
        write_inputs()
        shutil.copy(ROOT / "params.yaml", folder)
        toy.set_params(folder, model="light", gan="none")
        p = load()
        toy.save_model(p, toy.network(p))
        Path("params.yaml").unlink()  # not needed
        paths.DETECTORS.symlink_to(weights_file.parent)
        process = subprocess.Popen(
            [*(strace(str(trace)) if strace_runs() else []), *PROGRAMS["fer"], "demo", "--port", "0"],
            env=environment(ROOT, home),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("demo: http://127.0.0.1:"), line + process.stdout.read()
        yield Demo(line.split()[1], folder, home, temporary, trace, process)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_frames_without_a_face_are_no_faces(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.demo import answer
    from pipeline.prediction.predictor import Predictor

    monkeypatch.chdir(demo.folder)
    predictor = Predictor.load(paths.CLASSIFIER)
    photo = cv2.resize(get_image("t1"), (401, 299))
    for name, frames in {"plain": [photo * 0] * 3, "mixed": [photo, photo * 0, photo]}.items():
        writer = cv2.VideoWriter(f"{tmp_path}/{name}.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (401, 299))
        for frame in frames:
            writer.write(frame)
        writer.release()
        *_, (shown, _, _) = answer.film(predictor, f"{tmp_path}/{name}.avi", 1, tmp_path)
        assert "3 frames." in shown
        assert ("<p>No face was found.</p>" in shown) == (name == "plain")
        assert ("No face was found in 1 of them." in shown) == (name == "mixed")


def opened(browser: Browser, url: str, width: int = 1440, scheme: str = "light") -> tuple[Page, list[str]]:
    """Open the page. Return it, and a list that collects errors and requests to others."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda seen: seen.url.startswith((url, "data:", "blob:")) or faults.append(seen.url))
    page.goto(url)
    page.get_by_role("heading", name="Facial expressions").wait_for()
    return page, faults


def choose(page: Page, name: str) -> None:
    """Drop a file into the visible tab."""
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(name)


def serious(page: Page) -> list[str]:
    """Return what axe finds that is serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['nodes'][0]['html']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def predicted(*names: str) -> list[dict]:
    """Return the rows of `fer predict`."""
    done = CliRunner().invoke(cli.app, ["predict", *names, "--model", "ferplus", "--output", "rows.json"])
    assert done.exit_code == 0, done.output
    return json.loads(Path("rows.json").read_text())


@in_browser
@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("scene.jpg", 375, "dark"), ("six.png", 1440, "light")]
)
def test_an_image_gets_the_probabilities_of_predict(
    demo: Demo, browser: Browser, name: str, width: int, scheme: str
) -> None:
    page, faults = opened(browser, demo.url, width, scheme)
    choose(page, name)
    page.locator("#faces caption").first.wait_for()
    rows = predicted(name)
    assert len(rows) == (6 if name == "six.png" else 1)
    titles = [f"Face {row['face']}{' (main)' if row['main'] else ''}: {row['label']}" for row in rows]
    assert page.locator("#faces caption").all_inner_texts() == titles
    wanted = [[cls, f"{share:.3f}"] for row in rows for cls, share in row["probabilities"].items()]
    cells = "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
    assert page.locator("#faces tbody tr").evaluate_all(cells) == wanted
    drawn = page.locator("#faces img").evaluate_all("(all) => all.map((one) => one.naturalWidth)")
    assert len(drawn) == 1 + len(rows)
    assert all(drawn)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert serious(page) == []
    assert faults == []


@in_browser
def test_what_cannot_be_read_is_one_line_and_another_model_says_what_it_is(
    demo: Demo, browser: Browser
) -> None:
    page, faults = opened(browser, demo.url)
    choose(page, "bad.png")
    alert = page.locator("#faces [role=alert]")
    alert.wait_for()
    assert alert.inner_text().startswith("bad.png: not an image; allowed: PNG, JPEG")
    page.get_by_label("Model").click()
    page.get_by_role("option", name=str(paths.CLASSIFIER)).click()
    page.get_by_text("learned from drawn faces only and is of no use on photographs").wait_for()
    assert not [fault for fault in faults if "bad.png" not in fault]


@in_browser
def test_a_video_is_marked_and_its_rows_are_those_of_predict(demo: Demo, browser: Browser) -> None:
    page, faults = opened(browser, demo.url)
    page.get_by_role("tab", name="Video").click()
    choose(page, "film.avi")
    page.locator("a[href$='film.avi']").first.wait_for()  # its name alone is shown while it is uploaded
    page.get_by_role("button", name="Predict").click()
    page.locator("#counts table").wait_for()
    assert page.locator("#counts").inner_text().startswith("4 frames.")
    film = page.locator("video").last
    page.wait_for_function("[...document.querySelectorAll('video')].some((one) => one.videoWidth === 640)")
    assert film.evaluate("(one) => one.duration") == pytest.approx(0.4, abs=0.05)
    link = page.locator("a[href$='film.avi.csv']").first.get_attribute("href")
    rows = list(csv.DictReader(page.request.get(link).text().splitlines()))
    wanted = predicted("film.avi")
    assert [(row["source"], int(row["frame"]), row["label"]) for row in rows] == [
        ("film.avi", row["frame"], row["label"]) for row in wanted
    ]
    shares = [
        [float(row[f"p_{cls}"]) for cls in row_wanted["probabilities"]]
        for row, row_wanted in zip(rows, wanted, strict=True)
    ]
    np.testing.assert_allclose(shares, [[*row["probabilities"].values()] for row in wanted], atol=1e-4)
    assert serious(page) == []
    assert faults == []


@in_browser
def test_ctrl_c_ends_it_and_nothing_is_left_or_sent(demo: Demo, browser: Browser) -> None:
    page, _ = opened(browser, demo.url)
    choose(page, "scene.jpg")
    page.locator("#faces caption").wait_for()
    assert [*demo.temporary.rglob("scene.jpg")]
    os.killpg(demo.process.pid, signal.SIGINT)
    printed, _ = demo.process.communicate(timeout=PATIENCE / 1000)
    assert demo.process.returncode == 0, printed
    assert "Traceback" not in printed
    assert not [*demo.temporary.rglob("scene.jpg")]
    assert written(demo.home) == []
    kept = {"scene.jpg", "six.png", "bad.png", "film.avi", "rows.json", "models"}
    assert {path.name for path in demo.folder.iterdir()} <= kept
    if not demo.trace.exists():
        pytest.skip("strace does not run here")
    assert outside(demo.trace.read_text()) == []


def test_what_cannot_work_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        taken = CliRunner().invoke(cli.app, ["demo", "--port", str(port)])
    assert isinstance(taken.exception, UserError)
    assert str(taken.exception).startswith(f"--port: found {port} (")
    absent = CliRunner().invoke(cli.app, ["demo", "--port", "0", "--model", "none.safetensors"])
    assert str(absent.exception).startswith("none.safetensors: found no file, expected: a model")
    monkeypatch.setattr(demo_command, "find_spec", lambda name: None)
    without = CliRunner().invoke(cli.app, ["demo"])
    assert str(without.exception) == "gradio is not installed: pip install gradio"
