"""What is drawn, read back from the figures."""

import io
import itertools
import sys

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation import figures, slice_figures, style
from cifarzoo.evaluation.loss_slices import Slice
from cifarzoo.metrics import calibration_bins
from cifarzoo.pretrained.manifest import manifest, manifest_path


def pixels(figure):
    """The rendered picture, uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def test_learning_curves_are_the_mean_with_a_band_of_one_deviation():
    epochs = np.array([1.0, 2.0, 3.0])
    seeds = [
        {"epoch": epochs, "loss": np.array([3, 2, value]), "val_loss": np.array([np.nan, 2.5, np.nan])}
        for value in (1.0, 1.5, 2.0)
    ]
    (axes,) = figures.learning_curves({"net": seeds}, columns=("loss",)).axes
    training, validation = axes.lines
    np.testing.assert_allclose(training.get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    np.testing.assert_allclose(validation.get_xydata(), [[2, 2.5]])
    band = axes.collections[0].get_paths()[0].vertices
    at_three = band[band[:, 0] == 3][:, 1]
    assert (at_three.min(), at_three.max()) == pytest.approx((1.0, 2.0))  # the deviation of 1, 1.5, 2 is 0.5


def test_the_legend_of_several_names_hides_no_curve():
    log = {"epoch": np.arange(1.0, 4.0), "loss": np.arange(3.0), "val_loss": np.array([np.nan, np.nan, 1.0])}
    log["learning_rate"] = np.full(3, 0.1)
    names = ["cifar10_resnet20_baseline-augmentation_standard", "cifar10_resnet20_baseline-augmentation_none"]
    figure = figures.learning_curves({name: [log] for name in names})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{part}, {name}" for name in names for part in ("training", "validation")
    ]
    top = legend.get_window_extent().y1
    assert all(axes.get_legend() is None and axes.get_tightbbox().y0 >= top for axes in figure.axes)
    assert legend.get_window_extent().x0 >= 0 and legend.get_window_extent().x1 <= figure.bbox.x1
    training, validation = figure.axes[0].lines[:2]
    assert training.get_color() == validation.get_color() and validation.get_markerfacecolor() == "none"


def test_notebooks_show_figures_without_pyplot():
    figure = figures.confusion_matrix(np.eye(3, dtype=int), ["a", "b", "c"])
    shown = np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGB"))
    np.testing.assert_array_equal(shown, pixels(figure))


def test_reliability_diagram_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    bins = calibration_bins(probabilities, np.array([0, 1, 0, 1]), 10)
    upper, lower = figures.reliability_diagram({"x": bins}).axes
    np.testing.assert_allclose(upper.lines[1].get_xydata(), [[0.6, 1], [0.9, 0.5]])
    heights = lower.patches[0].get_data().values
    assert heights.sum() == 100 and sorted(heights)[-2:] == [50, 50]


@pytest.mark.parametrize("classes", [10, 100])
def test_confusion_matrix_shows_its_counts(classes):
    matrix = np.arange(classes**2).reshape(classes, classes)
    figure = figures.confusion_matrix(matrix, [f"class {k}" for k in range(classes)])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][3] == "class 3"
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[2] ** 2, matrix[2] / matrix[2].sum())
    assert len(axes.texts) == (100 if classes == 10 else 0)
    assert pixels(figure).std() > 10


def test_published_errors_are_in_the_zoo_picture():
    anchors = yaml.safe_load((manifest_path().parent / "anchors.yaml").read_text())
    entries = manifest()
    figure = figures.error_against_parameters(entries, anchors, "cifar10", ("mine", 1000, 50.0))
    points = np.concatenate([np.asarray(found.get_offsets()) for found in figure.axes[0].collections])
    for entry in entries:
        if entry.dataset == "cifar10":
            assert [entry.parameters, entry.metrics["error"]] in points.tolist()
    assert [1000, 50.0] in points.tolist() and 8.75 in points[:, 1]  # and what the paper says of ResNet-20
    empty = figures.error_against_parameters([], anchors | {"rows": []}, "synthetic")
    assert pixels(empty).std() > 0


def test_slices_are_drawn_even_where_the_loss_is_infinite():
    places = np.linspace(-1, 1, 5)
    line = Slice((places,), np.array([3, 2, 1, 2, np.inf]), np.full(5, 50.0))
    figure = slice_figures.loss_line({"train": line})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), line.loss)
    assert pixels(figure).std() > 10
    loss = 1 + places[:, None] ** 2 + 3 * places[None] ** 2
    loss[0, 0] = np.inf
    assert pixels(slice_figures.loss_plane(Slice((places, places), loss, loss))).std() > 10
    with pytest.raises(DataError, match="infinite everywhere"):
        slice_figures.loss_plane(Slice((places, places), np.full((5, 5), np.inf), loss))


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    figure = slice_figures.loss_line({"x": Slice((np.arange(2.0),), np.ones(2), np.ones(2))})
    with pytest.raises(DataError, match="cannot be written"):
        figures.save(figure, tmp_path / "file" / "picture.png")


def test_a_picture_is_written_in_the_format_of_its_suffix(tmp_path):
    figure = slice_figures.loss_line({"x": Slice((np.arange(2.0),), np.ones(2), np.ones(2))})
    starts = {"a.svg": b"<?xml", "a.png": b"\x89PNG", "a.PDF": b"%PDF", "a": b"\x89PNG"}
    for name, start in starts.items():
        assert figures.save(figure, str(tmp_path / name)).read_bytes().startswith(start)
    assert figures.svg(figure) == (tmp_path / "a.svg").read_bytes()  # nothing depends on when it was drawn
    with pytest.raises(DataError, match="unknown format '.xyz'; expected .svg, .png or .pdf"):
        figures.save(figure, tmp_path / "a.xyz")


def test_one_bad_network_leaves_the_labels_of_the_others_apart():
    anchors = yaml.safe_load((manifest_path().parent / "anchors.yaml").read_text())
    figure = figures.error_against_parameters(manifest(), anchors, "cifar10", ("mine", 271_098, 61.0))
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    names = [text.get_text() for text in axes.texts]
    assert len(set(names)) == len(names) >= 6  # one label per network
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((1.4e5, 2.9e5), ["150 k", "200 k", "250 k", "300 k"]),
        ((1.5, 60), ["2", "5", "10", "20", "50"]),
        ((1e-4, 1e4), None),
    ],
)
def test_ticks_of_logarithmic_axes_are_few_and_readable(values, ticks):
    figure = style.new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([0, 1], values)
    style.log_axis(axes, "y")
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    shown = [
        label.get_text()
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert 3 <= len([text for text in shown if text]) <= 8
    if ticks:
        assert shown == ticks
    boxes = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


def test_short_numbers():
    shown = [style.short_number(value) for value in (0.05, 1500, 20_000, 3e6, 2.5e9, 1e-5, 2e-4, 0)]
    assert shown == ["0.05", "1,500", "20 k", "3 M", "2.5 G", "$10^{-5}$", "2·$10^{-4}$", "0"]


def test_one_large_value_does_not_press_a_curve_to_the_floor():
    log = {"epoch": np.arange(1.0, 9), "loss": np.array([500.0, 2, 1.5, 1.2, 1, 0.9, 0.8, 0.7])}
    (axes,) = figures.learning_curves({"net": [log]}, columns=("loss",)).axes
    assert axes.get_yscale() == "log"
    (axes,) = figures.learning_curves({"net": [log | {"loss": log["loss"].clip(max=3)}]}, columns=("loss",)).axes
    assert axes.get_yscale() == "linear"


def test_dark_pictures_have_a_dark_ground_and_the_same_content():
    draw = lambda: figures.confusion_matrix(np.eye(3, dtype=int), list("abc"))  # noqa: E731
    light = pixels(draw())
    with style.theme(style.DARK):
        dark = pixels(draw())
    assert light.shape == dark.shape and light[0, 0].min() > 200 and dark[0, 0].max() < 50


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CifarzooError, match='pictures need matplotlib: pip install "matplotlib>=3.8" .*"scipy>=1.11"'):
        figures.check()
