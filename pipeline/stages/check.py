"""Stage `check`: refuse what cannot run, before DVC removes the outputs of the stages that are to run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pipeline.core.code import modules
from pipeline.core.errors import UserError, no_raw_data
from pipeline.core.files import replacing
from pipeline.core.progress import say
from pipeline.params.methods import BLOCKS
from pipeline.params.model import Params
from pipeline.tables.paths import CHECKED, RAW
from pipeline.training import weights


def run(p: Params) -> None:
    """Print the choices in `params.yaml`, and refuse those that this machine or the raw data cannot meet.

    Libraries are loaded only for a choice that needs them. Nothing is downloaded. The file that it writes is always
    the same, so no other stage runs again because of it.

    Raises:
        UserError: names the choice, and what is allowed.
    """
    for key in ("datasets", "augment", "loss", "model", "optimizer", "gan", "seed"):
        value = getattr(p, key)
        say(f"{key:>10}: {', '.join(value) if isinstance(value, list) else value}", indent=" " * 12)
    _check_modules(p)
    _check_raw_data(p.datasets)
    if p.labels.exclude:
        from pipeline.labels.exclusion import read_ids

        read_ids(Path(p.labels.exclude))
    _check_weights(p)
    _check_machine(p)
    with replacing(CHECKED) as temporary:
        temporary.write_text("params.yaml has passed the check.\n", encoding="utf-8")


def _check_modules(p: Params) -> None:
    """Check that each chosen method has its module. The networks' modules are those of their families."""
    for switch in BLOCKS.keys() - {"model"}:
        name, known = getattr(p, switch), modules(f"methods/{BLOCKS[switch]}")
        if name not in known:
            found = f"{name!r}, which has no module in pipeline/methods/{BLOCKS[switch]}"
            raise UserError.of(f"params.yaml: {switch}", found, known)


def _check_raw_data(datasets: list[str]) -> None:
    for path in (RAW / name for name in datasets if name != "sample"):
        try:
            if path.is_dir() and not any(path.iterdir()):
                raise UserError(f"{path}: found an empty folder, expected: the data set's files")
            if not path.exists() and not _may_be_missing():
                raise no_raw_data(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _may_be_missing() -> bool:
    """Return whether DVC may go on without raw data: with `--allow-missing`, and in a copy of the project.

    A copy has no raw data, nor earlier outputs that could be lost.
    """
    # `--temp` makes its copy in `standalone`, the queue one level higher.
    if any(folder.parts[-3:] == (".dvc", "tmp", "exps") for folder in Path.cwd().parents):
        return True
    import psutil

    try:
        return any("--allow-missing" in process.cmdline() for process in psutil.Process().parents())
    except psutil.Error:
        return False


def _check_weights(p: Params) -> None:
    """Check that the files of weights exist, and that published weights have the names in `params.yaml`."""
    name, settings = p.chosen("model")
    choices = weights.choices_by_part(settings)
    for part, choice in choices.items():
        if weights.is_file(choice):
            weights.existing(choice, weights.key_of(name, part))
    if name == "timm" or not all(map(weights.is_file, choices.values())):
        from pipeline.training.pretrained import check_names

        check_names(name, settings)
    filters = p.gan != "none" and p.gans.filters.detector
    detects = filters or any(p.align.of(dataset).mode != "none" for dataset in p.datasets)
    if detects and (p.align.weights != "package" or p.align.detector == "dlib"):
        from pipeline.faces.detectors import detector_module
        from pipeline.faces.weights import own_file

        own_file(p.align.weights, detector_module(p.align.detector).PACKAGED)


def _check_machine(p: Params) -> None:
    """Check the device, the engine, and that albumentations accepts its settings."""
    if p.engine == "ray" and find_spec("ray") is None:
        raise UserError.of(
            "params.yaml: engine", "ray, which is not installed", "local, or `pip install ray`"
        )
    if p.train.device == "cuda":
        from pipeline.inference import device

        device.pick(p.train.device)
    if p.train.albumentations is not None:
        from pipeline.tables.schema import channels
        from pipeline.training import face_transform

        side = p.align.face_size
        face_transform.chosen(p.train, (side, side, channels(p.align.colour)))
