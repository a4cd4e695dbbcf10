"""The common style of all pictures, on a light or dark background, and functions to write them.

Figures are made without `pyplot`, so nothing depends on a display or on global state. The colors are those of Okabe
and Ito (https://jfly.uni-koeln.de/color), which color-blind people can tell apart.
"""

import contextlib
import functools
import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
# Packages that pictures and pages need in addition to the package's requirements.
PACKAGES = ("matplotlib", "PIL", "adjustText", "scipy", "jinja2")
# If a curve's largest value is this many times its median, a linear axis would flatten the rest.
SQUASHED = 15

# Matplotlib's parameters; a notebook may use them with `plt.rcParams.update(LIGHT)`.
LIGHT: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a8f98",
    "axes.facecolor": "#ffffff",
    "axes.grid": True,
    "axes.labelcolor": "#33363b",
    "axes.labelsize": 10,
    "axes.prop_cycle": "cycler('color', ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'])",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.dpi": 150,
    "figure.facecolor": "#ffffff",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib, so pictures are the same everywhere
    "grid.alpha": 0.6,
    "grid.color": "#dfe2e6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.hashsalt": "cifarzoo",  # equal figures give equal files
    "text.color": "#1c1e21",
    "xtick.color": "#5c6068",
    "xtick.labelsize": 9,
    "ytick.color": "#5c6068",
    "ytick.labelsize": 9,
}
DARK: dict[str, Any] = LIGHT | {
    "axes.edgecolor": "#6f757f",
    "axes.facecolor": "#17191c",
    "axes.labelcolor": "#d7dae0",
    "axes.prop_cycle": "cycler('color', ['#56b4e9', '#ff8a3d', '#2fc79b', '#e39cc3', '#f0c04a', '#9aa7ff'])",
    "figure.facecolor": "#17191c",
    "grid.color": "#33373d",
    "text.color": "#eceef1",
    "xtick.color": "#a9aeb8",
    "ytick.color": "#a9aeb8",
}

_theme: ContextVar[dict[str, Any]] = ContextVar("theme", default=LIGHT)


def check(what: str = "pictures", packages: Sequence[str] = PACKAGES) -> None:
    """Check that the packages for pictures are installed. Call this before long work that ends in a picture.

    Args:
        what: Name of what needs the packages, in the plural, for the message.
        packages: The names of the packages.

    Raises:
        CifarzooError: a package is missing.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            name = {"PIL": "pillow"}.get(package, package)
            raise CifarzooError(f"{what} need {name}: {install_command('plots')}") from None


@contextlib.contextmanager
def theme(parameters: dict[str, Any]) -> Iterator[None]:
    """Draw and write figures in the block with these parameters, `LIGHT` or `DARK`; the default is `LIGHT`."""
    token = _theme.set(parameters)
    try:
        yield
    finally:
        _theme.reset(token)


@contextlib.contextmanager
def _parameters() -> Iterator[None]:
    import matplotlib

    parameters: Any = _theme.get()
    with matplotlib.rc_context(parameters):
        yield


def styled(draw: "Callable[Arguments, Figure]") -> "Callable[Arguments, Figure]":
    """Make a function that draws a figure use the current theme."""

    @functools.wraps(draw)
    def draw_styled(*arguments: Arguments.args, **options: Arguments.kwargs) -> "Figure":
        check()
        with _parameters():
            figure = draw(*arguments, **options)
            figure.draw_without_rendering()  # ticks get their colors when they are first laid out
            return figure

    return draw_styled


def new_figure(width: float = 6.0, height: float = 4.0, layout: Any = "constrained") -> "Figure":
    """Return an empty figure of this size in inches, which notebooks show."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that notebooks show without an import of `pyplot`."""

        def _repr_png_(self) -> bytes:
            return png(self)

    return ShownFigure((width, height), layout=layout)


def color_cycle() -> Iterator[str]:
    """Yield the colors of the current theme in an endless cycle."""
    import matplotlib

    cycle = matplotlib.rcParams["axes.prop_cycle"]()
    return (step["color"] for step in cycle)


def log_axis(axes: Any, name: str, most: int = 7) -> None:
    """Make an axis logarithmic, with a few plain numbers at its ticks; call this after drawing everything.

    Args:
        axes: Matplotlib's axes.
        name: "x" or "y".
        most: Maximum number of labeled ticks.
    """
    from matplotlib import ticker

    getattr(axes, f"set_{name}scale")("log")
    low, high = getattr(axes, f"get_{name}lim")()
    axis = getattr(axes, f"{name}axis")
    if high / low < 8:  # less than a decade contains at most one power of ten
        axis.set_major_locator(ticker.MaxNLocator(min(4, most), steps=[1, 2, 2.5, 5, 10]))
    else:
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            ticks = np.outer(powers, factors)
            if np.sum((ticks >= low) & (ticks <= high)) <= most:
                break
        axis.set_major_locator(ticker.LogLocator(subs=factors, numticks=most))
    axis.set_major_formatter(lambda value, _: short_number(value))
    axis.set_minor_formatter(ticker.NullFormatter())
    if high / low < 8:
        axis.set_minor_locator(ticker.NullLocator())


def log_if_squashed(axes: Any, curves: Sequence[np.ndarray]) -> None:
    """Make the y axis logarithmic if a few large values would flatten the others."""
    values = np.concatenate([np.ravel(curve) for curve in curves]) if curves else np.zeros(0)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > SQUASHED * np.median(values):
        log_axis(axes, "y")


def short_number(value: float) -> str:
    """Format a number for a tick: 0.05, 1,500, 20 k, 3 M, 10⁻⁵."""
    if value <= 0:
        return f"{value:g}"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= max(size, 1e4) * (1 - 1e-9):
            return f"{value / size:,.4g} {unit}"
    if value >= 1e-3:
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    return (f"{factor:.2g}·" if abs(factor - 1) > 1e-6 else "") + f"$10^{{{exponent}}}$"


def write(figure: "Figure", form: str) -> bytes:
    """Return the content of the figure's file in a format that Matplotlib knows: "svg", "png", "pdf"...

    Raises:
        ValueError: Matplotlib does not know the format.
    """
    buffer = io.BytesIO()
    # Without a date, equal figures give equal files.
    without_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    with _parameters():
        figure.savefig(buffer, format=form, metadata=without_date.get(form))
    return buffer.getvalue()


def png(figure: "Figure") -> bytes:
    """Return the content of the figure's PNG file."""
    return write(figure, "png")


def svg(figure: "Figure") -> bytes:
    """Return the content of the figure's SVG file."""
    return write(figure, "svg")


def save(figure: "Figure", path: Path | str) -> Path:
    """Write a figure in the format that the file's suffix names (.svg, .png, .pdf), in a folder created if missing.

    Raises:
        DataError: the suffix is not a known format, or the file cannot be written.
    """
    path = Path(path)
    try:
        content = write(figure, path.suffix.removeprefix(".").lower() or "png")
    except ValueError:
        raise DataError(f"{path}: unknown format {path.suffix!r}; expected .svg, .png or .pdf") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure.strerror or failure})") from None
    return path
