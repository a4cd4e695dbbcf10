"""What `cifarzoo.predict` returns: classes with probabilities, and their pictures."""

import base64
import html
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifarzoo.errors import DataError, printable
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.inference.contact_sheet import MOST, SIDE, Tile, draw_sheet, save_sheet
from cifarzoo.inference.explain import grad_cam
from cifarzoo.inference.pictures import Picture, Resizing

IN_NOTEBOOKS = 20  # pictures of a table


@dataclass(frozen=True)
class Prediction:
    """What a network says about one picture.

    Attributes:
        image: Its path, or "image 0", "image 1", ... for arrays.
        top: The most probable classes with their probabilities, most probable first.
        probabilities: float32 [classes], of all classes.
        picture: The picture itself, which is read again when it is drawn.
    """

    image: str
    top: tuple[tuple[str, float], ...]
    probabilities: np.ndarray = field(repr=False)
    picture: Picture = field(repr=False)

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.top[0][1]

    def __repr__(self) -> str:
        return f"<{self.image}: {', '.join(f'{name} {100 * share:.1f} %' for name, share in self.top)}>"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: `image`, and `top`, a list of `class` and `probability`."""
        return {"image": self.image, "top": [{"class": name, "probability": share} for name, share in self.top]}


class Predictions(Sequence[Prediction]):
    """The predictions of a network for several pictures, in their order.

    Attributes:
        network: The network.
        class_names: What its outputs mean.
        resizing: How pictures were brought to the size of its input.
        failures: One line for each picture that could not be read.
    """

    def __init__(
        self,
        network: LoadedModel,
        class_names: tuple[str, ...],
        resizing: Resizing,
        items: Sequence[Prediction],
        failures: Sequence[str] = (),
    ):
        self.network, self.class_names, self.resizing = network, class_names, resizing
        self.failures = list(failures)
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Predictions(self.network, self.class_names, self.resizing, self._items[index])
        return self._items[index]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._items)

    def __repr__(self) -> str:
        shown = [repr(item) for item in self._items[:10]]
        more = [f"and {len(self) - 10:,} more"] if len(self) > 10 else []
        return "\n".join([*shown, *more]) or "<no predictions>"

    def _repr_html_(self) -> str:
        shown = self._items[:IN_NOTEBOOKS]
        rows = []
        for item in shown:
            classes = "<br>".join(f"{_escaped(name)} {100 * share:.1f} %" for name, share in item.top)
            rows.append(
                f'<tr><td>{self._thumbnail(item)}</td><td style="text-align:left">{classes}</td>'
                f'<td style="text-align:left">{_escaped(item.image)}</td></tr>'
            )
        more = f"and {len(self) - len(shown):,} more" if len(self) > len(shown) else ""
        return f"<div><table><tbody>{''.join(rows)}</tbody></table>{more}</div>"

    def _thumbnail(self, item: Prediction) -> str:
        """Return a small picture as HTML; nothing if its file is gone."""
        try:
            square = item.picture.square(self.resizing.fit, 128)
        except DataError:
            return ""
        file = io.BytesIO()
        square.save(file, format="PNG")
        data = base64.b64encode(file.getvalue()).decode("ascii")
        return f'<img width="64" style="image-rendering:pixelated" src="data:image/png;base64,{data}">'

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities of all classes, float32 [pictures, classes]."""
        return np.stack([item.probabilities for item in self._items])

    def contact_sheet(
        self,
        path: str | os.PathLike | None = None,
        *,
        explain: bool = False,
        columns: int | None = None,
        dark: bool = False,
    ) -> Image.Image:
        """Draw the pictures with their predictions, as the network sees them: square, and not yet reduced.

        A picture in a folder that has the name of a class also gets this class as its true one.

        Args:
            path: A .png file to write as well.
            explain: Draw a heat map of its most probable class beside each picture; see `cifarzoo.grad_cam`.
            columns: Pictures in a row; by default as many as make the sheet about square.
            dark: Draw on a dark background.

        Returns:
            The Pillow image, which notebooks show.

        Raises:
            CifarzooError: there are more than 400 pictures or none, or the file cannot be written.
            DataError: a picture's file is gone. ModelError: with `explain`, the network has no feature map.
        """
        items = self._items
        heat = self.explain() if explain and 0 < len(items) <= MOST else [None] * len(items)
        tiles = [
            Tile(
                caption,
                item.picture.square(self.resizing.fit, SIDE),
                item.top,
                part,
                _true_class(item.picture, self.class_names),
            )
            for caption, item, part in zip(_captions([item.image for item in items]), items, heat, strict=True)
        ]
        title = f"{self.network.name}{', Grad-CAM of the first class' if explain else ''}"
        sheet = draw_sheet(tiles, title, columns, dark)
        if path is not None:
            save_sheet(sheet, Path(path))
        return sheet

    def explain(self, classes: Sequence[int] | None = None, layer: str | None = None) -> np.ndarray:
        """Compute how much every part of each picture speaks for a class.

        Args:
            classes: The number of a class per picture; by default the most probable ones.
            layer: See `cifarzoo.grad_cam`.

        Returns:
            float32 [pictures, rows, columns]; see `cifarzoo.grad_cam`.
        """
        resizing = self.resizing
        pixels = np.stack([item.picture.read(resizing) for item in self._items])
        chosen = self.probabilities.argmax(axis=1) if classes is None else np.asarray(classes)
        return grad_cam(self.network.model, pixels, chosen, layer)


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _true_class(picture: Picture, class_names: Sequence[str]) -> str:
    """Return the class that the folder of a picture is named after, "" if there is none."""
    if not isinstance(picture.source, str):
        return ""
    folder = os.path.basename(os.path.dirname(os.path.abspath(picture.source)))
    named = [name for name in class_names if _letters(name) == _letters(folder)]
    return named[0] if len(named) == 1 else ""


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _captions(names: Sequence[str]) -> list[str]:
    """Return paths without the folders that all share."""
    folders = {os.path.dirname(name) for name in names}
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative paths, or several drives
        shared = ""
    return [os.path.relpath(name, shared) if shared else name for name in names]
