"""Translate layer names by templates: `stage{s}_block{b}_conv{i}` is `layer{s}.{b-1}.conv{i}` elsewhere."""

import functools
import re
from collections.abc import Iterable

# Where a layer of ours is in another project's file: one place, or several spellings of it, or None for a layer that
# the other network lacks and that has to do nothing.
Places = dict[str, tuple[str, ...] | None]
Templates = dict[str, str | tuple[str, ...] | None]


def translate(names: Iterable[str], templates: Templates) -> Places:
    """Return the places of layers; those that no template describes are left out.

    Args:
        names: Names of our layers.
        templates: Places by name. `{s}` in a name stands for a number, `{s}` in the place for the same number, and
            `{s-1}` for the number before it.
    """
    places: Places = {}
    for name in names:
        for template, place in templates.items():
            if match := _pattern(template).fullmatch(name):
                spellings = (place,) if isinstance(place, str) else place
                places[name] = spellings and tuple(_filled(spelling, match.groupdict()) for spelling in spellings)
                break
    return places


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(template)))


def _filled(template: str, numbers: dict[str, str]) -> str:
    return re.sub(r"\{(\w)(-1)?\}", lambda field: str(int(numbers[field[1]]) - (1 if field[2] else 0)), template)
