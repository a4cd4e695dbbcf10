"""Draw a network's results: each function returns a Matplotlib figure, `save` writes it, `png` returns its bytes.

Figures are made without `pyplot`, so nothing depends on a display or on global state.
"""

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.data.classes import classes_of
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.models.catalogue import find

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifarzoo.evaluation.loss_slices import Slice
    from cifarzoo.pretrained.manifest import Published

DPI = 110
LINES = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def check() -> None:
    """Check that Matplotlib is installed. Call this before long work that ends in a picture.

    Raises:
        CifarzooError: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise CifarzooError("pictures need Matplotlib: pip install matplotlib") from None


def _figure(width: float = 6.0, height: float = 4.0) -> "Figure":
    check()
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=DPI, layout="constrained")


def png(figure: "Figure") -> bytes:
    """Return the content of the figure's PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, in a folder that is created if missing.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(figure))
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None
    return path


def learning_curves(
    logs: dict[str, list[dict[str, np.ndarray]]], columns: Sequence[str] = ("loss", "error")
) -> "Figure":
    """Draw columns of logs over epochs, for training and validation; for several seeds their mean and spread.

    The band around the mean is one sample standard deviation (n - 1) wide on either side, at the epochs that all seeds
    have.

    Args:
        logs: Per name of an experiment, the logs of its seeds as `read_table` returns them.
        columns: One panel each. A panel shows the column and, if there is one, the column of the same name with `val_`
            before it.
    """
    figure = _figure(5.2 * len(columns), 3.8)
    for axes, column in zip(np.ravel(figure.subplots(1, len(columns))), columns, strict=True):
        colours = itertools.cycle(LINES)
        for name, seeds in logs.items():
            colour = next(colours)
            for key, style in ((column, "-"), (f"val_{column}", "--")):
                epochs, values = _common_rows(seeds, key)
                if not len(epochs):
                    continue
                label = f"{name}, {'validation' if key != column else 'training'}" + (
                    f", {len(seeds)} seeds" if len(seeds) > 1 else ""
                )
                mean = values.mean(axis=0)
                axes.plot(epochs, mean, style, color=colour, marker="." if len(epochs) < 20 else "", label=label)
                if len(seeds) > 1:
                    deviation = values.std(axis=0, ddof=1)
                    axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.25, lw=0)
        axes.set(xlabel="epoch", ylabel="error (%)" if column == "error" else column)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _common_rows(seeds: Sequence[dict[str, np.ndarray]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs at which every seed has a value in the column, and the values [seeds, epochs]."""
    if any(key not in log for log in seeds):
        return np.zeros(0), np.zeros((len(seeds), 0))
    values = []  # per seed, values by epoch
    for log in seeds:
        finite = np.isfinite(log[key])
        values.append(dict(zip(log["epoch"][finite], log[key][finite], strict=True)))
    epochs = sorted(set.intersection(*map(set, values)))
    return np.array(epochs), np.array([[by_epoch[epoch] for epoch in epochs] for by_epoch in values])


def reliability_diagram(bins: dict[str, np.ndarray]) -> "Figure":
    """Draw accuracy over confidence, and below it the share of images at each confidence.

    Args:
        bins: Per label in the legend, what `calibration_bins` returns. Empty bins have no point.
    """
    figure = _figure(5.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="grey", lw=1, label="calibrated")
    for colour, (name, (images, correct, confidence)) in zip(itertools.cycle(LINES), bins.items(), strict=False):
        full = images > 0
        upper.plot(confidence[full] / images[full], correct[full] / images[full], "o-", color=colour, label=name)
        edges = np.linspace(0, 1, len(images) + 1)
        lower.stairs(100 * images / images.sum(), edges, color=colour, fill=True, alpha=0.4)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    lower.set(xlabel="confidence", ylabel="images (%)")
    upper.grid(alpha=0.3)
    upper.legend()
    return figure


def confusion_matrix(matrix: Any, names: list[str]) -> "Figure":
    """Draw counts by true class (rows) and predicted class, coloured by their share of the row.

    With up to 20 classes, each cell also shows its count.
    """
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 6.5 if len(names) <= 20 else 14.0
    figure = _figure(size, size * 0.92)
    axes: Any = figure.subplots()
    # Errors are rare: the square root makes a share of one percent visible.
    picture = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if share[row, column] > 0.4 else "black"
            axes.text(column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize="small")
    font = {} if len(names) <= 20 else {"fontsize": 5}
    axes.set_xticks(range(len(names)), names, rotation=90, **font)
    axes.set_yticks(range(len(names)), names, **font)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar: Any = figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class (%)")
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1", "5", "20", "50", "100"])
    return figure


def error_against_parameters(
    entries: "Sequence[Published]",
    anchors: dict[str, Any],
    dataset: str,
    marked: tuple[str, int, float] | None = None,
) -> "Figure":
    """Draw test error over parameters, for published files and for what papers and other zoos report.

    Args:
        entries: Manifest entries (`cifarzoo.pretrained.manifest.Published`).
        anchors: The content of weights/anchors.yaml.
        dataset: Draw only results on this data set.
        marked: Label, parameters and error in percent of one more network, marked with a star.
    """
    figure = _figure(7.0, 4.5)
    axes: Any = figure.subplots()
    classes = str(classes_of(dataset))
    for key, name, marker in (
        ("paper", "papers", "s"),
        ("source", "repositories united here", "^"),
        ("zoo", "best zoo", "v"),
    ):
        rows = [row for row in anchors["rows"] if row["dataset"] == dataset and key in row]
        if rows:
            # Of "5.89-6.10" or "6.43 best, 6.61 mean" take the first number.
            errors = [float(re.findall(r"[\d.]+", row[key])[0]) for row in rows]
            parameters = [find(row["model"]).total[classes] for row in rows]
            axes.scatter(
                parameters, errors, marker=marker, facecolors="none", edgecolors="grey", label=f"{name}, quoted"
            )
    published = [entry for entry in entries if entry.dataset == dataset]
    if published:
        points = [[entry.parameters for entry in published], [entry.metrics["error"] for entry in published]]
        axes.scatter(*points, color=LINES[0], zorder=3, label="cifarzoo, measured")
        for entry in published:
            axes.annotate(entry.model.removeprefix("cifar_"), (entry.parameters, entry.metrics["error"]), fontsize=7)
    if marked:
        axes.scatter(marked[1:2], marked[2:], color=LINES[3], marker="*", s=120, zorder=4, label=marked[0])
    axes.set(xscale="log", xlabel="parameters", ylabel=f"error (%), {dataset}")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
    return figure


def loss_line(slices: "dict[str, Slice]") -> "Figure":
    """Draw the loss and, in a second panel, the error of one-dimensional `Slice`s, given per label in the legend."""
    figure = _figure(10.4, 3.8)
    for axes, key, name in zip(figure.subplots(1, 2), ("loss", "error"), ("loss", "error (%)"), strict=True):
        for colour, (label, line) in zip(itertools.cycle(LINES), slices.items(), strict=False):
            axes.plot(line.coordinates[0], getattr(line, key), ".-", color=colour, label=label)
        axes.set(xlabel="position along the direction", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def loss_plane(plane: "Slice") -> "Figure":
    """Draw the loss of a two-dimensional `Slice` as contours, evenly spaced in its logarithm.

    Raises:
        DataError: the loss is infinite everywhere.
    """
    figure = _figure(5.6, 4.6)
    axes: Any = figure.subplots()
    finite = np.isfinite(plane.loss) & (plane.loss > 0)
    if not finite.any():
        raise DataError("the loss is infinite everywhere on the plane")
    low, high = plane.loss[finite].min(), plane.loss[finite].max()
    levels = np.geomspace(low, max(high, low * 1.01), 25)
    values = np.clip(plane.loss, low, high)
    picture = axes.contourf(*plane.coordinates, values.T, levels=levels, norm="log", cmap="viridis")
    axes.contour(*plane.coordinates, values.T, levels=levels[::4], colors="white", linewidths=0.5)
    axes.plot(0, 0, "+", color="red", markersize=10)
    axes.set(xlabel="position along the first direction", ylabel="along the second", aspect="equal")
    bar: Any = figure.colorbar(picture, ax=axes, label="loss")
    bar.set_ticks(levels[::4], labels=[f"{level:.3g}" for level in levels[::4]])
    bar.minorticks_off()
    return figure
