"""Draw what figures of values by epoch share: the axes, the colours, the moving average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

# Colours of Okabe and Ito, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A800")


def epoch_axes(axes: Axes, epochs: int) -> None:
    """Prepare axes for values of the epochs 1 to `epochs`."""
    axes.set(xlabel="epoch", xlim=(0.5, epochs + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def marker(values: Sequence[float]) -> str | None:
    """Return the marker of a curve: a line through one epoch is invisible."""
    return "o" if len(values) == 1 else None


def moving_average(values: Sequence[float], window: int) -> np.ndarray:
    """Return the mean of the values around each value, [N]; at the ends, of those that exist.

    Args:
        values: N numbers.
        window: how many values a mean is taken over, odd.
    """
    padded = np.pad(np.asarray(values, float), window // 2, constant_values=np.nan)
    return np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
