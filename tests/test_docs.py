"""The documentation: its commands work, its pages are complete, and what it quotes is there."""

from __future__ import annotations

import ast
import contextlib
import html
import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from dvc import cli as dvc
from dvc.exceptions import DvcException
from dvc.utils import hydra
from mkdocs.commands.build import build
from mkdocs.config import load_config
from PIL import Image
from scmrepo.git.backend import pygit2
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.methods import BLOCKS, choices
from scripts.documentation import hooks, parameters, stages
from tests import doc_commands, test_new_method, toy
from tests.doc_commands import ROOT

# Whose commands are run, all of them but those left out, in the small project. Those of other pages, and those left
# out, need data, hours or another machine; what can be checked of them without running is in tests/doc_commands.py.
RUN = [
    ("README.md", "A day with it"),
    ("docs/tutorials/sample.md", "1. Run everything"),
    ("docs/tutorials/sample.md", "2. Compare two augmentations"),
    ("docs/report.md", ""),
    ("docs/tutorials/sample.md", "4. Try something"),
    ("docs/tutorials/own-data.md", "Check what was read"),
    ("docs/sweeps.md", ""),
    ("docs/predict.md", ""),
    ("docs/export.md", "Export"),
]
LEFT_OUT = {
    "dvc plots diff --open": "opens a browser",
    "dvc exp run": "trains; the newcomer's way runs two",
    "fer recipe run": "trains for hours",
    "fer recipe status": "needs runs; tests/test_recipes.py",
    "fer recipe table": "the same",
    "fer predict --camera": "needs a camera",
    "fer export --int8": "takes ten seconds; tests/test_export.py",
}
# A chain that takes seconds: few pictures, whole ones in the place of faces found, no GAN, one epoch.
SMALL = {
    "align.mode": "none",
    "gan": "none",
    "model": "light",
    "train.epochs": 1,
    "evaluate.bootstrap": 20,
}
EVIDENCE = ["README.md", "benchmarks/README.md", "docs/ferplus.md", "docs/synthetic.md"]


def run(folder: Path, *words: str) -> str:
    """Run `dvc` or `fer` in a folder, in this process, which has imported what they need; return what was printed."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        if words[0] == "dvc":
            code = dvc.main(list(words[1:]))
        else:
            result = CliRunner().invoke(app, words[1:])
            code = result.exit_code
            print(result.output)
    assert code == 0, f"{shlex.join(words)}\n{printed.getvalue()}"
    return printed.getvalue()


def execute(folder: Path, command: doc_commands.Command) -> str:
    """Run a command of the documentation in a folder; return what was printed. The environment is active already."""
    if command.words[0] == ".":
        return ""
    if command.words[0] == "git":
        return subprocess.run(command.words, cwd=folder, check=True, capture_output=True, text=True).stdout
    return run(folder, *command.words)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of the project with a chain that takes seconds, after `make demo`."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "models").mkdir()
    toy.set_params(folder, **SMALL)
    _draw(folder / "data/raw/sample")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "test"],
        ["config", "user.email", "test@example.org"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        # Stages are processes of the interpreter that runs the tests, and of the clone's code.
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        run(folder, "dvc", "init", "-q")
        subprocess.run(["git", "add", "."], cwd=folder, check=True)
        subprocess.run(["git", "commit", "-qm", "Start"], cwd=folder, check=True)
        # What `dvc repro` does, without an interpreter for each stage and the ten seconds of drawing the sample.
        for name, stage in list(stages.chain().items())[1:]:
            run(folder, "fer", name, *(["sample"] if "matrix" in stage else []))
        run(folder, "dvc", "commit", "-q", "--force")
        subprocess.run(["git", "add", "."], cwd=folder, check=True)
        subprocess.run(["git", "commit", "-qm", "Run"], cwd=folder, check=True)
        _add_named_files(folder)
        yield folder


def _add_named_files(folder: Path) -> None:
    """Add what the pages have as a reader's own: pictures, a film, another model. Git does not see them."""
    names = ["portrait.jpg", "a.jpg", "holiday", "film.mp4", "other.safetensors", "old.safetensors"]
    made = [
        "marked",
        "why",
        "models/*.onnx",
        "models/*.card.md",
        "faces.csv",
        "faces.parquet",
        "*.html",
        "old.*",
    ]
    (folder / ".git/info/exclude").write_text("\n".join(names + made))
    pictures = [cv2.imread(str(path)) for path in sorted((folder / "data/raw/sample/images").iterdir())[:6]]
    (folder / "holiday").mkdir()
    for name, picture in zip(
        ("portrait.jpg", "a.jpg", "holiday/1.jpg", "holiday/2.jpg"), pictures, strict=False
    ):
        cv2.imwrite(str(folder / name), picture)
    film = cv2.VideoWriter(
        str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, pictures[0].shape[1::-1]
    )
    for picture in pictures:
        film.write(picture)
    film.release()
    for name in ("other.safetensors", "old.safetensors"):
        shutil.copy(folder / "models/classifier.safetensors", folder / name)


def _draw(sample: Path) -> None:
    """Write bright and dark pictures in the form of the embedded sample."""
    (sample / "images").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), ["image,split,label"]
    for i in range(90):
        picture = rng.normal(90 + 70 * (i % 2), 40, (64, 64)).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(sample / f"images/{i}.png")
        lines.append(f"{i}.png,{('train', 'train', 'train', 'valid', 'test')[i % 5]},{toy.CLASSES[i % 2]}")
    (sample / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_make_demo_runs_the_chain(small: Path) -> None:
    demo = re.search(r"(?m)^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())
    assert demo
    assert "$(RUN) dvc repro\n" in demo[1]
    assert "up to date" in run(small, "dvc", "repro")


def test_a_newcomer_gets_to_a_comparison_of_two_augmentations(small: Path) -> None:
    printed = ""
    for command in doc_commands.section("README.md", "Two augmentations compared"):
        printed = execute(small, command)
    heads, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "|" in line
    )
    found = {re.sub(r".*\[(\w+)\]", r"\1", row[0]): dict(zip(heads, row, strict=True)) for row in rows}
    assert {name: found[name]["augment"] for name in ("plain", "mixcut")} == {
        "plain": "none",
        "mixcut": "mixcut",
    }
    scores = json.loads((small / "metrics/evaluate.json").read_text())["test"]
    assert float(found["mixcut"]["test.accuracy"]) == pytest.approx(scores["accuracy"], abs=1e-4)
    # What README.md shows as the table has the same columns.
    shown = re.search(r"(?m)^\| Experiment .*$", (ROOT / "README.md").read_text())
    assert shown
    assert [cell.strip() for cell in shown[0].strip("| ").split("|")] == heads


@pytest.mark.parametrize(("page", "heading"), RUN)
def test_commands_run(small: Path, page: str, heading: str) -> None:
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=small, check=True)
    for command in doc_commands.section(page, heading):
        line = shlex.join(command.words)
        if any(line.startswith(left) for left in LEFT_OUT):
            continue
        execute(small, command)


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


def test_commands_on_generated_pages_are_right() -> None:
    for commands in doc_commands.generated():
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
        "pip install fer-pipeline[nope]",
        "nope --help",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(doc_commands.Wrong):
        doc_commands.check(list(doc_commands.parsed("page", line)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
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


def test_a_new_method_has_a_page_by_itself(tmp_path: Path) -> None:
    for name in ("pipeline", "scripts", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "pipeline/augment/noise.py").write_text(test_new_method.NOISE.lstrip(), encoding="utf-8")
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("augments:\n", "augments:\n  noise:\n    deviation: 0.1    # of grey\n")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    code = (
        "from scripts.documentation import hooks, methods;"
        "print(*methods.pages(), hooks.composed('methods/augment/noise.md', ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "methods/augment/noise.md" in done.stdout.split()
    assert "Noise: normal noise is added to every face." in done.stdout
    assert "| `deviation` | `0.1` | number from 0 | of grey |" in done.stdout


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
        _, _, evidence = page.read_text(encoding="utf-8").partition("## Evidence")
        for figure in re.findall(r"\b\d+\.\d+\b|\b\d+ of \d+\b", evidence):
            assert figure in measured, f"{page.relative_to(ROOT)}: {figure}"


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    said = list(_texts())
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"(?m)^### `(.*)`$", text)
    assert len(messages) > 20
    for message in messages:
        for part in filter(None, (part.strip(": ;") for part in message.split("…"))):
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
        ({"augment": "mixcutt"}, r"[Errno 2] No such file or directory: .../pipeline/augment/mixcutt.py"),
        ({"model": "resnet5"}, "Parameters 'models.resnet5' are missing from 'params.yaml'"),
        ({"datasets": ["ferplus"]}, "[Errno 2] No such file or directory: .../data/raw/ferplus"),
        ({"datasets": "sample"}, "'Value' object is not iterable"),
    ],
)
def test_dvc_says_what_troubleshooting_quotes(
    small: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], message: str
) -> None:
    assert f"`{message}`" in (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=small, check=True)
    toy.set_params(small, **changes)
    with contextlib.chdir(small):
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
    unknown_user = "Git user name and email must be configured"
    assert unknown_user in text
    assert unknown_user in inspect.getsource(pygit2)  # the library by which DVC makes a commit
