"""Draw pictures with their predicted classes as one PNG, on a light or dark background; Grad-CAM beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cifarzoo.errors import CifarzooError, printable
from cifarzoo.inference.fonts import Font, font_for
from cifarzoo.runs import atomic

# In pixels. Sheets are made for screens with two pixels per point.
SIDE, GAP, BAR, FONT, SMALL_FONT = 288, 32, 34, 23, 19
CORNER = 10  # radius
MOST = 400  # tiles; more would make a picture that no viewer opens
WIDEST = 8  # pictures in a row


@dataclass(frozen=True)
class Theme:
    """Colors: background, text, quiet text, bars behind text, the bar of the most probable class, missed classes."""

    paper: str
    ink: str
    quiet: str
    bar: str
    best: str
    missed: str


LIGHT = Theme("#ffffff", "#1c1e21", "#5c6068", "#e6e9ee", "#b9dcf3", "#b3261e")
DARK = Theme("#17191c", "#eceef1", "#a9aeb8", "#2b2f35", "#1d5278", "#f2a29b")

# Heat from weak to strong: colors that are far from most pictures' own, ever more opaque.
HEAT = np.array([[72, 12, 110], [190, 40, 95], [240, 105, 35], [252, 190, 50], [253, 245, 170]], np.float32)
OPAQUE = 0.72


@dataclass(frozen=True)
class Tile:
    """What is drawn of one picture.

    Attributes:
        name: Its caption.
        picture: A square picture in RGB.
        top: Classes with their probabilities, most probable first.
        heat: Grad-CAM [rows, columns], or None.
        true_class: What it shows, if that is known, else "".
    """

    name: str
    picture: Image.Image
    top: Sequence[tuple[str, float]]
    heat: np.ndarray | None = None
    true_class: str = ""


def heat_over(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """Draw a map over a picture: transparent where it is zero, bright and opaque where it is largest."""
    largest = float(heat.max(initial=0))
    if largest <= 0:
        return picture
    smooth = Image.fromarray((heat / largest).astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(smooth), 0, 1)
    steps = np.linspace(0, 1, len(HEAT))
    colors = np.stack([np.interp(values, steps, HEAT[:, channel]) for channel in range(3)], axis=-1)
    # Weak values hardly tint the picture, and strong ones still let it shine through.
    alpha = OPAQUE * values[..., None] ** 0.8
    mixed = np.asarray(picture, np.float32) * (1 - alpha) + colors * alpha
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def enlarged(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """Bring a square picture to the size of a tile; the pixels of small ones stay squares."""
    small = picture.width * 4 <= side
    return picture.resize((side, side), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def draw_sheet(tiles: Sequence[Tile], title: str = "", columns: int | None = None, dark: bool = False) -> Image.Image:
    """Draw tiles in rows: the picture, its Grad-CAM if there is one, a bar per class, and the name.

    Args:
        tiles: At least one, and at most MOST.
        title: One line above the tiles.
        columns: Tiles in a row; by default as many as make the sheet about as wide as high, and at most eight pictures.
        dark: Draw on a dark background.

    Raises:
        CifarzooError: there are no tiles, or too many.
    """
    if not 1 <= len(tiles) <= MOST:
        raise CifarzooError(f"a contact sheet has 1 to {MOST} pictures, got {len(tiles):,}")
    theme = DARK if dark else LIGHT
    pictures = 2 if any(tile.heat is not None for tile in tiles) else 1
    columns = columns or _columns(len(tiles), pictures)
    width = pictures * SIDE + (pictures - 1) * GAP // 4
    lines = max(len(tile.top) for tile in tiles)
    height = SIDE + 12 + lines * (BAR + 4) + SMALL_FONT + 8
    rows = -(-len(tiles) // columns)
    above = GAP + (SMALL_FONT + GAP // 2 if title else 0)
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), above + rows * (height + GAP)), theme.paper)
    if title:
        draw, small = ImageDraw.Draw(sheet), font_for(title, SMALL_FONT)
        draw.text((GAP + 2, GAP // 2), _shortened(title, small, sheet.width - 2 * GAP, draw), theme.quiet, small)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        _draw_tile(sheet, tile, GAP + column * (width + GAP), above + row * (height + GAP), width, theme)
    return sheet


def _columns(count: int, pictures: int) -> int:
    """Return how many tiles of one or two pictures go into a row: the sheet is about square, and its last row full."""
    usual = math.ceil(math.sqrt(count / pictures))
    most = min(WIDEST // pictures, count)
    possible = [columns for columns in (usual, usual + 1, usual - 1) if 1 <= columns <= most]
    return min(possible, key=lambda columns: -count % columns, default=most)


def _draw_tile(sheet: Image.Image, tile: Tile, left: int, top: int, width: int, theme: Theme) -> None:
    draw = ImageDraw.Draw(sheet)
    picture = enlarged(tile.picture)
    mask = Image.new("L", (2 * SIDE, 2 * SIDE))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 2 * SIDE - 1, 2 * SIDE - 1), 2 * CORNER, 255)
    mask = mask.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    sheet.paste(picture, (left, top), mask)
    frames = [left]
    if tile.heat is not None:
        frames.append(left + width - SIDE)
        sheet.paste(heat_over(picture, tile.heat), (frames[1], top), mask)
    for x in frames:  # white pictures would have no edge on white paper
        draw.rounded_rectangle((x, top, x + SIDE - 1, top + SIDE - 1), CORNER, outline=theme.bar, width=2)
    y = top + SIDE + 12
    for rank, (name, share) in enumerate(tile.top):
        font, figures = font_for(name, FONT), font_for("", FONT)
        # The number has a place of its own, so that no bar ends in the middle of it.
        end = left + max(round((width - 12 - draw.textlength("100 %", figures)) * share), 6)
        draw.rounded_rectangle((left, y, end, y + BAR - 1), 6, theme.bar if rank else theme.best)
        percent = f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"
        room = width - 24 - draw.textlength(percent, figures)
        color = theme.quiet if rank else theme.ink
        draw.text((left + 10, y + BAR // 2), _shortened(name, font, room, draw), color, font, anchor="lm")
        draw.text((left + width - 6, y + BAR // 2), percent, color, figures, anchor="rm")
        y += BAR + 4
    x, room = left + 2, float(width)
    if tile.true_class:
        small = font_for(tile.true_class, SMALL_FONT)
        text = _shortened(f"true: {tile.true_class}   ", small, 2 * width / 3, draw)
        draw.text((x, y + 4), text, theme.ink if tile.true_class == tile.top[0][0] else theme.missed, small)
        x, room = x + math.ceil(draw.textlength(text, small)), room - draw.textlength(text, small)
    small = font_for(tile.name, SMALL_FONT)
    draw.text((x, y + 4), _shortened(tile.name, small, room, draw, keep_end=True), theme.quiet, small)


def _shortened(text: str, font: Font, room: float, draw: ImageDraw.ImageDraw, keep_end: bool = False) -> str:
    """Cut a text to the room there is at its end or, with `keep_end`, at its beginning."""
    text = printable(text)
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength("..." + text, font) > room:
        text = text[1:] if keep_end else text[:-1]
    return "..." + text if keep_end else text + "..."


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a picture as PNG; the file appears when it is complete.

    Raises:
        CifarzooError: the name does not end in .png, there is no such folder, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise CifarzooError(f"{path}: the name of a contact sheet ends in .png")
    if not path.parent.is_dir():
        raise CifarzooError(f"{path}: there is no folder {path.parent}")
    try:
        with atomic.replacing(path, shared=True) as temporary:
            sheet.save(temporary, format="PNG")
    except OSError as failure:
        raise CifarzooError(f"{path}: cannot be written ({failure.strerror or failure})") from None
