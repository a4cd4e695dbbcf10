"""Draw slices through the loss."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.errors import DataError
from cifarzoo.evaluation.style import color_cycle, log_if_squashed, new_figure, short_number, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifarzoo.evaluation.loss_slices import Slice

TITLES = {"loss": "Loss", "error": "Error"}
UNITS = {"loss": "cross-entropy (nats)", "error": "error (%)"}


@styled
def loss_line(slices: "dict[str, Slice]") -> "Figure":
    """Draw the loss and, in a second panel, the error of one-dimensional `Slice`s, by their label in the legend."""
    figure = new_figure(8.6, 3.4)
    for axes, key in zip(figure.subplots(1, 2), ("loss", "error"), strict=True):
        for color, (label, line) in zip(color_cycle(), slices.items(), strict=False):
            axes.plot(line.coordinates[0], getattr(line, key), ".-", color=color, label=label)
        axes.set(xlabel="distance along the direction", ylabel=UNITS[key], title=f"{TITLES[key]} along a direction")
        log_if_squashed(axes, [getattr(line, key) for line in slices.values()])
        axes.legend()
    return figure


@styled
def loss_plane(plane: "Slice") -> "Figure":
    """Draw the loss of a two-dimensional `Slice` as contours, evenly spaced in its logarithm.

    The logarithm is interpolated by a cubic spline between the measured points, which are drawn as dots.

    Raises:
        DataError: the loss is infinite everywhere.
    """
    from scipy.interpolate import RectBivariateSpline

    finite = np.isfinite(plane.loss) & (plane.loss > 0)
    if not finite.any():
        raise DataError("the loss is infinite everywhere on the plane")
    low, high = plane.loss[finite].min(), plane.loss[finite].max()
    high = max(high, low * 1.01)
    degrees = {f"k{name}": min(3, len(axis) - 1) for name, axis in zip("xy", plane.coordinates, strict=True)}
    spline = RectBivariateSpline(*plane.coordinates, np.log(np.clip(plane.loss, low, high)), **degrees)
    fine = [np.linspace(axis[0], axis[-1], 121) for axis in plane.coordinates]
    values = np.clip(np.exp(spline(*fine)), low, high)
    figure = new_figure(5.6, 4.6, layout="compressed")
    axes: Any = figure.subplots()
    levels = np.geomspace(low, high, 25)
    picture = axes.contourf(*fine, values.T, levels=levels, norm="log", cmap="viridis")
    picture.set_rasterized(True)  # as paths they would be most of the page's size
    axes.contour(*fine, values.T, levels=levels[::4], colors="white", linewidths=0.5)
    axes.plot(*(grid.ravel() for grid in np.meshgrid(*plane.coordinates)), ".", color="white", ms=1.5, alpha=0.6)
    axes.plot(0, 0, "+", color="red", markersize=10, mew=2)
    axes.locator_params(nbins=5)
    axes.grid(False)
    axes.set(
        xlabel="distance along the first direction",
        ylabel="distance along the second",
        aspect="equal",
        title="Loss on a plane through the network (+)",
    )
    bar: Any = figure.colorbar(picture, ax=axes, label=UNITS["loss"])
    bar.outline.set_visible(False)
    ticks = _round_numbers(low, high)
    bar.set_ticks(ticks, labels=[short_number(tick) for tick in ticks])
    bar.minorticks_off()
    return figure


def _round_numbers(low: float, high: float) -> list[float]:
    """Return three to eight round numbers between two positive numbers, about evenly spaced in the logarithm."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks[:: -(-len(ticks) // 8)]
    return [float(f"{value:.3g}") for value in np.geomspace(low, high, 3)]
