"""Generate the embedded sample: rendered faces in scenes, with the votes of ten simulated annotators.

The sample has the format of the data set `table`, which is also the format for your own data:

    data/raw/sample/
        README.md
        labels.csv     image, split, group, and ten columns of votes
        images/        0001.jpg, 0002.jpg, ...

The persons, expressions and splits are planned first. Then every image is rendered from (seed, number), so one seed
gives the same bytes on one core and on many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.files import replacing_folder
from pipeline.core.parallel import chunks, cores, ordered
from pipeline.core.progress import track
from pipeline.sample.drawing.expression import ActionUnits, combined, expression
from pipeline.sample.drawing.scene import Scene, render
from pipeline.tables.csv_cells import row_writer
from pipeline.tables.vocabulary import CLASSES, SPLITS, VOTES

ANNOTATORS = 10
# Shares of the classes in FER+ (train, plurality), and the least shares of the three rare classes. A class needs some
# faces in every split, and a GAN needs faces to learn from.
_SHARES = (0.363, 0.265, 0.125, 0.124, 0.087, 0.007, 0.023, 0.006)
_LEAST = {"disgust": 0.033, "fear": 0.033, "contempt": 0.024}
_FACELESS = 0.05  # share of the images
_HELD_OUT = 0.15  # share of each class in valid, and in test
_HELD_OUT_LEAST = 3  # faces
_WEAK = 0.08  # share of the faces with a weak or blended expression
_IMAGES_PER_PERSON = 8

# Votes of annotators who mistake an expression for another one, as in FER+.
_MISTAKEN = {
    "neutral": {"sadness": 0.45, "happiness": 0.2, "anger": 0.2, "contempt": 0.15},
    "happiness": {"neutral": 0.7, "surprise": 0.2, "contempt": 0.1},
    "surprise": {"fear": 0.5, "happiness": 0.25, "neutral": 0.25},
    "sadness": {"neutral": 0.6, "anger": 0.2, "fear": 0.2},
    "anger": {"neutral": 0.4, "disgust": 0.3, "sadness": 0.3},
    "disgust": {"anger": 0.7, "sadness": 0.15, "contempt": 0.15},
    "fear": {"surprise": 0.8, "sadness": 0.2},
    "contempt": {"neutral": 0.6, "happiness": 0.3, "disgust": 0.1},
}

README = """# The embedded sample

{images} generated images: drawn faces whose expressions are composed of FACS action units, and scenes
without a face. Nobody in them exists. `fer sample` writes this folder from `sample.seed` in `params.yaml`.

It is also the example of how to bring your own data. Make a folder like this one,

    data/raw/table/
        labels.csv
        images/

and set `datasets: [table]` in `params.yaml`. `labels.csv` has a header and one row for each image:

| column | holds |
| --- | --- |
| `image` | path of the image inside `images/` |
| `split` | `train`, `valid` or `test` |
| `group` | the person in the image; no person should be in two splits (optional) |
| {votes} | how many annotators voted for each; `unknown`: cannot tell, `NF`: no face |

Where every image has one label, a single column `label` with the name of the class takes the place of the
columns of votes.
"""


@dataclass(frozen=True)
class PlannedImage:
    """One image before it is rendered.

    Attributes:
        name: of the file.
        split: train, valid or test.
        group: the person; a scene without a face is a group of its own.
        shown: class of the expression; None without a face.
        votes: of the ten annotators, in the order of `VOTES`.
        scene: the content.
    """

    name: str
    split: str
    group: str
    shown: str | None
    votes: tuple[int, ...]
    scene: Scene


def generate(folder: Path, images: int, seed: int, workers: int | None = None) -> Counter[str]:
    """Write the sample. It replaces an earlier sample when it is complete.

    Args:
        folder: of the sample.
        images: their number.
        seed: of all draws.
        workers: processes that draw; None: one per core.

    Returns:
        The number of images of each class, and of images without a face as `NF`.

    Raises:
        UserError: the folder cannot be written.
    """
    planned = plan(images, seed)
    with replacing_folder(folder) as temporary:
        (temporary / "images").mkdir(parents=True)
        files = rendered([image.scene for image in planned], workers or cores())
        for image, data in zip(
            planned, track(files, total=len(planned), desc="sample", unit="images"), strict=True
        ):
            (temporary / "images" / image.name).write_bytes(data)
        with (temporary / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            write = row_writer(file)
            write(["image", "split", "group", *VOTES])
            for image in planned:
                write([image.name, image.split, image.group, *image.votes])
        votes = ", ".join(f"`{name}`" for name in VOTES)
        (temporary / "README.md").write_text(README.format(images=images, votes=votes), encoding="utf-8")
    return Counter(image.shown or "NF" for image in planned)


def rendered(scenes: list[Scene], workers: int) -> Iterator[bytes]:
    """Yield the JPEG files of scenes in order, rendered by `workers` processes."""
    for files in ordered(_render_all, chunks(scenes, 4), workers=workers):
        yield from files


def _render_all(scenes: list[Scene]) -> list[bytes]:
    return [render(scene) for scene in scenes]


def plan(images: int, seed: int) -> list[PlannedImage]:
    """Return the planned images: persons, expressions, splits and votes.

    Splits are stratified by class, and each person is in one split only.
    """
    rng = np.random.default_rng([seed, 0])
    faceless = round(_FACELESS * images)
    counts = _class_counts(images - faceless) | {None: faceless}
    shown: dict[str, list[tuple[str | None, bool]]] = {split: [] for split in SPLITS}
    for name, count in counts.items():
        held_out = max(_HELD_OUT_LEAST, round(_HELD_OUT * count))
        weak = rng.permutation(np.arange(count) < round(_WEAK * count))
        splits = np.repeat(SPLITS, [count - 2 * held_out, held_out, held_out])
        for split, is_weak in zip(splits, weak, strict=True):
            shown[str(split)].append((name, bool(is_weak)))
    dealt: list[tuple[str, int, str | None, bool]] = []
    people = 0
    for split in SPLITS:
        in_split = max(2, round(len(shown[split]) / _IMAGES_PER_PERSON))
        for turn, i in enumerate(rng.permutation(len(shown[split]))):
            dealt.append((split, people + turn % in_split, *shown[split][i]))
        people += in_split
    # Shuffled, so the number of an image reveals neither split nor class.
    order = rng.permutation(len(dealt))
    digits = max(4, len(str(images)))
    return [_image(f"{n:0{digits}}.jpg", seed, n, *dealt[i]) for n, i in enumerate(order, 1)]


def _class_counts(faces: int) -> dict[str | None, int]:
    """Return the number of faces of each class: the shares of FER+, but at least the least number."""
    shares = dict(zip(CLASSES, _SHARES, strict=True))
    counts = {
        name: max(round(_LEAST.get(name, 0) * faces), round(shares[name] * faces), 3 * _HELD_OUT_LEAST)
        for name in _LEAST
    }
    rest = [name for name in CLASSES if name not in counts]
    left = faces - sum(counts.values())
    total = sum(shares[name] for name in rest)
    ends = np.rint(np.cumsum([shares[name] for name in rest]) / total * left).astype(int)
    counts |= dict(zip(rest, map(int, np.diff(ends, prepend=0)), strict=True))
    return {name: counts[name] for name in CLASSES}


def _image(
    name: str, seed: int, number: int, split: str, person: int, shown: str | None, weak: bool
) -> PlannedImage:
    """Return one planned image: random votes and a random intensity of the expression."""
    rng = np.random.default_rng([seed, 1, number])
    scene_seed = (seed, 2, number)
    if shown is None:
        votes = _votes({"NF": int(rng.integers(8, 11))}, {"unknown": 1.0}, rng)
        return PlannedImage(name, split, f"scene-{number}", None, votes, Scene(scene_seed, None, {}))
    if weak:
        # Half of these images show a weak expression, half a blend with another one.
        other = str(rng.choice(list(_MISTAKEN[shown]), p=list(_MISTAKEN[shown].values())))
        units = _performed(shown, rng.uniform(0.3, 0.5), rng)
        if shown == "neutral" or rng.random() < 0.5:
            units = combined(units, _performed(other, rng.uniform(0.25, 0.4), rng))
        agree = int(rng.choice([3, 4, 5, 6], p=[0.15, 0.25, 0.35, 0.25]))
        rest = {"unknown": 0.35, other: 0.45}
        mistaken = 0.20
    else:
        units = _performed(shown, rng.uniform(0.75, 1.0), rng)
        agree = int(rng.choice([7, 8, 9, 10], p=[0.1, 0.2, 0.3, 0.4]))
        rest = {"unknown": 0.15}
        mistaken = 0.85
    for confused, share in _MISTAKEN[shown].items():
        rest[confused] = rest.get(confused, 0.0) + mistaken * share
    votes = _votes({shown: agree}, rest, rng)
    scene = Scene(scene_seed, (seed, 3, person), units)
    return PlannedImage(name, split, f"person-{person:04}", shown, votes, scene)


def _performed(name: str, intensity: float, rng: np.random.Generator) -> ActionUnits:
    """Return a natural expression: units of unequal strength, sides that differ a little, one stray unit."""
    units: dict[int, tuple[float, float]] = {}
    for unit, sides in expression(name, intensity, side=int(rng.choice([-1, 1]))).items():
        left, right = np.clip(rng.uniform(0.85, 1.1) * rng.uniform(0.92, 1.08, 2) * sides, 0, 1).tolist()
        units[unit] = (left, right)
    if name == "happiness" and rng.random() < 0.6:  # lips part in a broad smile
        units[25] = (intensity, intensity)
    stray = int(rng.choice([1, 2, 4, 7, 12, 14, 15, 23, 25, 43]))
    return combined(units, {stray: (rng.uniform(0, 0.14), rng.uniform(0, 0.14))})


def _votes(sure: dict[str, int], rest: dict[str, float], rng: np.random.Generator) -> tuple[int, ...]:
    """Return ten votes: the sure votes, and the others drawn with the shares in `rest`."""
    others = rng.multinomial(
        ANNOTATORS - sum(sure.values()), np.array(list(rest.values())) / sum(rest.values())
    )
    counts = Counter(sure) + Counter(dict(zip(rest, map(int, others), strict=True)))
    return tuple(counts[name] for name in VOTES)
