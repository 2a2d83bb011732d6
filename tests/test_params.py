"""What a user sees when params.yaml is right, and when it is not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from dvc.utils import hydra, serialize
from dvc.utils.collections import merge_dicts, remove_missing_keys
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.params import methods
from pipeline.params.augments import Augments
from pipeline.params.gans import Gans
from pipeline.params.losses import Losses
from pipeline.params.models import Models
from pipeline.params.optimizers import Optimizers
from pipeline.params.rewrite import with_values
from pipeline.params.types import Block

ROOT = Path(__file__).parents[1]


def edited(project: Path, key: str, value: Any) -> Path:
    """Set one dotted key in params.yaml."""
    yaml = YAML()
    path = project / "params.yaml"
    tree = yaml.load(path)
    *parents, last = key.split(".")
    block = tree
    for name in parents:
        block = block[name]
    block[last] = value
    yaml.dump(tree, path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        params.load(path)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_the_projects_own_parameters_are_valid_and_every_method_has_a_block() -> None:
    loaded = params.load(ROOT / "params.yaml")
    for switch, block in methods.BLOCKS.items():
        for name in methods.choices(switch):
            assert getattr(getattr(loaded, block), name) is not None, f"{block}.{name}"


def settings_classes(model: type[Block] = params.Params) -> Iterator[type[Block]]:
    """Yield a settings class and all classes of its blocks."""
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Block):
                yield from settings_classes(part)


def test_params_yaml_decides_every_value_and_the_code_none() -> None:
    # So pipeline/params may be missing from the dependencies in dvc.yaml: it rejects values or passes them on.
    assert params.load(ROOT / "params.yaml").model_dump() == YAML(typ="safe").load(ROOT / "params.yaml")
    of_methods = (Augments, Losses, Models, Optimizers, Gans)
    for model in settings_classes():
        for name, field in model.model_fields.items():
            unchosen = model in of_methods and field.annotation in settings_classes()
            assert field.is_required() or (unchosen and field.default is None), f"{model.__name__}.{name}"


def test_a_type_checker_knows_every_key_but_those_of_albumentations() -> None:
    # `p.augments.mixcut.alphaa` is an error for mypy, because every block on the way is a class with named fields.
    # A field of type Any or a dictionary of blocks would hide a misspelt key.
    untyped = [
        f"{model.__name__}.{name}"
        for model in settings_classes()
        for name, field in model.model_fields.items()
        if Any in (field.annotation, *get_args(field.annotation))
    ]
    assert untyped == ["Train.albumentations"]
    assert "alpha" in type(params.load(ROOT / "params.yaml").augments.mixcut).model_fields


def test_a_wrong_key_is_refused_without_loading_a_library_of_arrays() -> None:
    # Loading one of them takes longer than reading params.yaml.
    code = "import sys; from pipeline import cli, params; params.load(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "pyarrow", "torch", "cv2"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("augment", "nonsense", ["augment", "'nonsense'", "cutmix", "mixaugment"]),
        ("augment", "mixcat", ["augment", "did you mean mixcut"]),
        ("seed", "abc", ["seed", "'abc'", "a whole number"]),
        ("seed", -1, ["seed", "-1", "0"]),
        ("seed", True, ["seed", "True", "a whole number"]),
        ("train.epochs", -1, ["train.epochs", "-1", "greater than or equal to 1"]),
        ("train.epochs", 1.5, ["train.epochs", "1.5", "a whole number"]),
        ("train.epoch", 3, ["train.epoch", "unknown key", "did you mean epochs"]),
        ("train.warmup", float("nan"), ["train.warmup", "nan"]),
        ("train.sampling", "up", ["train.sampling", "'up'", "natural", "over", "under"]),
        ("train.label_smoothing", 1.5, ["train.label_smoothing", "1.5", "less than or equal to 1"]),
        ("losses.center.gamma", -1, ["losses.center.gamma", "-1", "0"]),
        ("train.crop", 64, ["train.crop", "64", "align.face_size", "48"]),
        ("align.face_size", 144, ["align.face_size", "144", "16 to 128", "dcgan"]),
        ("align.detector", "haar", ["align.detector", "'haar'", "scrfd"]),
        ("datasets", [], ["datasets", "[]"]),
        ("datasets", ["sample", "sample"], ["datasets", "each name once"]),
        ("datasets", ["imagenet"], ["datasets", "ferplus"]),
        (
            "train.datasets",
            ["ferplus"],
            ["train.datasets", "['ferplus']", "null or names from datasets", "sample"],
        ),
        ("train.datasets", [], ["train.datasets", "[]", "null or names from datasets"]),
        ("gans.datasets", ["sample", "sample"], ["gans.datasets", "each once"]),
        ("gans.datasets", "sample", ["gans.datasets", "'sample'", "null or a list"]),
        ("classes", ["happy", "sadness"], ["classes.0", "'happy'", "did you mean happiness?"]),
        ("classes", ["Fear", "pain"], ["classes.0", "'Fear'", "did you mean fear?"]),
        ("classes", ["pain", "unknown"], ["classes.1", "'unknown'", "a class name other than all"]),
        ("classes", ["pain", "nf"], ["classes.1", "'nf'", "other than"]),
        ("classes", ["pain", "None"], ["classes.1", "'None'", "other than"]),
        ("classes", ["pain", "all"], ["classes.1", "'all'", "other than"]),
        ("classes", ["pain", "no.pain"], ["classes.1", "'no.pain'", "letters, digits, _ and -"]),
        ("classes", ["pain", "no pain"], ["classes.1", "'no pain'", "letters, digits, _ and -"]),
        ("classes", ["pain", "no,pain"], ["classes.1", "'no,pain'", "letters, digits, _ and -"]),
        ("classes", ["pain", "müde"], ["classes.1", "letters, digits, _ and -"]),
        ("classes", ["pain", "../pain"], ["classes.1", "'../pain'", "a letter from a to z"]),
        ("classes", ["pain", "-pain"], ["classes.1", "'-pain'", "a letter from a to z"]),
        ("classes", ["pain", "pain\n"], ["classes.1", "letters, digits, _ and -"]),
        ("classes", ["pain", ""], ["classes.1", "''", "a letter from a to z"]),
        ("classes", ["pain", "p" * 41], ["classes.1", "at most 39 letters"]),
        ("classes", [0, 1], ["classes.0", "found 0", "text"]),
        ("classes", ["pain", "no_pain", "Pain"], ["classes", "each name once"]),
        ("classes", ["pain", "no_pain", "no-pain"], ["classes", "each name once"]),
        ("classes", ["pain"], ["classes", "a longer list"]),
        ("ingest.names", {"1": "Anger"}, ["ingest.names.1", "'Anger'", "did you mean anger?"]),
        ("ingest.names", {"1": "very sleepy"}, ["ingest.names.1", "'very sleepy'", "letters, digits"]),
        ("gans.classes", ["joy"], ["gans.classes", "'joy'", "fear"]),
        ("gans.classes", ["fera"], ["gans.classes", "'fera'", "did you mean fear?"]),
        ("augments.mixcut.probability", 1.5, ["augments.mixcut.probability", "1.5", "1"]),
        ("augments.mixcut.probabilty", 0.5, ["augments.mixcut.probabilty", "did you mean probability"]),
        ("augments.mixcat", {}, ["augments.mixcat", "unknown key", "did you mean mixcut"]),
        ("optimizers.sgd.learning_rate", 0, ["optimizers.sgd.learning_rate", "0", "greater than 0"]),
        ("models.resnet18.frozen", 6, ["models.resnet18.frozen", "6", "less than or equal to 5"]),
        ("models.resnet18.frozen", 2, ["models.resnet18", "frozen: 0 while weights is null"]),
        ("models.resnet50.extra", 0, ["models.resnet50.extra", "0", "greater than or equal to 2"]),
        ("models.vgg16.top", "large", ["models.vgg16.top", "'large'", "small", "standard"]),
        ("models.resnet18.stem", "large", ["models.resnet18.stem", "'large'", "small", "standard"]),
        (
            "labels.merge",
            {"contempt": "disgust"},
            ["labels.merge.contempt", "'disgust'", "remove it from classes"],
        ),
        ("labels.merge", {"joy": "disgust"}, ["labels.merge", "joy", "happiness"]),
        ("labels.merge", {"slepy": "fear"}, ["labels.merge", "'slepy'", "neutral, happiness"]),
        ("labels.duplicates", "drop", ["labels.duplicates", "'drop'", "drop_from_train", "drop_from_eval"]),
        ("labels.min_votes", -1, ["labels.min_votes", "-1", "0"]),
        ("labels.min_share", 1.5, ["labels.min_share", "1.5", "1"]),
        ("labels.valid", 0.95, ["labels.valid + labels.test", "1.05", "less than 1"]),
        ("labels.valid", 1.0, ["labels.valid: found 1.0", "a share from 0 to below 1, or a whole number"]),
        (
            "labels.test",
            "500",
            ["labels.test: found '500'", "a whole number: as many images of each class"],
        ),
        ("labels.fold", [6, 5], ["labels.fold", "[6, 5]", "null, or [part, parts]"]),
        ("labels.fold", [1, 1], ["labels.fold", "[1, 1]", "at least two parts"]),
        (
            "labels.drop_single",
            True,
            ["labels.drop_single", "True", "false unless labels.rule is distribution"],
        ),
        (
            "labels.published_valid",
            {"afectnet": "test"},
            ["labels.published_valid", "did you mean affectnet"],
        ),
        (
            "labels.published_valid",
            {"affectnet": "train"},
            ["labels.published_valid.affectnet", "'train'", "drop"],
        ),
        ("ingest.rafdb", "aligend", ["ingest.rafdb", "'aligend'", "original", "aligned"]),
        ("align.modes", {"rafbd": "none"}, ["align.modes", "did you mean rafdb"]),
        ("align.modes", {"rafdb": "whole"}, ["align.modes.rafdb", "'whole'", "five_point", "none"]),
        ("evaluate.bootstrap", -1, ["evaluate.bootstrap", "-1", "0"]),
        ("train.accumulate", 17, ["train.accumulate: found 17", "at most half of train.batch_size"]),
        ("train.erasing", 1.1, ["train.erasing", "1.1", "1"]),
        ("evaluate.mirror", 1, ["evaluate.mirror", "1", "true or false"]),
        ("labels.rule", "mean", ["labels.rule", "'mean'", "plurality", "majority", "distribution"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    project: Path, key: str, value: Any, expected: list[str]
) -> None:
    line = refused(edited(project, key, value))
    for part in ["params.yaml", *expected]:
        assert part in line


def test_names_of_classes_agree_in_all_settings(project: Path) -> None:
    edited(project, "ingest.names", {"1": "Sleepy", "2": "unknown"})
    edited(project, "labels.merge", {"Sleepy": "neutral"})
    path = edited(project, "gan", "none")
    assert params.load(path).labels.merge == {"Sleepy": "neutral"}
    edited(project, "classes", ["neutral", "sleepy"])
    assert "ingest.names.1: found 'Sleepy', allowed: sleepy, as classes has it" in refused(path)
    edited(project, "ingest.names", {"1": "bored"})
    assert "labels.merge: found 'Sleepy', allowed: one of neutral" in refused(path)
    edited(project, "labels.merge", {"bored": "slepy"})
    line = "labels.merge.bored: found 'slepy', allowed: names from classes: neutral, sleepy (did you mean sleepy?)"
    assert line in refused(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"models.fast.members": 9, "train.batch_size": 34, "train.accumulate": 2},
            "found 9, allowed: at most 8",
        ),
        (
            {"models.fast.members": 2, "train.torchrun": "--nproc-per-node 2"},
            "found 2, allowed: 1 while train.torch",
        ),
        ({"models.fast.members": 2, "loss": "center"}, "found 2, allowed: 1 while loss is center"),
    ],
)
def test_networks_that_would_not_learn_as_if_alone_are_refused(
    project: Path, changes: dict[str, Any], expected: str
) -> None:
    for key, value in {"model": "fast", **changes}.items():
        path = edited(project, key, value)
    assert f"models.fast.members: {expected}" in refused(path)
    params.load(edited(project, "models.fast.members", 1))


def test_synthetic_faces_alone_need_faces_of_all_classes(project: Path) -> None:
    edited(project, "gans.classes", params.load().classes)
    params.load(edited(project, "train.synthetic", "alone"))
    line = refused(edited(project, "gans.images_per_class", "balance"))
    assert "gans.images_per_class: found 'balance', allowed: a number while train.synthetic is alone" in line


def test_a_support_vector_machine_has_no_temperature(project: Path) -> None:
    params.load(edited(project, "model", "svm_deep_features"))
    line = refused(edited(project, "train.temperature", True))
    assert "train.temperature: found True, allowed: false while model is svm_deep_features" in line


def test_ten_crops_need_something_to_crop(project: Path) -> None:
    edited(project, "train.crop", 48)
    assert "evaluate.ten_crop" in refused(edited(project, "evaluate.ten_crop", True))


def test_mirroring_beside_ten_crops_is_refused(project: Path) -> None:
    edited(project, "evaluate.ten_crop", True)
    line = refused(edited(project, "evaluate.mirror", True))
    assert "evaluate.mirror: found True, allowed: false while evaluate.ten_crop is true" in line


def test_a_crop_that_a_network_would_pool_to_nothing_is_refused(project: Path) -> None:
    edited(project, "model", "densenet121")
    path = edited(project, "train.crop", 28)
    assert params.load(path).train.crop == 28
    assert "train.crop: found 28, allowed: at least 32" in refused(
        edited(project, "models.densenet121.stem", "standard")
    )
    assert "at least 32 while model is vgg13" in refused(edited(project, "model", "vgg13"))


def test_a_chosen_method_needs_its_block(project: Path) -> None:
    assert "augments.none" in refused(edited(project, "augments.none", None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "NoneType"),
        ("- a\n- b\n", "list"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "not valid YAML"),
        ("\tseed: 1\n", "not valid YAML"),
        ("seed: 1 # a tab\t\ndatasets:\t[sample]\n", "line 2: not valid YAML"),
        ("seed: 1\n", "missing"),
    ],
)
def test_a_broken_file_is_one_line(project: Path, text: str, expected: str) -> None:
    path = project / "params.yaml"
    path.write_text(text)
    assert expected in refused(path)


def tens(first: str, level: str) -> str:
    """Return eleven levels: `first`, then ten times a value with ten aliases of the level below."""
    aliases = (", ".join([f"*a{i}"] * 10) for i in range(10))
    return f"a0: &a0 {first}\n" + "".join(f"a{i + 1}: &a{i + 1} {level % t}\n" for i, t in enumerate(aliases))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(tens("[x]", "[%s]"), "more than 20,000 values", id="ten levels of ten anchors"),
        pytest.param(tens("{k: 1}", "{<<: [%s]}"), "more than 20,000 values", id="ten levels of ten merges"),
        pytest.param("a: &a [*a]", "holds itself", id="a list in itself"),
        pytest.param("[" * 20_000 + "]" * 20_000, "more than 64 levels", id="20,000 lists"),
        pytest.param("- " * 200_000 + "a", "more than 64 levels", id="200,000 lists of several lines"),
        pytest.param("{a: " * 20_000 + "}" * 20_000, "more than 64 levels", id="20,000 mappings"),
        pytest.param("? " * 200_000 + "a", "more than 64 levels", id="200,000 keys"),
        pytest.param(f"[a{', a' * 300_000}]", "more than 20,000 values", id="300,000 values"),
        pytest.param("#" * 2**21, "more than 1,048,576 bytes", id="2 MB"),
        pytest.param(f"seed: 0x{'F' * 5_000}", "a word of 5,002 letters", id="a number of 5,000 digits"),
        pytest.param(f"seed: !!int '0x{'F' * 5_000}'", "a word of 5,002 letters", id="the same in quotes"),
        pytest.param("seed: !!int ''", "not valid YAML", id="a tag that its value does not fit"),
    ],
)
def test_a_file_that_would_take_long_to_read_is_one_line(project: Path, text: str, expected: str) -> None:
    path = project / "params.yaml"
    path.write_text(text)
    assert expected in refused(path)


def test_a_value_that_is_too_deep_is_refused_where_it_stands(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(
        re.sub("(?m)^  albumentations:", f"  albumentations: {'[' * 20_000}{']' * 20_000}", path.read_text())
    )
    assert re.search(
        r"params\.yaml: line \d+: found more than 64 levels, allowed: at most 64$", refused(path)
    )


def test_bytes_that_are_not_text(project: Path) -> None:
    path = project / "params.yaml"
    path.write_bytes(b"seed: \xff\xfe\n")
    assert "UTF-8" in refused(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["seed", "datasets", "augment", "train", "augments", "gans", "classes", "align", "models"]
    ),
)
def test_no_value_anywhere_makes_a_traceback(value: Any, key: str) -> None:
    raw = YAML(typ="safe").load(ROOT / "params.yaml")
    raw[key] = value
    line = ""
    try:
        params.validated(raw, Path("params.yaml"))
    except UserError as error:
        line = str(error)
    assert "\n" not in line


@pytest.mark.parametrize("command", [["check"], ["train"], ["ingest", "sample"]])
def test_every_command_refuses_in_one_line_without_a_traceback(project: Path, command: list[str]) -> None:
    edited(project, "augment", "nonsense")
    done = subprocess.run([sys.executable, "-m", "pipeline", *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fer: params.yaml: augment: found 'nonsense', allowed: one of cutmix")


def test_outside_a_project_the_answer_says_where_to_go(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "check"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "run this in the folder that holds params.yaml" in done.stderr


def test_help_lists_the_stages_in_the_order_of_the_chain() -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline", "--help"], capture_output=True, text=True)
    stages = ["sample", "ingest", "align", "label", "synthesize", "train", "evaluate"]
    places = [done.stdout.index(f" {name} ") for name in stages]
    assert places == sorted(places)


# --------------------------------------------------------------------------------------- the form of params.yaml


TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
PLAIN = [None, 7, 0.5, 1e-05, True, "mixcut", "a: b, größer", "models/a.safetensors"]
LISTS = [None, [], ["a"], ["a", "b"], [0.08, 1.0], [{"a": {"p": [1, "x y"]}}]]
MAPPINGS = [{}, {"a": "b"}, {"c": "d", "a": "e"}]
ENTRY = re.compile(r"( *)(\w+):(?: [^#]*?)? *(#.*)?")


def keys(model: type[Block] = params.Params, values: Any = None, above: str = "") -> dict[str, list[Any]]:
    """Return values for each key of params.yaml, by dots, that holds no block."""
    found: dict[str, list[Any]] = {}
    for name, value in (values or YAML(typ="safe").load(TEXT)).items():
        annotation = model.model_fields[name].annotation
        kinds = [get_origin(kind) or kind for kind in (annotation, *get_args(annotation))]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Block)]
        if inner and value:
            found |= keys(inner[0], value, f"{above}{name}.")
        elif not inner:
            listed = LISTS if list in kinds or Any in kinds else PLAIN
            found[f"{above}{name}"] = MAPPINGS if dict in kinds else listed
    return found


def outline(text: str, changed: set[str]) -> list[str]:
    """Return the lines of params.yaml, but of keys that were changed the name and the comment alone."""
    lines, key, blocks = [], "", []
    for line in text.splitlines():
        entry = ENTRY.fullmatch(line)
        if entry:
            blocks[len(entry[1]) // 2 :] = [entry[2]]
            key = ".".join(blocks)
        within = any(key == of or key.startswith(f"{of}.") for of in changed)
        if entry and key in changed:
            lines.append(f"{entry[1]}{entry[2]}: {entry[3]}")
        elif not within or line.lstrip()[:1] in ("", "#"):
            lines.append(line)
    return lines


def written_by_dvc(text: str, values: dict[str, Any], path: Path) -> str:
    """Return the text after `dvc exp run -S`, which merges all values into the file, the unchanged ones too."""
    path.write_text(text, encoding="utf-8")
    with serialize.modify_yaml(path) as tree:
        merge_dicts(tree, values)
        remove_missing_keys(tree, values)
    return path.read_text(encoding="utf-8")


def test_an_experiment_changes_one_line_of_params_yaml(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    hydra.apply_overrides(path, ["augment=mixcut"])
    changed = [
        line for line in path.read_text(encoding="utf-8").splitlines() if line not in TEXT.splitlines()
    ]
    assert changed == [
        next(line for line in TEXT.splitlines() if line.startswith("augment:")).replace("none  ", "mixcut", 1)
    ]
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(TEXT.splitlines())


def test_a_change_of_any_keys_leaves_every_other_line_and_comment(tmp_path: Path) -> None:
    draw = random.Random(1)
    text, values = TEXT, YAML(typ="safe").load(TEXT)
    for share in (0.3, 1.0):  # of the keys
        changed = {key for key in keys() if draw.random() < share}
        for key, choices in keys().items():
            *blocks, last = key.split(".")
            if key in changed:
                reduce(dict.get, blocks, values)[last] = draw.choice(choices)
        values = json.loads(json.dumps(values))  # or DVC would write equal lists as one anchor
        new = written_by_dvc(text, values, tmp_path / "params.yaml")
        assert outline(new, changed) == outline(text, changed)
        assert with_values(text, values) == new, "`fer recipe apply` and DVC write the same"
        text = new
