"""Geometric and colour transforms of a batch of faces.

The argument `draws` holds the random numbers of the transforms. They come from the plan, as `Batch.transform`. The
geometric transforms of one face are combined into one affine map. The result is interpolated bilinearly from the whole
face, not from the crop. So rotation and translation show what lies outside the crop. Beyond the edges of the face they
show its mirror image. With black there instead, training would show black corners that never occur in evaluation.
Colour follows in a fixed order: brightness, contrast, saturation, hue. Erasing comes last. Angles and factors have the
meaning of torchvision's `affine` and `adjust_*`. Without geometric transforms the crop is cut out at whole pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from pipeline.inference.samples import scaled
from pipeline.params.model import Train

LUMA = (0.2989, 0.587, 0.114)  # of red, green, blue: ITU-R 601, rounded as torchvision does
ASPECT = (3 / 4, 4 / 3)  # smallest and largest width over height of a resized crop, as in torchvision
ERASED_ASPECT = (1 / 3.3, 1 / 0.3)  # the same of an erased rectangle
ERASED = (0.02, 0.33)  # its smallest and largest share of the crop, as in torchvision
TRIES = 10  # attempts to find a resized crop or a rectangle that fits, as in torchvision


def draw(
    settings: Train, face: int, rng: np.random.Generator, count: int, size: int
) -> dict[str, np.ndarray]:
    """Draw the random numbers of the enabled transforms for an epoch. If none is enabled, `rng` is not used.

    Args:
        settings: the block `train`.
        face: side of the stored faces in pixels.
        rng: generator of the epoch.
        count: number of samples.
        size: side of the crop in pixels.

    Returns:
        float32 columns of `count` rows for the enabled transforms: `box` (top, left, height and width of the resized
        crop in pixels, not rounded), `angle` and `shear` (degrees), `shift` (right and down, in crop sizes), `scale`,
        `brightness`, `contrast`, `saturation` (factors), `hue` (in full turns), `erased` (top, left, height and width
        of the rectangle in whole pixels of the crop, then its red, green and blue, 0 to 1; height and width are 0 for
        faces that stay as they are).
    """
    drawn: dict[str, np.ndarray] = {}
    if settings.resized_crop is not None:
        drawn["box"] = _boxes(settings.resized_crop, face, rng, count)
    for name, middle, reach, row in (
        ("angle", 0, settings.rotation, ()),
        ("shear", 0, settings.shear, ()),
        ("shift", 0, settings.translation, (2,)),
        ("brightness", 1, settings.brightness, ()),
        ("contrast", 1, settings.contrast, ()),
        ("saturation", 1, settings.saturation, ()),
        ("hue", 0, settings.hue, ()),
        ("scale", 1, settings.scale, ()),
    ):
        if reach:
            drawn[name] = rng.uniform(middle - reach, middle + reach, (count, *row))
    if settings.erasing:
        drawn["erased"] = _erased(settings.erasing, rng, count, size)
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def _boxes(area: list[float], face: int, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return top, left, height and width [count, 4]; the whole face for samples without a crop that fits."""
    sides, fits = _sides(area, ASPECT, face, rng, count)
    position = rng.random((count, 2))
    sides = np.where(fits, sides, float(face))
    return np.concatenate([position * (face - sides), sides], 1)


def _erased(probability: float, rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return the rectangles to erase and their colours [count, 7], as `draw` describes them."""
    sides, fits = _sides(ERASED, ERASED_ASPECT, size, rng, count)
    sides = np.where(fits & (rng.random((count, 1)) < probability), sides.round(), 0)
    position = rng.random((count, 2))
    return np.concatenate([np.floor(position * (size - sides + 1)), sides, rng.random((count, 3))], 1)


def _sides(
    area: Sequence[float], aspects: Sequence[float], whole: int, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return height and width of random rectangles [count, 2], and whether they fit into a square, bool [count, 1].

    Args:
        area: smallest and largest share of the square.
        aspects: smallest and largest width over height.
        whole: side of the square.
        rng: generator of the epoch.
        count: number of rectangles.
    """
    share = rng.uniform(area[0], area[1], (count, TRIES))
    low, high = np.log(aspects)
    aspect = np.exp(rng.uniform(low, high, (count, TRIES)))
    sides = whole * np.sqrt(np.stack([share / aspect, share * aspect], 2))
    fits = sides.max(2) <= whole
    return sides[np.arange(count), fits.argmax(1)], fits.any(1)[:, None]


def apply(
    faces: Tensor, size: int, top: Tensor, left: Tensor, mirrored: Tensor, draws: dict[str, Tensor]
) -> Tensor:
    """Cut a square out of every face, scale it to 0..1 and transform it.

    Args:
        faces: uint8 [n, H, W, C]; C is 1 or 3, and must be 3 if `draws` has `saturation` or `hue`.
        size: side of the square in pixels.
        top, left: first row and column of each square, int64 [n]; a drawn `box` replaces them.
        mirrored: faces to mirror left to right, bool [n].
        draws: rows of the return value of `draw` for these samples.

    Returns:
        float32 [n, C, size, size] in 0..1, channels-last. The result for a sample does not depend on the other samples
        of the batch.
    """
    if draws.keys().isdisjoint(("box", "angle", "shear", "shift", "scale")):
        images = crop(faces, size, top, left, mirrored)
    else:
        box = draws.get("box")
        if box is None:
            side = torch.full_like(top, size)
            box = torch.stack([top, left, side, side], 1).float()
        height, width = faces.shape[1:3]
        images = warp(scaled(faces), size, affine(height, width, box, mirrored, draws))
    images = colour(images, draws)
    if "erased" in draws:
        images = erase(images, draws["erased"])
    return images.contiguous(memory_format=torch.channels_last)


def affine(height: int, width: int, box: Tensor, mirrored: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """Return the maps from positions in the result to positions in the face.

    Each face is sheared along its rows, enlarged, turned clockwise about the middle of the box, and moved. Then the box
    is cut out, and some boxes are mirrored.

    Args:
        height, width: of the face in pixels.
        box: top, left, height, width in pixels, float32 [n, 4].
        mirrored: bool [n].
        draws: `angle`, `shear`, `shift` and `scale` as `draw` returns them; each may be absent.

    Returns:
        float32 [n, 2, 3], which map (x, y, 1) in the result to (x, y) in the face. In the result as in the face, x and
        y run from -1 at one edge to 1 at the other.
    """
    top, left, high, wide = box.unbind(1)
    zeros = torch.zeros_like(top)
    angle = draws.get("angle", zeros).deg2rad()
    lean = draws.get("shear", zeros).deg2rad().tan()
    right, down = draws.get("shift", torch.zeros_like(box[:, :2])).mul(box[:, [3, 2]]).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    # The inverse of the rotation and the scale, followed by the inverse of the shear.
    linear = [[cos - lean * sin, sin + lean * cos], [-sin, cos]]
    if "scale" in draws:
        linear = [[entry / draws["scale"] for entry in row] for row in linear]
    middle = [left + wide / 2, top + high / 2]
    across = torch.where(mirrored, -wide, wide) / 2
    rows = []
    for (along_x, along_y), centre, extent in zip(linear, middle, (width, height), strict=True):
        start = centre - along_x * right - along_y * down
        unit = 2 / extent
        rows.append(torch.stack([along_x * across * unit, along_y * high / 2 * unit, start * unit - 1], 1))
    return torch.stack(rows, 1)


def warp(images: Tensor, size: int, maps: Tensor) -> Tensor:
    """Interpolate images bilinearly at mapped positions. Beyond its edges an image continues as its mirror image.

    Args:
        images: float32 [n, C, H, W].
        size: side of the results in pixels.
        maps: as `affine` returns them, float32 [n, 2, 3].

    Returns:
        float32 [n, C, size, size].
    """
    steps = (torch.arange(size, device=images.device) * 2 + 1) / size - 1
    # Written out, because a batched matrix product may round differently in batches of different sizes.
    x, y, one = maps[..., None, None].unbind(2)
    grid = x * steps + y * steps[:, None] + one
    return grid_sample(images, grid.movedim(1, 3), "bilinear", "reflection", align_corners=False)


def colour(images: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order. Each of these changes clamps to 0..1.

    Args:
        images: float32 [n, C, H, W] in 0..1; C is 1 or 3, and must be 3 for saturation and hue.
        draws: `brightness`, `contrast`, `saturation` (factors) and `hue` (in full turns), float32 [n] each;
            each may be absent.

    Returns:
        float32 [n, C, H, W].
    """
    if "brightness" in draws:
        images = (images * _per_sample(draws["brightness"])).clamp_(0, 1)
    if "contrast" in draws:
        # If the whole image were summed at once, the order of the sum, and with it the rounding, could depend on the
        # batch. So each row is summed first, and then the sums of the rows in float64.
        mean = images.sum(3, keepdim=True).sum(2, keepdim=True, dtype=torch.float64).float()
        mean = _grey(mean / (images.shape[2] * images.shape[3]))
        images = _blend(images, mean, draws["contrast"])
    if "saturation" in draws:
        images = _blend(images, _grey(images), draws["saturation"])
    if "hue" in draws:
        images = turn_hue(images, draws["hue"])
    return images


def erase(images: Tensor, drawn: Tensor) -> Tensor:
    """Fill a rectangle of each image with one colour (Zhong et al. 2020).

    Args:
        images: float32 [n, C, H, W] in 0..1; C is 1 or 3.
        drawn: rectangles and colours as `draw` returns them, float32 [n, 7]. Grey images take the red one.

    Returns:
        float32 [n, C, H, W].
    """
    top, left, height, width = drawn[:, :4, None].unbind(1)
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    high = (rows >= top) & (rows < top + height)
    wide = (columns >= left) & (columns < left + width)
    inside = (high[:, :, None] & wide[:, None, :])[:, None]
    return torch.where(inside, drawn[:, 4 : 4 + images.shape[1], None, None], images)


def _per_sample(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _blend(images: Tensor, ground: Tensor, factor: Tensor) -> Tensor:
    """Return `ground` + factor * (images - ground), clamped to 0..1."""
    return torch.lerp(ground, images, _per_sample(factor)).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Return the luma [n, 1, H, W] of grey or RGB images."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of RGB images around the colour circle of HSV. Saturation and value stay the same.

    Args:
        images: float32 [n, 3, H, W] in 0..1.
        turns: angle in full turns, float32 [n].

    Returns:
        float32 [n, 3, H, W].
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    per_spread = spread.clamp_min(1e-12).reciprocal_()  # grey has no hue: the clamp only avoids 1 / 0
    # 1 for the largest channel, else 0; the first one wins a tie. `torch.where` takes ten times as long.
    is_red = (red - value).sign_().add_(1)
    is_green = (green - value).sign_().add_(1).mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    # The new hue in sixths of a turn, 0 for red, wrapped into 0..6.
    sixths = (green - blue).mul_(is_red).addcmul_(blue - red, is_green).addcmul_(red - green, is_blue)
    sixths.mul_(per_spread).add_(is_green, alpha=2).add_(is_blue, alpha=4).add_(6 * turns[:, None, None])
    sixths.sub_((sixths / 6).floor_(), alpha=6)
    # Red has the hue 0, green 2, blue 4. If the new hue is at most 1 away from a channel's own hue, the channel is
    # `value`. Between the distances 1 and 2 it falls linearly to `value - spread`. Farther away it stays there.
    below = [(sixths - 3).abs_().neg_().add_(2), (sixths - 2).abs_().sub_(1), (sixths - 4).abs_().sub_(1)]
    turned = [value.addcmul(part.clamp_(0, 1), spread, value=-1) for part in below]
    return torch.stack(turned, 1).clamp_(0, 1)


def crop(faces: Tensor, size: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a square out of every face, mirror some, and scale to 0..1.

    Args:
        faces: uint8 [n, H, W, C].
        size: side of the square, at most H and W.
        top, left: first row and column of each square, int64 [n].
        mirrored: faces to mirror left to right, bool [n].

    Returns:
        float32 [n, C, size, size], channels-last.
    """
    steps = torch.arange(size, device=faces.device)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(mirrored[:, None], steps.flip(0), steps)
    sample = torch.arange(len(faces), device=faces.device)[:, None, None]
    return scaled(faces[sample, rows[:, :, None], columns[:, None, :]])


def smooth(targets: Tensor, share: float) -> Tensor:
    """Return targets [n, K], rows of sum 1, after spreading `share` (0 to 1) of each row evenly over the classes.

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.
    """
    return targets * (1 - share) + share / targets.shape[1]
