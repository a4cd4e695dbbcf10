"""Draw test images with what a published network says of them, as SVG pictures for light and dark pages."""

import base64
import io
from html import escape

# In pixels: an image, the gap between two, and the height of the caption.
SIZE, GAP, CAPTION = 84, 14, 40
INK = {"light": ("#1f2328", "#59636e"), "dark": ("#e6e9ee", "#a2a9b4")}


def picture(images, names: list[str], probabilities: list[float], ink: tuple[str, str]) -> str:
    """Return the SVG of images in a row, each with a class and its probability below."""
    from PIL import Image

    cells = []
    for number, (pixels, name, probability) in enumerate(zip(images, names, probabilities, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
        left, middle = number * (SIZE + GAP), number * (SIZE + GAP) + SIZE / 2
        cells.append(
            f'<image x="{left}" width="{SIZE}" height="{SIZE}" style="image-rendering: pixelated" '
            f'href="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"/>\n'
            f'<text x="{middle}" y="{SIZE + 18}" font-weight="600" fill="{ink[0]}">{escape(name)}</text>'
            f'<text x="{middle}" y="{SIZE + 34}" fill="{ink[1]}">{100 * probability:.1f} %</text>'
        )
    width = len(cells) * (SIZE + GAP) - GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {SIZE + CAPTION}" width="{width}" '
        f'height="{SIZE + CAPTION}" font-family="system-ui, sans-serif" font-size="12.5" text-anchor="middle">\n'
        + "\n".join(cells)
        + "\n</svg>\n"
    )
