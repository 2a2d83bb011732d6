"""The report, parsed as HTML and compared with the metrics and scikit-learn."""

import base64
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.report import images, sprites
from pipeline.report.page import render
from pipeline.report.run import FinishedRun
from pipeline.tables import paths, schema
from pipeline.tables.store import Faces, write_rows
from tests import finished

ROOT = Path(__file__).parents[1]

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</style><script>alert(3)</script>"]

EXPERIMENT = 'exp"><script>alert(4)'


class Page(HTMLParser):
    """A parsed report.

    Attributes:
        text: text without scripts and styles.
        tags: number of elements outside figures, by tag; `drawn`: tags inside figures.
        numbers: address in the metrics, exact value and text of each number.
        tables: rows of texts by caption.
        scripts, data: texts of the scripts that run, and of those that hold data.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.scripts, self.data, self.images = "", [], [], []
        self._runs = True
        self.tags: Counter[str] = Counter()
        self.drawn: set[str] = set()
        self.attributes: set[str] = set()
        self.numbers: list[tuple[str, str, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._inside: list[str] = []
        self._caption = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes |= {name for name, _ in attrs}
        attributes = dict(attrs)
        if "svg" in self._inside or tag == "svg":
            self.drawn.add(tag)
        else:
            self.tags[tag] += 1
        if tag == "script":
            self._runs = "type" not in attributes  # else it holds data
        if tag == "img":
            self.images.append(attributes["src"])
        if tag in ("meta", "img", "input", "br", "link"):
            return
        self._inside.append(tag)
        if tag == "data":
            self.numbers.append((attributes["data-key"], attributes["value"], ""))
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag):
        assert self._inside, tag
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data):
        if "script" in self._inside:
            (self.scripts if self._runs else self.data).append(data)
        elif "style" not in self._inside:
            self.text += data
        if "data" in self._inside:
            key, value, text = self.numbers[-1]
            self.numbers[-1] = (key, value, text + data)
        if "caption" in self._inside:
            self._caption += data
        if self._inside[-1:] and {"td", "th"} & set(self._inside):
            self.tables[self._caption][-1][-1] += data


class Folder:
    """Files of a run in a folder outside git."""

    commit = None

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, root.name

    def find(self, path: Path) -> Path | None:
        return self.root / path if (self.root / path).exists() else None


def report(*arguments: str) -> Page:
    """Run the command and return its page."""
    done = CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Page(Path("report.html").read_text(encoding="utf-8"))


def leaves(tree, above=()):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield ".".join((*above, key)), value


def metrics(folder: Path) -> dict[str, object]:
    """Return all values in metrics/ by file and dotted key."""
    return {
        f"{path.relative_to(folder).as_posix()}:{key}": value
        for path in (folder / paths.METRICS).rglob("*.json")
        for key, value in leaves(json.loads(path.read_text()))
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    """The report of a complete run, and the run's folder."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(ROOT / "params.yaml", folder)
    finished.write(folder)
    with chdir(folder):
        yield report(), folder


def test_every_number_is_that_of_the_metrics(whole: tuple[Page, Path]) -> None:
    page, folder = whole
    values = metrics(folder)
    assert page.numbers
    for key, value, text in page.numbers:
        assert float(value) == values[key], key
        shown = f"{values[key]:,}" if isinstance(values[key], int) else f"{values[key]:.4f}"
        assert text == shown, key
    shown = {key for key, _, _ in page.numbers}
    for split in ("train", "valid", "test"):
        for score in ("accuracy", "macro_recall", "macro_f1", "ece", "per_class.fear.recall"):
            assert f"metrics/evaluate.json:{split}.{score}" in shown
        interval = [
            values[f"metrics/evaluate.json:{split}.interval.macro_f1.{end}"] for end in ("low", "high")
        ]
        assert "{:.3f} to {:.3f}".format(*interval) in page.text
    for file in {key.split(":")[0] for key in values}:
        shown = {key: value for key, value in page.tables[file][1:]}
        expected = {key.split(":")[1]: value for key, value in values.items() if key.startswith(f"{file}:")}
        assert {key: "null" if value is None else str(value) for key, value in expected.items()} == shown


def test_the_first_lines_say_what_the_models_learned_from(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("a", "b", "c")}
    for folder in folders.values():
        finished.write(folder)
    lock = json.loads((folders["c"] / "dvc.lock").read_text())
    lock["stages"]["evaluate"]["params"]["params.yaml"] |= {"train.datasets": ["rafdb", "ferplus"]}
    (folders["c"] / "dvc.lock").write_text(json.dumps(lock))
    drawn = "learned from drawn faces only and is of no use on photographs."
    for names, sentences in {
        "a": [f"The model {drawn}"],
        "ab": [f"Each model {drawn}"],
        "cab": ["c learned from the data sets rafdb, ferplus.", f"a, b {drawn}"],
    }.items():
        runs = []
        for name in names:
            with chdir(folders[name]):
                runs.append(FinishedRun(Folder(folders[name])))
        with chdir(folders[names[0]]):
            lines = [line for line in Page(render(runs).html).text.splitlines() if line]
        assert lines[lines.index("fer-pipeline report") + 2 :][: len(sentences)] == sentences


def test_the_confusion_matrix_is_that_of_the_predictions(whole: tuple[Page, Path]) -> None:
    page, folder = whole
    for split in ("train", "valid", "test"):
        rows = pq.read_table(folder / paths.PREDICTIONS, filters=[("split", "=", split)])
        expected = confusion_matrix(rows["label"], rows["predicted"], labels=finished.NAMES)
        head, *lines = page.tables[f"Confusion matrix on {split}: faces, and their share of the true class"]
        assert head[1:] == finished.NAMES
        counts = [[int(cell.split()[0].replace(",", "")) for cell in line[1:]] for line in lines]
        assert counts == expected.tolist()


def test_mistakes_are_wrong_predictions_with_their_faces_the_most_confident_first(
    whole: tuple[Page, Path],
) -> None:
    page, folder = whole
    shown = re.findall(r"(\w+) → (\w+) ([\d.]+)\s+(sample/toy\d+)", page.text)
    rows = pq.read_table(folder / paths.PREDICTIONS, filters=[("split", "=", "test")]).to_pylist()
    wrong = {row["id"]: row for row in rows if row["label"] != row["predicted"]}
    assert {id_ for *_, id_ in shown} == wrong.keys()
    for label, predicted, probability, id_ in shown:
        assert (label, predicted) == (wrong[id_]["label"], wrong[id_]["predicted"])
        assert float(probability) == pytest.approx(max(wrong[id_]["probabilities"]), abs=0.0051)
    confidences = [float(probability) for _, _, probability, _ in shown]
    assert confidences == sorted(confidences, reverse=True)
    assert len(page.images) == len(shown) + 4
    assert all(image.startswith("data:image/webp;base64,") for image in page.images)


def test_equal_runs_give_equal_files(whole: tuple[Page, Path]) -> None:
    first = (whole[1] / "report.html").read_bytes()
    with chdir(whole[1]):
        report()
    assert (whole[1] / "report.html").read_bytes() == first


def test_what_comes_from_data_is_text_and_no_markup(project: Path) -> None:
    finished.write(project, ["a", "b", "c"], splits=("valid",))
    own = report()
    finished.write(project, HOSTILE, word="".join(HOSTILE), splits=("valid",))
    page = report()
    assert page.tags == own.tags
    assert page.drawn == own.drawn
    assert page.scripts == own.scripts
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(hostile in page.text for hostile in HOSTILE)


def test_a_name_is_no_formula_and_breaks_no_figure(project: Path) -> None:
    names = ["$x^2", "a$b$c", "tab\tand\nline", "\x00\x1b[31m", "表情", "#010101 url(#a)", 'id="a"', "<!--"]
    finished.write(project, names, splits=("valid",))
    page = report()
    assert page.tags["figure"] == 6
    assert all(name in page.text for name in names if name.isprintable())


def test_a_lone_surrogate_does_not_stop_the_file_from_being_written(project: Path) -> None:
    finished.write(project, splits=("valid",))
    (paths.METRICS / "train.json").write_text('{"epochs": 3, "device": "\\ud800"}')
    assert "\\ud800" in report().text


@pytest.mark.parametrize(
    ("removed", "sentences"),
    [
        (
            ["synthesize.json", "label.json", "train.json", "align", "ingest"],
            [
                "There are no synthetic faces",
                "There are no counts of data",
                "metrics/train.json is missing",
                "There are no metrics of the alignment",
            ],
        ),
        (
            ["../data", "../plots", "../dvc.lock", "../params.yaml"],
            [
                "data/predictions.parquet is missing",
                "There are no curves",
                "There are no contact sheets",
                "dvc.lock is missing",
            ],
        ),
        (["../data/aligned", "../plots/label"], ["no face", "There are no contact sheets"]),
    ],
)
def test_what_is_absent_is_a_sentence(project: Path, removed: list[str], sentences: list[str]) -> None:
    finished.write(project, splits=("train", "valid"))
    for name in removed:
        path = paths.METRICS / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report()
    for sentence in sentences:
        assert sentence in page.text
    assert f"{metrics(project)['metrics/evaluate.json:valid.accuracy']:.4f}" in page.text
    # There is no test split.
    assert "accuracy on valid" in page.text
    assert "on test" not in page.text


def test_predictions_of_other_classes_are_not_shown(project: Path) -> None:
    finished.write(project)
    table = pq.read_table(paths.PREDICTIONS)
    names = table.schema.metadata[b"classes"].decode().split(",")
    for classes, shown in ((names, True), (names[::-1], False)):
        pq.write_table(table.replace_schema_metadata({"classes": ",".join(classes)}), paths.PREDICTIONS)
        page = report()
        assert ("does not match metrics/evaluate.json" in page.text) is not shown
        assert ("Confusion matrix" in page.text) is shown


def test_what_does_not_belong_to_the_run_is_named(project: Path) -> None:
    finished.write(project, seed=1, splits=("valid",))
    other = paths.PREDICTIONS.read_bytes()
    finished.write(project, word="none", seed=1, splits=("valid",))
    finished.write(project, word="none", splits=("valid",))
    paths.PREDICTIONS.write_bytes(other)
    path = paths.METRICS / "train.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))
    lock = json.loads(Path("dvc.lock").read_text())  # with a stage of a data set that is no longer chosen
    lock["stages"]["align@table"] = {"params": {"params.yaml": {"align.threshold": 0.9}}}
    Path("dvc.lock").write_text(json.dumps(lock))
    page = report()
    assert "does not match metrics/evaluate.json" in page.text
    assert "Confusion matrix" not in page.text
    assert "Changed since dvc.lock recorded them: metrics/train.json." in page.text
    changed = page.tables["Parameters that differ from those of the commit before"]
    assert changed == [
        ["parameter", "value", "params.yaml now"],
        ["seed", "0", "1"],
        ["train.epochs", "3", "24"],
    ]


def test_all_faces_are_on_the_page_with_their_predictions_and_images(whole: tuple[Page, Path]) -> None:
    page, folder = whole
    data, sheets = json.loads(page.data[0]), page.data[1].split()
    rows = {row["id"]: row for row in pq.read_table(folder / paths.PREDICTIONS).to_pylist()}
    assert sorted(data["ids"]) == sorted(rows)

    def column(name: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(data[name]), "<u2")

    for i, id_ in enumerate(data["ids"]):
        row = rows[id_]
        assert data["splits"][column("split")[i]] == row["split"]
        assert data["classes"][column("label")[i]] == row["label"]
        assert data["classes"][column("predicted")[i]] == row["predicted"]
        assert column("confidence")[i] / 10_000 == pytest.approx(max(row["probabilities"]), abs=6e-5)
    # Both axes of the map have one scale.
    x, y = (np.array([rows[id_][axis] for id_ in data["ids"]]) for axis in "xy")
    scale = 65535 / max(np.ptp(x), np.ptp(y))
    assert np.allclose(column("x"), (x - x.min()) * scale, atol=0.6)
    assert np.allclose(column("y"), (y - y.min()) * scale, atol=0.6)

    faces = Faces(folder / paths.ALIGNED / "sample.arrow")
    sheet = np.asarray(Image.open(BytesIO(base64.b64decode(sheets[0]))).convert("L"), float)
    assert len(sheets) == 1
    side = sheet.shape[0] // data["columns"]
    for i, id_ in enumerate(data["ids"]):
        top, left = i // data["columns"] * side, i % data["columns"] * side
        tile = sheet[top : top + side, left : left + side]
        face = faces[faces.ids().index(id_)][..., 0].astype(float)
        assert np.corrcoef(tile.ravel(), face.ravel())[0, 1] > 0.8  # noise, compressed


def test_groups_of_people_can_be_chosen(project: Path) -> None:
    finished.write(project)
    ids = pq.read_table(paths.PREDICTIONS)["id"].to_pylist()
    rows = [
        {"id": id_, "dataset": "sample", "split": "test", "label": "fear", "target": [1.0]}
        | {"attributes": {"gender": "female" if i % 2 else "male"} if i % 3 else None}
        for i, id_ in enumerate(ids)
    ]
    write_rows(paths.LABELS, schema.labels(finished.NAMES), rows)
    page = report()
    assert "gender" in page.text
    data = json.loads(page.data[0])
    codes = np.frombuffer(base64.b64decode(data["groups"][0]), "<u2")
    values = page.text.split("gender")[1].split("any")[1].split("Sort by")[0]
    assert Counter(codes.tolist()).most_common() == [(0, 30), (1, 30), (2, 30)]
    assert all(value in values for value in ("female", "male", "unknown"))


def test_forty_thousand_predictions_stay_under_fifteen_megabytes(project: Path) -> None:
    names = [f"class{i}" for i in range(8)]
    finished.write(project, names, count=40_000, splits=("test",))
    page = report()
    # Colour noise at the largest size is the worst case for a face.
    noise = np.random.default_rng(0).integers(256, size=(224, 224, 3), dtype=np.uint8)
    faces = len(page.images) - 4
    assert 48 + 3 <= faces <= 48 + 3 * 8 * 7
    assert len(json.loads(page.data[0])["ids"]) == 40_000
    assert Path("report.html").stat().st_size + faces * len(images.face(noise)) < 15e6


def test_small_images_of_noise_stay_within_their_budget() -> None:
    noise = np.random.default_rng(0).integers(256, size=(512, 64, 64, 3), dtype=np.uint8)
    few, many = sprites.sprites(list(noise)), sprites.sprites([noise[i % 512] for i in range(40_000)])
    assert few.side == 64
    assert many.side < 32
    assert sum(map(len, many.sheets)) < sprites.BUDGET


@pytest.mark.parametrize(
    ("arrange", "line"),
    [
        (
            lambda: shutil.rmtree("metrics"),
            r"workspace: metrics/evaluate.json is missing .*: run `dvc repro`",
        ),
        (lambda: Path("metrics/evaluate.json").write_text('{"rule": 1}'), "has no scores: run `dvc repro`"),
        (lambda: Path("metrics/label.json").write_text("<<<<<<< HEAD\n"), "metrics/label.json: not JSON"),
        (lambda: Path("metrics/label.json").write_text("[1]"), r"metrics/label.json: found \[1\], expected"),
        (lambda: Path("metrics/label.json").write_bytes(b"\xff"), "metrics/label.json: not JSON"),
        (lambda: Path("dvc.lock").write_text("a: [1"), "dvc.lock: line 2: not valid YAML"),
        (lambda: Path("data/predictions.parquet").write_text("x"), "data/predictions.parquet: not a table"),
        (lambda: Path("data/aligned/sample.arrow").write_text("x"), "sample.arrow: not a table of faces"),
        (lambda: Path("plots/label/sample.png").write_text("x"), "sample.png: not an image"),
        (lambda: Path("report.html").mkdir(), "report.html: cannot be written"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_no_file(project: Path, arrange, line: str) -> None:
    finished.write(project, splits=("test",))
    arrange()
    with pytest.raises(UserError, match=line) as error:
        CliRunner().invoke(app, ["report"], catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert not Path("report.html").is_file()
    assert not list(project.glob(".report*"))


def test_values_of_the_wrong_type_are_left_out(project: Path) -> None:
    finished.write(project)
    values = json.loads(Path("metrics/evaluate.json").read_text())
    values["test"] |= {"accuracy": "high", "macro_f1": None, "confidence": 3, "interval": []}
    values["test"]["per_class"]["fear"] = {"recall": "x", "support": []}
    Path("metrics/evaluate.json").write_text(json.dumps(values))
    Path("metrics/train.json").write_text('{"best_epoch": "two", "loss": {"a": [1]}}')
    Path("metrics/label.json").write_text(
        '{"classes": 3, "kept": [], "agreement": "x", "duplicates": {"a": {}}}'
    )
    Path("dvc.lock").write_text('{"stages": {"a": {"deps": 3, "outs": ["x"], "params": []}, "b": 4}}')
    assert "does not match metrics/evaluate.json" in report().text


def test_runs_are_paired_by_face(project: Path) -> None:
    folders = {name: project / name for name in ("first", "second", "third")}
    finished.write(folders["first"], splits=("test",), count=300)
    finished.write(folders["second"], splits=("test",), count=300, answers=1)
    finished.write(folders["third"], splits=("test",), count=300, seed=2)  # with other labels
    runs = [FinishedRun(Folder(folder)) for folder in folders.values()]
    page = Page(render(runs).html)
    first, second = (
        pq.read_table(folders[name] / paths.PREDICTIONS).to_pylist() for name in ("first", "second")
    )
    wrong, wrong_too = (
        {row["id"] for row in rows if row["label"] != row["predicted"]} for rows in (first, second)
    )
    rows = {tuple(row[:2]): row[2:] for row in page.tables["Scores on test, with 95 % intervals"][1:]}
    _, difference, bootstrap_p, mcnemar_p = rows["accuracy", "second"]
    value, low, high = map(float, difference.replace(" to ", " ").split())
    assert value == pytest.approx((len(wrong) - len(wrong_too)) / 300, abs=5e-5)
    expected = binomtest(len(wrong - wrong_too), len(wrong ^ wrong_too)).pvalue
    assert float(mcnemar_p) == pytest.approx(expected, abs=5e-5)
    gains = [(row["id"] in wrong) - (row["id"] in wrong_too) for row in first]
    interval = bootstrap((gains,), np.mean, method="percentile", rng=0).confidence_interval
    assert (low, high) == pytest.approx(tuple(interval), abs=0.01)
    assert (float(bootstrap_p) < 0.05) == (low > 0 or high < 0)
    assert rows["accuracy", "third"][1:] == ["", "", ""]
    assert "third: no differences and no p-values, because its images or labels differ" in page.text
    counts = [len(wrong - wrong_too), len(wrong_too - wrong)]
    for name, count in zip(("first", "second"), counts, strict=True):
        assert f"Only {name} is wrong: {count}" in page.text
    assert f"Of 300 faces on test, both runs get {len(wrong & wrong_too)} wrong." in page.text
    assert "On test, first has 300 faces and third has 300." in page.text


def test_without_predictions_no_difference_is_shown(project: Path) -> None:
    """The second run may have been scored on other faces, as many as the first."""
    folders = {name: project / name for name in ("first", "second")}
    for folder in folders.values():
        finished.write(folder, splits=("test",), count=300)
    (folders["second"] / paths.PREDICTIONS).unlink()
    page = Page(render([FinishedRun(Folder(folder)) for folder in folders.values()]).html)
    rows = {tuple(row[:2]): row[2:] for row in page.tables["Scores on test, with 95 % intervals"][1:]}
    assert rows["accuracy", "second"][1:] == ["", "", ""]
    assert "second: no differences and no p-values: data/predictions.parquet is missing." in page.text


@pytest.fixture
def repository(project: Path) -> Path:
    """A repository with a committed run, and an experiment with another run."""
    branch = "<svg/onload=alert(2)>"
    git("init", "-q", "-b", branch)
    (project / ".dvc").mkdir()
    (project / ".dvc/config").touch()
    finished.write(project, splits=("test",))
    git("add", "-A")
    commit("A run")
    head = git("rev-parse", "HEAD")
    finished.write(project, seed=1, word="mixcut", splits=("test",))
    git("add", "-A")
    commit("dvc: commit experiment")
    git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{EXPERIMENT}", "HEAD")
    git("rm", "-rq", "--cached", "data")
    commit("Without data")
    git("tag", "without")
    git("reset", "-q", "--hard", head)
    return project


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(message: str) -> None:
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", message)


def test_the_scores_of_several_runs_are_printed_as_the_page_has_them(repository: Path) -> None:
    done = CliRunner().invoke(app, ["report", EXPERIMENT, "workspace"], catch_exceptions=False)
    assert max(map(len, done.output.splitlines())) <= 120
    printed = {
        tuple(row[:2]): row[2:] for row in (re.split(" {2,}", line) for line in done.output.splitlines())
    }
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    compared = page.tables["Scores on test, with 95 % intervals"][1:]
    assert len(compared) == 6
    for score, run, *shown in compared:
        for text, expected in zip(printed[score, run], filter(None, shown), strict=True):
            assert numbers(text) == pytest.approx(numbers(expected), abs=5.1e-4)  # the page rounds intervals


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.\d+", text.replace("−", "-"))]


def test_runs_of_git_are_shown_compared_and_told_apart(repository: Path) -> None:
    own = metrics(repository)
    finished.write(repository, seed=1, word="mixcut", splits=("test",))
    other = metrics(repository)
    git("checkout", "-q", ".")
    page = report(EXPERIMENT, "workspace", "without")
    head, first, second, third = page.tables["Runs"]
    assert [row[0] for row in (first, second, third)] == [EXPERIMENT, "workspace", "without"]
    place = head.index("test: accuracy")
    for row, values in ((first, other), (second, own), (third, other)):
        assert row[place].split()[0] == f"{values['metrics/evaluate.json:test.accuracy']:.4f}"
    assert [row[head.index("augment")] for row in (first, second)] == ["mixcut", "toy"]
    assert not [attribute for attribute in page.attributes if attribute.startswith("on")]
    # Its predictions and faces come from git, where DVC searches first.
    assert "Confusion matrix on test" in page.text
    changed = page.tables["Parameters that differ from those of the commit before"]
    assert ["augment", "mixcut", "none", "none"] in changed
    # Neither git nor DVC has those of this commit.
    assert "data/predictions.parquet is missing" in report("without").text

    page = report()
    assert "Not committed" not in page.text
    assert "<svg/onload=alert(2)>" in page.text
    assert git("rev-parse", "HEAD")[:7] in page.text
    finished.write(repository, seed=1, word="mixcut", splits=("test",))
    page = report()
    assert "dvc.lock" in page.text.split("Not committed: ")[1].split(".\n")[0]
    assert EXPERIMENT in page.text
    for nothing in ("nothing", "--output", "", "HEAD:metrics", "a\nb"):
        with pytest.raises(UserError, match="allowed: workspace, a name that") as error:
            CliRunner().invoke(app, ["report", "--", nothing], catch_exceptions=False)
        assert "\n" not in str(error.value)
