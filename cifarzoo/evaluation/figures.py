"""Pictures of a network: each function returns a Matplotlib figure; `save` writes it, `png` gives its bytes.

Figures are made without `pyplot`, so nothing depends on a display or on global state.
"""

import io
import itertools
import re
from pathlib import Path

import numpy as np

from cifarzoo.data.classes import classes_of
from cifarzoo.errors import CifarzooError, DataError

DPI = 110
LINES = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def check() -> None:
    """Raise CifarzooError if Matplotlib is not installed; to be called before long work whose end is a picture."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise CifarzooError("pictures need Matplotlib: pip install matplotlib") from None


def _figure(width=6.0, height=4.0):
    check()
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=DPI, layout="constrained")


def png(figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure, path: Path) -> Path:
    """Write a figure as PNG; folders are made. Raises DataError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(figure))
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None
    return path


def learning_curves(logs: dict[str, list[dict[str, np.ndarray]]], columns=("loss", "error")):
    """Columns of logs over epochs, training beside validation; of several seeds the mean and a band of one deviation.

    Args:
        logs: By the experiment's name, the logs of its seeds as `read_table` returns them.
        columns: For each a panel with the column, and with `val_` before its name where there is such a one.

    The band is the standard deviation of a sample (n - 1) at the epochs that all seeds have.
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


def _common_rows(seeds, key):
    """Epochs at which every seed has a value in a column, and these values [seeds, epochs]."""
    if any(key not in log for log in seeds):
        return np.zeros(0), np.zeros((len(seeds), 0))
    by_epoch = [dict(zip(log["epoch"][found], log[key][found], strict=True)) for log, found in _finite(seeds, key)]
    epochs = sorted(set.intersection(*(set(one) for one in by_epoch)))
    return np.array(epochs), np.array([[one[epoch] for epoch in epochs] for one in by_epoch])


def _finite(seeds, key):
    return [(log, np.isfinite(log[key])) for log in seeds]


def reliability_diagram(bins: dict[str, np.ndarray]):
    """Accuracy over confidence, and how many images there are at each confidence.

    Args:
        bins: By a name for the legend, what `calibration_bins` returns. Empty bins have no point.
    """
    figure = _figure(5.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="grey", lw=1, label="calibrated")
    for colour, (name, (images, correct, confidence)) in zip(itertools.cycle(LINES), bins.items(), strict=False):
        some = images > 0
        upper.plot(confidence[some] / images[some], correct[some] / images[some], "o-", color=colour, label=name)
        edges = np.linspace(0, 1, len(images) + 1)
        lower.stairs(100 * images / images.sum(), edges, color=colour, fill=True, alpha=0.4)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    lower.set(xlabel="confidence", ylabel="images (%)")
    upper.grid(alpha=0.3)
    upper.legend()
    return figure


def confusion_matrix(matrix, names: list[str]):
    """Counts by true class (rows) and predicted class, coloured by their share of the row; numbers up to 20 classes."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 6.5 if len(names) <= 20 else 14.0
    figure = _figure(size, size * 0.92)
    axes = figure.subplots()
    # Errors are few: the root makes a share of one percent visible.
    picture = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if share[row, column] > 0.4 else "black"
            axes.text(column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize="small")
    small = {} if len(names) <= 20 else {"fontsize": 5}
    axes.set_xticks(range(len(names)), names, rotation=90, **small)
    axes.set_yticks(range(len(names)), names, **small)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class (%)")
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1", "5", "20", "50", "100"])
    return figure


def error_against_parameters(entries, anchors: dict, dataset: str, own: tuple[str, int, float] | None = None):
    """Test error over parameters: published files beside the numbers that papers and other zoos report.

    Args:
        entries: Of the manifest (`cifarzoo.pretrained.loading.Published`).
        anchors: The content of weights/anchors.yaml.
        dataset: Only its points are drawn.
        own: Name, parameters and error in percent of a network to mark.
    """
    from cifarzoo.models.catalogue import find

    figure = _figure(7.0, 4.5)
    axes = figure.subplots()
    classes = str(classes_of(dataset))
    for key, name, marker in (
        ("paper", "papers", "s"),
        ("source", "repositories united here", "^"),
        ("zoo", "best zoo", "v"),
    ):
        rows = [row for row in anchors["rows"] if row["dataset"] == dataset and key in row]
        if rows:
            # "5.89-6.10" and "6.43 best, 6.61 mean": the first number.
            errors = [float(re.match(r"[\d.]+", row[key])[0]) for row in rows]
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
    if own:
        axes.scatter(own[1:2], own[2:], color=LINES[3], marker="*", s=120, zorder=4, label=own[0])
    axes.set(xscale="log", xlabel="parameters", ylabel=f"error (%), {dataset}")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
    return figure


def loss_line(slices: dict):
    """One-dimensional `Slice`s by a name for the legend: loss, and error in a second panel."""
    figure = _figure(10.4, 3.8)
    for axes, key, name in zip(figure.subplots(1, 2), ("loss", "error"), ("loss", "error (%)"), strict=True):
        for colour, (label, found) in zip(itertools.cycle(LINES), slices.items(), strict=False):
            axes.plot(found.coordinates[0], getattr(found, key), ".-", color=colour, label=label)
        axes.set(xlabel="place along the direction", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def loss_plane(found):
    """A two-dimensional `Slice`: contours of the loss, equally far apart in its logarithm."""
    figure = _figure(5.6, 4.6)
    axes = figure.subplots()
    finite = np.isfinite(found.loss) & (found.loss > 0)
    if not finite.any():
        raise DataError("the loss is infinite all over the plane")
    low, high = found.loss[finite].min(), found.loss[finite].max()
    levels = np.geomspace(low, max(high, low * 1.01), 25)
    values = np.clip(found.loss, low, high)
    picture = axes.contourf(*found.coordinates, values.T, levels=levels, norm="log", cmap="viridis")
    axes.contour(*found.coordinates, values.T, levels=levels[::4], colors="white", linewidths=0.5)
    axes.plot(0, 0, "+", color="red", markersize=10)
    axes.set(xlabel="place along the first direction", ylabel="along the second", aspect="equal")
    bar = figure.colorbar(picture, ax=axes, label="loss")
    bar.set_ticks(levels[::4], labels=[f"{level:.3g}" for level in levels[::4]])
    bar.minorticks_off()
    return figure
