"""Draw a network's results: each function returns a Matplotlib figure, `save` writes it, `svg` returns its bytes.

`cifarzoo.evaluation.style` defines their common style.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.data.classes import classes_of
from cifarzoo.evaluation.style import (
    MARKERS,
    check,
    color_cycle,
    log_axis,
    log_if_squashed,
    new_figure,
    png,
    save,
    styled,
    svg,
)
from cifarzoo.models.catalogue import find

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifarzoo.pretrained.manifest import Published

__all__ = [
    "check",
    "confusion_matrix",
    "error_against_parameters",
    "learning_curves",
    "png",
    "reliability_diagram",
    "save",
    "svg",
    "trajectory",
]

TITLES = {"loss": "Loss", "error": "Error", "learning_rate": "Learning rate"}
UNITS = {"loss": "cross-entropy (nats)", "error": "error (%)", "learning_rate": "learning rate"}
LETTER = 0.09  # width in inches of a letter of a legend
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cifar100_coarse": "CIFAR-100's superclasses"}


@styled
def learning_curves(
    logs: dict[str, list[dict[str, np.ndarray]]], columns: Sequence[str] = ("loss", "error", "learning_rate")
) -> "Figure":
    """Draw columns of logs over epochs, for training and validation; for several seeds their mean and spread.

    The band extends one sample standard deviation (n - 1) to either side of the mean, at epochs that all seeds have.

    Args:
        logs: Per name of an experiment, the logs of its seeds as `read_table` returns them.
        columns: One panel for each column in which any log has values. A panel also shows the column of the same name
            with the prefix `val_`, if any.
    """
    with_values = [
        column
        for column in columns
        if any(len(_common_rows(seeds, key)[0]) for seeds in logs.values() for key in (column, f"val_{column}"))
    ]
    columns = with_values or columns[:1]
    several = len(logs) > 1
    # Long names would hide the curves, so that the legend of several lies below the panels.
    figure = new_figure(3.9 * len(columns), 3.3)
    legend: dict[str, Any] = {}
    for axes, column in zip(np.ravel(figure.subplots(1, len(columns))), columns, strict=True):
        cycle = color_cycle()
        drawn: list[np.ndarray] = []
        for name, seeds in logs.items():
            first = next(cycle)
            second = first if several else next(cycle)
            for key, style in ((column, "-"), (f"val_{column}", "--")):
                epochs, values = _common_rows(seeds, key)
                if not len(epochs):
                    continue
                part = "validation" if key != column else "training"
                label = ", ".join(
                    [part] * (column != "learning_rate") + [name] * several + [f"{len(seeds)} seeds"] * (len(seeds) > 1)
                )
                color = second if key != column else first
                mean = values.mean(axis=0)
                drawn.append(mean)
                (line,) = axes.plot(
                    epochs, mean, style, color=color, marker="o" if len(epochs) < 20 else "", label=label
                )
                if several and key != column:  # of the same color as training
                    line.set_markerfacecolor("none")
                legend.setdefault(label, line)
                if len(seeds) > 1:
                    deviation = values.std(axis=0, ddof=1)
                    axes.fill_between(epochs, mean - deviation, mean + deviation, color=color, alpha=0.2, lw=0)
        axes.set(xlabel="epoch", ylabel=UNITS.get(column, column), title=TITLES.get(column, column))
        log_if_squashed(axes, drawn)
        if drawn and not several and column != "learning_rate":
            axes.legend()
    if several and legend:
        curves = {label: line for label, line in legend.items() if label.startswith(("training", "validation"))}
        legend = curves or legend  # the learning rates have the colors of training
        longest = max(map(len, legend))
        side_by_side = 2 if 2 * (longest + 8) * LETTER < 3.9 * len(columns) else 1
        figure.set_figheight(3.3 + 0.22 * -(-len(legend) // side_by_side))
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=side_by_side)
    return figure


@styled
def trajectory(rows: dict[str, list[dict[str, Any]]]) -> "Figure":
    """Draw error and loss of weights that were kept along the way over epochs.

    Args:
        rows: Per name of a split, rows with `epoch`, `error` in percent and `nll` in nats.
    """
    figure = new_figure(8.4, 3.3)
    for axes, (key, column) in zip(figure.subplots(1, 2), (("error", "error"), ("nll", "loss")), strict=True):
        drawn = []
        for color, (name, points) in zip(color_cycle(), rows.items(), strict=False):
            values = np.array([row[key] for row in points], float)
            drawn.append(values)
            axes.plot([row["epoch"] for row in points], values, "o-", color=color, label=name)
        axes.set(xlabel="epoch", ylabel=UNITS[column], title=TITLES[column])
        log_if_squashed(axes, drawn)
        axes.legend()
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


@styled
def reliability_diagram(bins: dict[str, np.ndarray]) -> "Figure":
    """Draw accuracy over confidence, and below it the share of images at each confidence.

    Args:
        bins: Per label in the legend, what `calibration_bins` returns. Empty bins have no point.
    """
    figure = new_figure(5.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], ":", color="gray", lw=1.2, label="perfect calibration")
    for color, marker, (name, (images, correct, confidence)) in zip(color_cycle(), MARKERS, bins.items(), strict=False):
        full = images > 0
        points = confidence[full] / images[full], correct[full] / images[full]
        upper.plot(*points, f"{marker}-", color=color, label=name, clip_on=False)
        edges = np.linspace(0, 1, len(images) + 1)
        lower.stairs(100 * images / images.sum(), edges, color=color, fill=True, alpha=0.45)
    shares = [100 * images[images > 0] / images.sum() for images, _, _ in bins.values()]
    log_if_squashed(lower, shares)  # most images of a good network are in the last bin
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Accuracy at each confidence")
    lower.set(xlabel="confidence of the prediction", ylabel="images (%)")
    upper.legend(loc="upper left")
    return figure


@styled
def confusion_matrix(matrix: Any, names: list[str]) -> "Figure":
    """Draw counts by true class (rows) and predicted class, colored by their share of the row.

    With up to 20 classes, each cell also shows its count.
    """
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = len(names) <= 20
    size = 6.2 if few else 13.0
    figure = new_figure(size, size * 0.88, layout="compressed")
    axes: Any = figure.subplots()
    colors = _shades()
    # Errors are rare: the square root makes a share of one percent visible.
    picture = axes.imshow(np.sqrt(share), cmap=colors, vmin=0, vmax=1)
    if few:
        for row, column in np.ndindex(matrix.shape):
            red, green, blue, _ = colors(np.sqrt(share[row, column]))
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            text = f"{matrix[row, column]:,}" if matrix[row, column] else "·"
            axes.text(
                column, row, text, ha="center", va="center", color="white" if is_dark else "black", fontsize="small"
            )
    font = {} if few else {"fontsize": 5}
    axes.set_xticks(range(len(names)), names, rotation=45 if few else 90, **font | ({"ha": "right"} if few else {}))
    axes.set_yticks(range(len(names)), names, **font)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class", title="Images by true and predicted class")
    bar: Any = figure.colorbar(picture, ax=axes, shrink=0.85, label="share of the true class (%)")
    bar.outline.set_visible(False)
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1", "5", "20", "50", "100"])
    return figure


def _shades() -> Any:
    """Return a color map from the background of the current theme to its first color."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", [matplotlib.rcParams["axes.facecolor"], next(color_cycle())])


@styled
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
    from adjustText import adjust_text

    figure = new_figure(7.6, 4.6)
    axes: Any = figure.subplots()
    classes = str(classes_of(dataset))
    for key, name, marker in (
        ("paper", "papers, quoted", "s"),
        ("source", "repositories united here, quoted", "^"),
        ("zoo", "best other zoo, quoted", "v"),
    ):
        rows = [row for row in anchors["rows"] if row["dataset"] == dataset and key in row]
        if rows:
            # Of "5.89-6.10" or "6.43 best, 6.61 mean" take the first number.
            errors = [float(re.findall(r"[\d.]+", row[key])[0]) for row in rows]
            parameters = [find(row["model"]).total[classes] for row in rows]
            axes.scatter(
                parameters, errors, s=22, marker=marker, facecolors="none", edgecolors="gray", lw=0.8, label=name
            )
    published = [entry for entry in entries if entry.dataset == dataset]
    colors = color_cycle()
    first, second = next(colors), next(colors)
    texts = []
    if published:
        points = [[entry.parameters for entry in published], [entry.metrics["error"] for entry in published]]
        axes.scatter(*points, s=34, color=first, zorder=3, label="cifarzoo, measured")
        best: dict[str, Published] = {}  # one label per network
        for entry in sorted(published, key=lambda entry: -entry.metrics["error"]):
            best[entry.tag.split(f"_{dataset}")[0]] = entry
        texts = [axes.text(e.parameters, e.metrics["error"], name, fontsize=8) for name, e in best.items()]
    if marked:
        axes.scatter(marked[1:2], marked[2:], color=second, marker="*", s=150, zorder=4, label=marked[0])
    axes.set(
        xlabel="parameters",
        ylabel=f"test error (%), {DATASETS.get(dataset, dataset)}",
        title=f"Error and size on {DATASETS.get(dataset, dataset)}",
    )
    if axes.collections:
        # Both logarithmic, so that one bad network does not squeeze the others together.
        log_axis(axes, "x")
        axes.set_yscale("log")
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top * (top / bottom) ** 0.22)  # leave room for the legend
        log_axis(axes, "y")
        axes.legend(loc="upper right", ncols=2)
    if texts:
        figure.draw_without_rendering()  # the labels are moved in the final layout
        drawn = np.concatenate([np.asarray(collection.get_offsets()) for collection in axes.collections])
        adjust_text(
            texts,
            *drawn.T,
            ax=axes,
            expand=(1.3, 1.9),
            force_text=(0.4, 0.8),
            arrowprops={"arrowstyle": "-", "color": "gray", "lw": 0.5},
        )
    return figure
