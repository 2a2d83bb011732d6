"""The documentation: its commands work, its pages are complete, and what it quotes is there."""

from __future__ import annotations

import ast
import contextlib
import html
import inspect
import io
import json
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from dvc import cli as dvc
from dvc.exceptions import DvcException
from dvc.rwlock import RWLockFileCorruptedError
from dvc.utils import hydra
from mkdocs.__main__ import cli as mkdocs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from scmrepo.git.backend import pygit2

from pipeline import params
from pipeline.core import git
from pipeline.experiments import recipes
from pipeline.params.methods import BLOCKS, choices
from scripts import readme_figure, screenshots
from scripts.documentation import hooks, pages, parameters, stages
from tests import doc_commands, doc_project, test_new_method, toy
from tests.doc_commands import ROOT
from tests.doc_project import execute

# A command of each shape is run in the small project, but for those that another test runs, taken from the page, ...
ELSEWHERE = {
    ("README.md", "Compare two augmentations"): "test_a_newcomer_gets_to_a_comparison_of_two_augmentations",
    ("docs/cluster.md", "Read data from a bucket"): "tests/test_storage.py",
    ("docs/cluster.md", "Train in several processes"): "tests/test_processes.py",
    ("docs/tutorials/ferplus.md", "2. Prepare the data once"): "test_a_papers_afternoon",
    ("docs/tutorials/ferplus.md", "3. Train nine networks"): "test_a_papers_afternoon",
    ("docs/tutorials/ferplus.md", "4. Write the table"): "test_a_papers_afternoon",
    ("docs/tutorials/ferplus.md", "5. Look at the runs, and send a report"): "test_a_papers_afternoon",
    ("docs/tutorials/ferplus.md", "6. Export the model with its card"): "test_a_papers_afternoon",
    ("docs/team.md", "Set up a remote"): "tests/test_team.py",
    ("docs/team.md", "Start from a fresh clone"): "tests/test_team.py",
    ("docs/team.md", "Version raw data"): "tests/test_team.py",
    ("docs/team.md", "Run one stage with only the data it reads"): "tests/test_team.py",
    ("docs/team.md", "Share experiments"): "tests/test_team.py",
    ("docs/team.md", "Use a second worktree"): "tests/test_team.py",
    ("docs/team.md", "Check pull requests"): "tests/test_team.py",
}
# ... or on any page, where they begin so.
TESTED = {
    "make test": ".ci/run",
    "fer demo": "tests/test_demo.py",
    "fer import": "tests/test_import.py",
    "fer ensemble ferplus-": "tests/test_ensemble.py",
    "fer recipe search": "tests/test_search.py",
    "fer share": "tests/test_share.py",
    "make docs": "the fixture `site`",
    "make pages": "test_make_pages_writes_the_page_of_a_new_method_and_keeps_what_is_written_by_hand",
    "make clean": "test_make_clean_keeps_what_cannot_be_made_again",
    "PET_NODE_RANK=1 fer train": "tests/test_processes.py",
    "pip install": "test_an_optional_package_is_known_and_brings_no_second_opencv",
    "python benchmarks/": "tests/test_benchmarks.py",
    "python scripts/lock.py": "tests/test_lock.py",
    "ray start": "tests/test_ray.py",
    "python -m pipeline sample": "tests/test_sample.py",
    "python -m scripts.method_figures": "tests/test_method_figures.py",
    "python -m scripts.readme_figure": "test_the_readmes_image_is_drawn",
    "python scripts/screenshots.py": "test_the_images_of_a_report_are_drawn",
    "dvc update": "tests/test_team.py",
    "dvc config cache.type": "tests/test_team.py",
    "dvc exp run --queue": "test_experiments_run_in_a_copy_of_the_project",
    "dvc exp run --run-all": "test_experiments_run_in_a_copy_of_the_project",
    "dvc exp run --temp": "test_experiments_run_in_a_copy_of_the_project",
}
EVIDENCE = ["README.md", "benchmarks/README.md", "docs/ferplus.md", "docs/synthetic.md"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Path]:
    """The small project, after `make demo`."""
    folder = tmp_path_factory.mktemp("docs") / "small"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        doc_project.make(folder, patch, programs)
        yield folder


def test_make_demo_runs_the_chain(small: Path) -> None:
    [command] = doc_commands.parsed("README.md", "make demo")
    assert "up to date" in execute(small, command)
    [named] = re.findall('"Stages: (.*)"', (ROOT / "Makefile").read_text())
    assert re.sub(r" \(.*?\)", "", named).split(", ") == list(stages.chain())


def test_a_newcomer_gets_to_a_comparison_of_two_augmentations(small: Path) -> None:
    commands = list(doc_commands.section("README.md", "Compare two augmentations"))
    *_, printed, compared = (execute(small, command) for command in commands)
    assert compared.startswith("Scores on test")
    assert "report: wrote report.html" in compared
    heads, _, *rows = (re.split("  +", line.strip()) for line in printed.splitlines() if line.strip())
    assert {row[0]: row[1] for row in rows} == {
        "HEAD": "test",
        "mixcut": "augment=mixcut",
        "cutmix": "augment=cutmix",
    }
    scores = json.loads((small / "metrics/evaluate.json").read_text())["test"]
    [last] = (row for row in rows if row[0] == "cutmix")
    assert float(last[3]) == pytest.approx(scores["accuracy"], abs=1e-4)
    # What README.md shows as the table has the same columns.
    shown = re.search(r"(?m)^run  .*$", (ROOT / "README.md").read_text())
    assert shown
    assert re.split("  +", shown[0]) == heads


def test_a_papers_afternoon(small: Path) -> None:
    doc_project.reset(small)
    doc_project.run(small, "git", "checkout", "-qb", "afternoon")  # which it commits to
    page = "docs/tutorials/ferplus.md"
    for command in (c for c in doc_commands.commands(page) if not c.in_text):
        execute(small, command)
    table = (small / "table.tex").read_text()
    assert "mixcut" in table
    assert "none" in table
    assert Image.open(small / "table.png").width > 300
    report = (small / "mixcut.html").read_text()
    assert "ferplus-afternoon-none-s1" in report
    card = (small / "models/classifier.card.md").read_text()
    assert "ferplus" in card
    settings = yaml.safe_load((small / "params.yaml").read_text())
    assert (settings["datasets"], settings["augment"]) == (["ferplus"], "mixcut")


def test_recipes_with_many_settings_or_scores_fit(small: Path) -> None:
    doc_project.reset(small)
    for name in ("gan_fer2013", "mixaugment_classes", "residual_architecture"):
        printed = " ".join(doc_project.run(small, "fer", "recipe", "show", name).split())
        for row in recipes.load(name).rows():
            assert f" {row} " in printed


def _to_run() -> dict[str, list[doc_commands.Command]]:
    """Return, by page, the first command of each shape that no other test runs."""
    runs: dict[str, list[doc_commands.Command]] = {}
    shapes = set()
    for page in doc_commands.PAGES:
        elsewhere = [c for of, head in ELSEWHERE if of == page for c in doc_commands.section(page, head)]
        for command in doc_commands.commands(page):
            if command.line.startswith(tuple(TESTED)) or command in elsewhere:
                continue
            if doc_commands.is_mention(command) or doc_commands.shape(command) in shapes:
                continue
            shapes.add(doc_commands.shape(command))
            runs.setdefault(page, []).append(command)
    return runs


TO_RUN = _to_run()


@pytest.mark.parametrize("page", TO_RUN)
def test_commands_run(small: Path, page: str) -> None:
    doc_project.reset(small)
    for command in TO_RUN[page]:
        execute(small, command)


IN_A_COPY = [
    command
    for page in doc_commands.PAGES
    for command in doc_commands.commands(page)
    if re.match("dvc exp run --(queue|run-all|temp)( |$)", command.line) and not command.in_text
]


def test_experiments_run_in_a_copy_of_the_project(small: Path) -> None:
    def experiments() -> set[str]:
        return set(
            doc_project.run(small, "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/*").split()
        )

    doc_project.reset(small)
    page = doc_commands.section("docs/stages/index.md", "Experiments in a copy of the project")
    # All pages have the same lines.
    assert {command.words for command in IN_A_COPY} == {c.words for c in page if c.words[1] == "exp"}
    [copying] = [command for command in page if "--copy-paths" in command.words]
    [all_queued] = [command for command in page if "--run-all" in command.words]
    page = [command for command in page if command not in (copying, all_queued)]
    own = yaml.safe_load((small / "params.yaml").read_text(encoding="utf-8"))["augment"]
    earlier, expected = experiments(), Counter[tuple[str, str]]()
    for names in ("sample", "table,folder"):
        doc_project.run(small, "git", "checkout", "-qb", names.replace(",", "-"), "main")
        built_in = names == "sample"  # which `make demo` has run and committed
        if not built_in:
            words = [word.replace("[table]", f"[{names}]") for word in copying.words]
            words += ["--copy-paths", "data/raw/folder"]
            execute(small, copying._replace(words=tuple(words)))
            expected[names, own] += 1
            toy.set_params(small, datasets=names.split(","))
        for command in page:
            if not built_in or command.words[1] == "exp":
                # Of the lists of values, `sample` has one as it is, the others the first values.
                words = [word if built_in else word.partition(",")[0] for word in command.words]
                execute(small, command._replace(words=tuple(words)))
        expected.update([(names, "cutout"), (names, "mixup")])
        assert not doc_project.run(small, "git", "status", "--short").strip()
    expected["sample", "mixcut"] += 1
    execute(small, all_queued)  # runs of two commits
    with contextlib.chdir(small):
        found = Counter[tuple[str, str]]()
        for ref in experiments() - earlier:
            settings = yaml.safe_load(git.contents(ref, ["params.yaml"])[0])
            names = settings["datasets"]
            files = ["metrics/evaluate.json", *(f"metrics/ingest/{name}.json" for name in names)]
            scores, *ingested = map(yaml.safe_load, git.contents(ref, files))
            assert [counts["kept"] for counts in ingested] == [doc_project.IMAGES] * len(names)
            assert scores["test"]["images"]
            found[",".join(names), settings["augment"]] += 1
    assert found == expected


# What decides a stage's bytes, with an edit that changes them, and what does not.
EDITS = {
    "tables/vocabulary.py": ('"neutral", "happiness"', '"happiness", "neutral"'),
    "tables/store.py": ("GROUP_ROWS, BATCH_ROWS = 4096", "GROUP_ROWS, BATCH_ROWS = 2048"),
    "doctor/project.py": ('"""\n\nfrom', '"""\n\n# A comment.\nfrom'),
}


def edit(package: Path, file: str) -> None:
    text = (package / file).read_text(encoding="utf-8")
    assert text.count(EDITS[file][0]) == 1
    (package / file).write_text(text.replace(*EDITS[file]), encoding="utf-8")


def test_status_names_the_stages_that_an_edit_of_the_code_changes(small: Path) -> None:
    doc_project.reset(small)
    stages = ("ingest@sample", "align@sample", "label", "synthesize", "train", "evaluate")
    for file in EDITS:
        edit(small / "pipeline", file)
        printed = doc_project.run(small, "dvc", "status")
        changed = [stage for stage in stages if re.search(rf"(?m)^{stage}:", printed)]
        assert changed == ([] if file.startswith("doctor/") else list(stages)), file
        doc_project.run(small, "git", "checkout", "-q", "pipeline")


def test_a_training_killed_in_a_copy_goes_on_after_an_edit_of_the_doctor(small: Path) -> None:
    doc_project.reset(small)
    toy.set_params(small, **{"train.epochs": 4, "train.checkpoint_seconds": 0})
    temporary = subprocess.Popen(
        [sys.executable, "-m", "dvc", "exp", "run", "--temp"],
        cwd=small, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while temporary.poll() is None and not list((small / "models/checkpoints").glob("[!.]*.safetensors")):
        time.sleep(0.01)
    for process in psutil.Process(temporary.pid).children(recursive=True):
        if process.cmdline()[-3:] == ["-m", "pipeline", "train"]:
            process.kill()
    printed, _ = temporary.communicate()
    assert "failed to reproduce 'train'" in printed
    assert not list((small / ".dvc/tmp/exps").glob("tmp*/pipeline"))
    edit(small / "pipeline", "doctor/project.py")
    command = [sys.executable, "-m", "pipeline", "train"]
    done = subprocess.run(command, cwd=small, capture_output=True, text=True, check=True)
    assert "resuming an interrupted run at epoch" in done.stdout


def test_what_is_tested_elsewhere_is_there() -> None:
    lines = [command.line for page in doc_commands.PAGES for command in doc_commands.commands(page)]
    for beginning in TESTED:
        assert any(line.startswith(beginning) for line in lines), f"no page has the command {beginning}"


def test_make_clean_keeps_what_cannot_be_made_again(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = (
        "params.yaml",
        "data/raw/ferplus/a.png",
        "metrics/train.json",
        "dvc.lock",
        "pipeline/a.py",
        "models/affectnet_resnet50.safetensors",
        "models/mine.onnx",
    )
    gone = (
        ".venv/bin/python",
        "data/raw/sample/a.png",
        "data/labels.parquet",
        "models/classifier.safetensors",
    )
    for name in (*kept, *gone, "pipeline/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    [command] = doc_commands.parsed("Makefile", "make clean")
    doc_project.run(tmp_path, *command.words)
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in (*gone, "pipeline/__pycache__"))


def test_an_optional_package_is_known_and_brings_no_second_opencv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No index is asked: the environment of the tests has what the extras name.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    commands = [c for page in doc_commands.PAGES for c in doc_commands.commands(page) if c.words[0] == "pip"]
    for command in commands:
        printed = doc_project.run(tmp_path, sys.executable, "-m", *command.words)
        assert "already satisfied" in printed
        for name in command.words[2:]:
            assert metadata.version(name) in doc_commands.optional()[name].specifier
            assert not any(other.startswith("opencv") for other in installed_with(name)), "a second `cv2`"


def installed_with(name: str) -> set[str]:
    """Return the packages that pip installs with a package: what it requires, what that requires, and so on."""
    found, waiting = set[str](), [name]
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in found:
            found.add(name)
            required = map(Requirement, metadata.requires(name) or [])
            waiting += [of.name for of in required if of.marker is None or of.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.skipif(screenshots.CHROMIUM is None, reason="found no chromium on the PATH")
def test_the_images_of_a_report_are_drawn(small: Path) -> None:
    doc_project.reset(small)
    (small / "docs").mkdir()
    with contextlib.chdir(small):
        screenshots.main()
    for name, (width, height, _, tops, _) in screenshots.SHOTS.items():
        with Image.open(small / f"docs/{name}.png") as image:
            assert image.size == (len(tops) * (width + 16) - 16, height)
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20


@pytest.mark.skipif(screenshots.CHROMIUM is None, reason="found no chromium on the PATH")
def test_the_readmes_image_is_drawn(small: Path) -> None:
    doc_project.reset(small)
    (small / "docs").mkdir()
    scene = min((small / readme_figure.SCENES).iterdir())
    with contextlib.chdir(small):
        readme_figure.main(scene.name)
    for root in (small, ROOT):
        with Image.open(root / "docs/sample.png") as image:
            # GitHub shows it at half of its size, which makes the text as high as intended.
            assert image.width == 1660
            scene = image.convert("RGB").crop((0, 0, image.width // 2, image.height // 3))
            counts = {colour: count for count, colour in scene.getcolors(1 << 24) or []}
            assert counts[80, 200, 80] > 100, "the box of the main face"


def test_python_on_the_pages_runs(small: Path) -> None:
    count = 0
    for page in doc_commands.PAGES:
        for language, code in doc_commands.blocks(page):
            if language == "python":
                count += 1
                with contextlib.chdir(small), contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(code, page, "exec"), {})
    assert count


@pytest.mark.parametrize("page", doc_commands.PAGES)
def test_commands_are_right(page: str) -> None:
    for commands in doc_commands.groups(page):
        doc_commands.check(commands)


@pytest.mark.parametrize(
    "line",
    [
        "dvc exp run -S augmnt=mixcut",
        "dvc exp run -S augment=mixcutt",
        "dvc exp run --queue -S 'augment=mixup,mixcutt'",
        "dvc exp shw",
        "dvc repro tran",
        "fer check --all",
        "fer recipe show",
        "fer recipe run nope",
        "fer ingest nope",
        "make dmo",
        "python benchmarks/nope.py",
        "pip install nope",
        "nope --help",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(doc_commands.Wrong):
        doc_commands.check(list(doc_commands.parsed("page", line)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it; a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)
        lines = subprocess.run(["make", "-n", "docs"], capture_output=True, text=True, check=True).stdout
        commands = [c.words for c in doc_commands.parsed("Makefile", lines)]
        [words] = [w for w in commands if w[:4] == ("python", "-m", "mkdocs", "build")]
        mkdocs.main([*words[3:], "--site-dir", str(folder)], standalone_mode=False)
    return folder


def test_the_site_builds_and_fetches_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//', text), page
        assert not re.search(
            r'<link[^>]* rel="(?:stylesheet|preconnect|icon)"[^>]*href="(?:https?:)?//', text
        ), page


def test_every_value_of_every_switch_has_a_page(site: Path) -> None:
    values = {"dataset": "datasets", "detector": "align.detector", "rule": "labels.rule"}
    schema = params.Params.model_json_schema()
    rules = schema["$defs"]["Labels"]["properties"]["rule"]["enum"]
    for kind in [*BLOCKS, *values]:
        for name in rules if kind == "rule" else choices(kind):
            text = (site / f"methods/{kind}/{name}.html").read_text(encoding="utf-8")
            assert f"<code>{values.get(kind, kind)}: " in text
            assert 'id="when-to-use-it"' in text, (
                f"docs/methods/{kind}/{name}.md says nothing of when to use it"
            )
            if kind in ("augment", "loss", "gan"):
                assert 'id="evidence"' in text, f"docs/methods/{kind}/{name}.md has no evidence"
            assert f'href="{name}.html"' in (site / f"methods/{kind}/index.html").read_text(encoding="utf-8")


def test_generated_parts_of_pages_are_those_that_the_code_writes() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in pages.written().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `make pages`: {', '.join(stale)}"
    written = {str(path.relative_to(pages.DOCS)) for path in (pages.DOCS / "methods").rglob("*/*.md")}
    assert written - pages.parts().keys() == set(), "pages of methods that do not exist"


def test_make_pages_writes_the_page_of_a_new_method_and_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    test_new_method.add_noise(tmp_path)
    for name in ("scripts", "recipes", "docs/methods/augment"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("augments:\n", "augments:\n  noise:\n    deviation: 0.1    # of grey\n")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")

    lines = subprocess.run(
        ["make", "-n", "pages"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    [words] = [c.words for c in doc_commands.parsed("Makefile", lines) if c.words[0] == "python"]
    doc_project.run(tmp_path, sys.executable, *words[1:])
    page = (tmp_path / "docs/methods/augment/noise.md").read_text(encoding="utf-8")
    assert page.startswith("# noise\n")
    assert "Noise: normal noise is added to every face." in page
    assert "| `deviation` | `0.1` | number from 0 to 1,000,000,000 | of grey |" in page
    assert "[`noise`](noise.md)" in (tmp_path / "docs/methods/augment/index.md").read_text(encoding="utf-8")
    assert (tmp_path / "docs/methods/augment/mixcut.md").read_bytes() == (
        ROOT / "docs/methods/augment/mixcut.md"
    ).read_bytes()


@pytest.mark.parametrize("page", [*doc_commands.PAGES, "CHANGELOG.md"])
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"))
    for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), f"{page}: {target}"


def _anchors(text: str) -> list[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"(?ms)^```.*?^```$", "", text)
    headings = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in re.findall(r"(?m)^#+ (.*)$", text)]
    slugs = [re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in headings]
    return [f"{slug}-{n}" if (n := slugs[:i].count(slug)) else slug for i, slug in enumerate(slugs)]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "params.yaml"])
def test_files_and_modules_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    folders = "pipeline|scripts|tests|docs|recipes|benchmarks"
    for path in re.findall(rf"(?<![\w/])(?:{folders})/[\w./-]*", text):
        assert (ROOT / path.rstrip(".")).exists(), f"{page}: {path}"
    for name in re.findall(r"`([\w.]+\.(?:py|md|ya?ml|toml|lock|sh|ini))`", text):
        assert any(ROOT.glob(name)) or any((ROOT / "pipeline").rglob(name)), f"{page}: {name}"
    for name in re.findall(r"`(pipeline(?:\.\w+)+)`", text):
        assert pkgutil.resolve_name(name), f"{page}: {name}"


def test_a_link_to_a_file_of_the_project_leads_to_its_page() -> None:
    assert hooks.linked("index.md", "[x](docs/team.md#a) ![y](docs/y.png)") == "[x](team.md#a) ![y](y.png)"
    assert hooks.linked("stages/train.md", "[x](../../README.md#b)") == "[x](../index.md#b)"
    assert hooks.linked("contributing.md", "[x](pipeline/cli.py), [y](nope.py)") == "x, [y](nope.py)"
    assert hooks.linked("index.md", "[x](https://dvc.org)") == "[x](https://dvc.org)"


def test_the_reference_has_every_parameter_and_every_stage(site: Path) -> None:
    def keys(values: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, value in values.items():
            block = (
                isinstance(value, dict) and value and f"{above}{name}" != "models.svm_deep_features.weights"
            )
            yield from keys(value, f"{above}{name}.") if block else [f"{above}{name}"]

    text = (site / "reference/parameters.html").read_text(encoding="utf-8")
    empty = {f"{block}.{name}" for block in BLOCKS.values() for name in ("none", "softmax", "repeat")}
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert [
        key for key in keys(values) if f"<td><code>{key}</code></td>" not in text and key not in empty
    ] == []
    for name, stage in stages.chain().items():
        text = html.unescape((site / f"stages/{name}.html").read_text(encoding="utf-8"))
        for part in (stage["desc"], *stages.outputs(stage)):
            assert part.replace("${item.dataset}", "<dataset>") in text


def test_the_chain_is_drawn_with_every_arrow() -> None:
    assert set(stages.edges()) >= {
        ("sample", "ingest"),
        ("ingest", "align"),
        ("ingest", "label"),
        ("align", "label"),
        ("align", "train"),
        ("label", "train"),
        ("synthesize", "train"),
        ("train", "evaluate"),
    }
    assert ("train", "label") not in stages.edges()


def test_ranges_in_the_reference_are_those_that_are_enforced() -> None:
    rows = {row.key: row for block in ("train", "align", "labels") for row in parameters.table(block)}
    assert rows["train.ema"].allowed == "number from 0 below 1"
    assert rows["align.face_size"].allowed == "whole number from 16 to 512"
    assert rows["train.resized_crop"].allowed == "list of number above 0 to 1 or null"
    assert rows["labels.duplicates"].comment.count("<br>") == 3
    assert rows["align.landmarks"].default == "detect"


def test_figures_under_evidence_stand_where_they_were_measured() -> None:
    measured = "".join((ROOT / page).read_text(encoding="utf-8") for page in EVIDENCE)
    measured += (ROOT / "docs/methods/detector/index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs/methods").rglob("*.md"):
        _, _, rest = page.read_text(encoding="utf-8").partition("## Evidence")
        evidence, _, _ = rest.partition("<!-- generated")
        for figure in re.findall(r"\b\d+\.\d+\b|\b\d+ of \d+\b", evidence):
            assert figure in measured, f"{page.relative_to(ROOT)}: {figure}"


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    said = list(_texts())
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"(?m)^### `(.*)`$", text)
    assert len(messages) > 20
    for message in messages:
        # `UserError.of` puts "found" and "allowed" around what the code says.
        for part in filter(None, (part.strip(": ;") for part in re.split("…|found |, allowed: ", message))):
            assert any(part in line for line in said), f"no code says {part!r}, of {message!r}"


def _texts() -> Iterator[str]:
    """Yield every text in the code, with nothing in the place of what a format fills in."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(v.value for v in node.values if isinstance(v, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["ferplus"]}, "[Errno 2] No such file or directory: .../data/raw/ferplus"),
        ({"datasets": "sample"}, "'Value' object is not iterable"),
    ],
)
def test_dvc_says_what_troubleshooting_quotes(
    small: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], message: str
) -> None:
    assert f"`{message}`" in (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    doc_project.reset(small)
    toy.set_params(small, **changes)
    with contextlib.chdir(small):
        dvc.main(["repro", "check"])
        Path("data/raw/ferplus").unlink()  # since the last run
        assert dvc.main(["repro"])
    assert re.search(re.escape(message).replace(r"\.\.\.", ".*"), caplog.text)


def test_what_dvc_says_before_it_runs_anything_is_quoted_as_it_says_it(tmp_path: Path) -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with pytest.raises(DvcException) as raised:
        hydra.apply_overrides(tmp_path / "params.yaml", ["augmnt=mixcut"])
    for part in ("Could not override 'augmnt'", "use +augmnt="):
        assert part in text
        assert part in str(raised.value.__cause__)
    assert f"`{RWLockFileCorruptedError('.dvc/tmp/rwlock')}`" in text
    unknown_user = "Git user name and email must be configured"
    assert unknown_user in text
    assert unknown_user in inspect.getsource(pygit2)  # the library by which DVC makes a commit
