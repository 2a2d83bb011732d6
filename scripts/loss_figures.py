"""Draw the images of the losses with the project's own losses: curves of the loss, and maps of features.

The curves show the loss of one face against the probability of its class. The maps show what each loss makes of three
overlapping Gaussian classes, of which one is rare, in a small network with two features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import params
from pipeline.methods.losses import Loss
from pipeline.params.losses import ClassWeights
from pipeline.params.methods import choices
from scripts.documentation.images import save

# FER+'s training faces under `labels.rule: majority`, in the order of the classes: neutral first, contempt last.
COUNTS = torch.tensor([8740, 7287, 3149, 3014, 2100, 119, 532, 119])
FREQUENT, RARE = ("neutral", 0), ("contempt", 7)
# Of the maps: samples of the three classes, sizes of the inputs and of the hidden layer, and how far the classes' means
# lie from 0, each on an axis of its own, in standard deviations.
SAMPLES, INPUTS, HIDDEN = (300, 100, 20), 3, 16
DISTANCE = 2.2
LABELS = torch.arange(len(SAMPLES)).repeat_interleave(torch.tensor(SAMPLES))
SEED, STEPS = 1, 400
COLOURS = ["#3b6fb6", "#2a9d6f", "#d1495b"]
COLOURS_KEPT = 128


class Map(NamedTuple):
    """Features that a loss has led to, in units of the mean distance between the classes' centres.

    Attributes:
        unit: the mean distance between the centres, in the network's own units.
        features: [N, 2].
        centers: means of the classes' features, [K, 2].
        spreads: mean distance of a class's features from their centre, [K].
        recalls: share of each class's samples that get their class, [K].
        classify: returns the class of each feature, [M, 2] -> [M].
    """

    unit: float
    features: Tensor
    centers: Tensor
    spreads: Tensor
    recalls: Tensor
    classify: Callable[[Tensor], Tensor]


def build(name: str, counts: Tensor, features: int, **settings: Any) -> Loss:
    """Return a loss with its settings as shipped but for `settings`."""
    shipped = getattr(params.load().losses, name).model_copy(update=settings)
    return import_module(f"pipeline.methods.losses.{name}").build(shipped, counts, features)


def curve(loss: Loss, index: int, probabilities: Sequence[float], share: float = 1.0) -> list[float]:
    """Return the loss of a face at each probability of its class, which has `share` of the target.

    The other classes share the rest of the probability and of the target equally.
    """
    mine = F.one_hot(torch.tensor(index), len(COUNTS)).bool()
    others = len(COUNTS) - 1
    target = torch.where(mine, share, (1 - share) / others)[None]
    nothing = torch.zeros(1, 1)
    return [
        loss(torch.where(mine, p, (1 - p) / others).log()[None], nothing, target).item()
        for p in probabilities
    ]


def draw_softmax(path: Path) -> None:
    """Write the curves of softmax: two classes, and targets that are shared."""
    figure, (left, right) = _figure(2)
    loss, p = build("softmax", COUNTS, 1), np.linspace(0.005, 0.999, 200)
    for (name, index), style, width in ((FREQUENT, "-", 4), (RARE, "--", 1.8)):
        colour = COLOURS[0] if index == FREQUENT[1] else COLOURS[2]
        label = f"{name}, {COUNTS[index]:,} faces"
        left.plot(p, curve(loss, index, p), style, color=colour, lw=width, label=label)
    left.set_title("every class has the same curve", fontsize=10)
    for share, colour in zip((1.0, 0.8, 0.6), ("#222222", "#777777", "#aaaaaa"), strict=True):
        values = curve(loss, FREQUENT[1], p, share)
        right.plot(p, values, color=colour, lw=1.8, label=f"target {share:g}")
        right.plot(p[np.argmin(values)], min(values), "o", color=colour, clip_on=False)
    right.set_title("a shared target pulls to its share", fontsize=10)
    _axes([left, right], "loss of the face")
    save(
        _image(figure),
        path,
        "Two plots of the loss against the probability of the right class: the curve falls from 5 to 0 and is the same "
        "for neutral and contempt; with a target of 0.8 or 0.6 the lowest point lies at that probability",
        "The loss falls as the face's class becomes more probable, equally for frequent and rare classes, and is "
        "lowest (dot) where the probability equals the target.",
        COLOURS_KEPT,
    )


def draw_weighted_softmax(path: Path) -> None:
    """Write the curves of weighted softmax with each rule for the weights."""
    # A single face that is divided by its own weight would lose the weight.
    losses = {
        f"weights: {rule}": build("weighted_softmax", COUNTS, 1, weights=rule, reduction="sum")
        for rule in get_args(ClassWeights)
    }
    save(
        _beside_softmax(losses, lambda loss, index: f", W = {loss.weights[0, index].item():.2g}"),
        path,
        "Three plots of the loss against the probability of the right class, one for each rule of the weights: the "
        "curve of contempt lies above that of neutral in all of them",
        f"A mistake on a rare class ({RARE[0]}, {COUNTS[RARE[1]]} faces) costs more than one on a frequent class "
        f"({FREQUENT[0]}, {COUNTS[FREQUENT[1]]:,} faces): class weights W from FER+'s training faces under "
        "`labels.rule: majority`.",
        COLOURS_KEPT,
    )


def draw_logit_adjusted(path: Path) -> None:
    """Write the curves of logit-adjusted softmax with several strengths."""
    losses = {f"tau: {tau:g}": build("logit_adjusted", COUNTS, 1, tau=tau) for tau in (0.5, 1.0, 2.0)}
    save(
        _beside_softmax(losses),
        path,
        "Three plots of the loss against the probability of the right class, for tau 0.5, 1 and 2: the curve of "
        "contempt lies above that of softmax, and higher with a larger tau; the curve of neutral lies below it",
        f"A face of a rare class ({RARE[0]}, {COUNTS[RARE[1]]} faces) must be far more probable before it costs as "
        f"little as one of a frequent class ({FREQUENT[0]}, {COUNTS[FREQUENT[1]]:,} faces): shares of FER+'s training "
        "faces under `labels.rule: majority`.",
        COLOURS_KEPT,
    )


def _beside_softmax(
    losses: dict[str, Loss], about: Callable[[Loss, int], str] = lambda loss, index: ""
) -> Image.Image:
    """Return the curves of a frequent and of a rare class under each loss, with softmax's behind them.

    Args:
        losses: by the title of their plot.
        about: what to say of a class, by its index, behind its name.
    """
    figure, axes = _figure(len(losses))
    p = np.linspace(0.005, 0.999, 200)
    plain = curve(build("softmax", COUNTS, 1), 0, p)
    for axis, (title, loss) in zip(axes, losses.items(), strict=True):
        axis.plot(p, plain, color="#bbbbbb", lw=5, label="softmax")
        for (name, index), colour in ((FREQUENT, COLOURS[0]), (RARE, COLOURS[2])):
            axis.plot(p, curve(loss, index, p), color=colour, lw=1.8, label=name + about(loss, index))
        axis.set_title(title, fontsize=10)
    _axes(axes, "loss of the face")
    return _image(figure)


@cache
def trained(name: str, steps: int) -> Map:
    """Return the map of the features after a training with a loss as shipped."""
    torch.manual_seed(SEED)
    means = DISTANCE * torch.eye(len(SAMPLES), INPUTS)
    inputs = means[LABELS] + torch.randn(len(LABELS), INPUTS)
    targets = F.one_hot(LABELS).float()
    body = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))
    head = nn.Linear(2, len(SAMPLES))
    loss = build(name, torch.tensor(SAMPLES), 2)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.01)
    for _ in range(steps):
        features = body(inputs)
        optimizer.zero_grad()
        loss(head(features), features, targets).backward()
        optimizer.step()
        loss.update(features.detach(), targets)
    features = body(inputs).detach()
    right = (head(features).argmax(1) == LABELS).float().split(SAMPLES)
    centers = torch.stack([part.mean(0) for part in features.split(SAMPLES)])
    unit = torch.pdist(centers).mean().item()
    distances = (features - centers[LABELS]).norm(dim=1) / unit
    return Map(
        unit,
        features / unit,
        centers / unit,
        torch.stack([part.mean() for part in distances.split(SAMPLES)]),
        torch.stack([part.mean() for part in right]),
        lambda points: head(points * unit).detach().argmax(1),
    )


def draw_map(name: str, path: Path, steps: int) -> None:
    """Write the map of the features under a loss beside that under softmax."""
    maps = {loss: trained(loss, steps) for loss in ("softmax", name)}
    reach = max(found.features.sub(_middle(found)).abs().max().item() for found in maps.values()) * 1.05
    figure, axes = _figure(2, height=4.4)
    for axis, (loss, found) in zip(axes, maps.items(), strict=True):
        _draw(axis, found, reach)
        axis.set_title(f"{loss}: centres {found.unit:.1f} apart", fontsize=10)
    plain, pulled = (found.spreads.mean().item() for found in maps.values())
    save(
        _image(figure),
        path,
        f"Two maps of the features of three classes, under softmax and under {name}: the points lie {plain:.2f} from "
        f"the centres of their classes under softmax, and {pulled:.2f} under {name}",
        f"Two features of three overlapping classes under softmax and under {name}, drawn so that the centres "
        "(crosses) are equally far apart: spread is the mean distance from the class's centre, and tints show "
        "the class that the network chooses.",
        COLOURS_KEPT,
    )


def _draw(axis: Axes, found: Map, reach: float) -> None:
    """Draw a map: the square of half side `reach` around the features, with the areas of the classes."""
    x, y = (torch.linspace(middle - reach, middle + reach, 300) for middle in _middle(found).tolist())
    areas = found.classify(torch.cartesian_prod(x, y)).reshape(300, 300).T
    extent = (x[0].item(), x[-1].item(), y[0].item(), y[-1].item())
    tints, last = ListedColormap(COLOURS), len(SAMPLES) - 1
    axis.imshow(areas, tints, extent=extent, origin="lower", alpha=0.15, vmin=0, vmax=last)
    for k, points in enumerate(found.features.split(SAMPLES)):
        label = f"{SAMPLES[k]} samples: spread {found.spreads[k]:.2f}, recall {found.recalls[k]:.2f}"
        axis.scatter(*points.T, s=12, color=COLOURS[k], lw=0, label=label)
    axis.scatter(*found.centers.T, s=110, marker="X", color=COLOURS, edgecolor="black", zorder=3)
    axis.set(xticks=[], yticks=[])
    axis.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False)


def _middle(found: Map) -> Tensor:
    return (found.features.min(0).values + found.features.max(0).values) / 2


def _figure(columns: int, height: float = 2.9) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(8, height), dpi=100, layout="constrained")
    return figure, list(figure.subplots(1, columns))


def _axes(axes: Sequence[Axes], label: str) -> None:
    for axis in axes:
        axis.set(xlim=(0, 1), ylim=(0, 5), xlabel="probability of the right class")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8)
    axes[0].set_ylabel(label)


def _image(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))


def write(folder: Path, steps: int = STEPS) -> None:
    """Write the image of every loss; the maps show features after `steps` steps."""
    curves = {
        "softmax": draw_softmax,
        "weighted_softmax": draw_weighted_softmax,
        "logit_adjusted": draw_logit_adjusted,
    }
    for name in choices("loss"):
        path = folder / f"{name}.png"
        if name in curves:
            curves[name](path)
        else:
            draw_map(name, path, steps)
