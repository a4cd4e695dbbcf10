"""Fonts for texts in pictures: Pillow's own has ASCII only, and names of classes may be in any script."""

import functools
import importlib.util
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow finds them in the system's folders of fonts. The first ones have the most of Europe's scripts, the others
# those of East Asia.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "Hiragino Sans GB.ttc",
)


def font_for(text: str, size: int) -> Font:
    """Return a font that has all characters of a text: Pillow's own, Matplotlib's, or one of the system's.

    If none has all, it is Pillow's own, which draws boxes.
    """
    usual = ImageFont.load_default(size)
    if text.isascii():
        return usual
    missing = set(text) - {" "}
    for name in (*_matplotlib(), *SYSTEM_FONTS):
        font = _open(name, size)
        if font is not None and all(_has(font, character) for character in missing):
            return font
    return usual


@functools.cache
def _matplotlib() -> tuple[str, ...]:
    """Return the path of the font that comes with Matplotlib, if that is installed."""
    spec = importlib.util.find_spec("matplotlib")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if spec and spec.origin else None
    return (str(path),) if path and path.is_file() else ()


@functools.cache
def _open(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether a font draws a character otherwise than one that no font has."""
    return bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))
