"""Draw graphs of blocks side by side as an SVG picture in the color of the text around it."""

import itertools
from dataclasses import dataclass
from html import escape

from block_graphs import Node

# In pixels: the distance of rows, boxes, the margin between columns and between blocks.
ROW, HEIGHT, GAP, BETWEEN, TOP = 42, 26, 26, 56, 34
_SMALL = {"Add", "Multiply"}  # drawn as circles
_COLORS = {
    "Conv2D": "#3b82d6",
    "Dense": "#3b82d6",
    "Functional": "#3b82d6",
    "BatchNormalization": "#c98a1b",
    "ReLU": "#2f9e6b",
    "Gelu": "#2f9e6b",
}
# In the repository the picture follows the system's colors; the site removes this and lets the page decide.
STYLE = "<style>svg { color: #24292f } @media (prefers-color-scheme: dark) { svg { color: #d8dde4 } }</style>"


@dataclass
class Place:
    """Where an operation is drawn: the middle of its box, and the width."""

    x: float
    y: float
    width: float


def picture(blocks: dict[str, dict[str, Node]]) -> str:
    """Return the SVG of blocks by their titles."""
    parts, left, bottom = [], 4.0, 0.0
    for title, nodes in blocks.items():
        drawn, width, height = _block(title, nodes, left)
        parts += drawn
        left += width + BETWEEN
        bottom = max(bottom, height)
    width = left - BETWEEN + 4
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom:.0f}" width="{width:.0f}" '
        f'height="{bottom:.0f}" font-family="system-ui, sans-serif" font-size="12.5" role="img" '
        f'aria-label="{escape(", ".join(blocks))}">\n{STYLE}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _columns(nodes: dict[str, Node]) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Split a graph into paths: the longest is column 0, and each further branch has a column of its own.

    Returns:
        The column of every operation, and that of every edge which no operation lies on.
    """
    last = list(nodes)[-1]
    column = dict.fromkeys(_longest(nodes, last, set()), 0)
    edges: dict[tuple[str, str], int] = {}
    parents: dict[int, int] = {}  # the column that a branch joins
    drawn = set(itertools.pairwise(column))
    for name in reversed(nodes):
        for before in nodes[name].inputs:
            if (before, name) in drawn or name not in column:
                continue
            path = _longest(nodes, before, set(column)) if before not in column else []
            number = max([*column.values(), *edges.values()]) + 1
            column |= dict.fromkeys(path, number)
            start = path[0] if path else name
            root = _root(nodes, start, column, number) if path else before
            edges[root, start] = number
            parents[number] = column[name]
            drawn |= {(before, name), (root, start), *itertools.pairwise(path)}
    # A branch of a branch stands next to it, so that lines cross no boxes.
    order: list[int] = []
    stack = [0]
    while stack:
        order.append(number := stack.pop())
        stack += [child for child, parent in parents.items() if parent == number]
    return (
        {name: order.index(number) for name, number in column.items()},
        {edge: order.index(number) for edge, number in edges.items()},
    )


def _longest(nodes, end, taken):
    """Return the longest path to `end` through operations that are not taken yet, first to last."""
    paths = [_longest(nodes, before, taken) for before in nodes[end].inputs if before not in taken]
    return [*max(paths, key=len, default=[]), end]


def _root(nodes, start, column, number):
    """Return the operation that a branch leaves."""
    return next(before for before in nodes[start].inputs if column.get(before, number) != number)


def _ranks(nodes):
    rank: dict[str, int] = {}
    for name, node in nodes.items():
        rank[name] = max((rank[before] + 1 for before in node.inputs), default=0)
    return rank


def _block(title, nodes, left):
    """Return the elements of one block, its width and height."""
    column, lanes = _columns(nodes)
    rank = _ranks(nodes)
    count = max([*column.values(), *lanes.values()]) + 1
    widths = [
        max((_width(node) for name, node in nodes.items() if column[name] == number), default=12.0)
        for number in range(count)
    ]
    centers = [left + sum(widths[:number]) + GAP * number + widths[number] / 2 for number in range(count)]
    width = sum(widths) + GAP * (count - 1)
    places = {name: Place(centers[column[name]], TOP + 14 + ROW * rank[name], _width(nodes[name])) for name in nodes}
    parts = [f'<text x="{left:.1f}" y="14" font-weight="600" fill="currentColor">{escape(title)}</text>']
    for name, node in nodes.items():
        for before in node.inputs:
            lane = lanes.get((before, name))
            parts.append(_edge(places[before], places[name], None if lane is None else centers[lane]))
    parts += [_shape(node, places[name]) for name, node in nodes.items()]
    end = max(place.y for place in places.values())
    middle = places[list(nodes)[-1]].x
    parts.append(_line([(middle, end + HEIGHT / 2), (middle, end + HEIGHT / 2 + 18)]))
    return parts, max(width, 7.2 * len(title)), end + HEIGHT / 2 + 24


def _width(node):
    return 24.0 if node.kind in _SMALL else 8.0 if node.kind == "input" else max(64.0, 6.7 * len(node.label) + 18)


def _edge(source: Place, target: Place, lane: float | None) -> str:
    """Return the line from one operation to the next; the lane is the middle of the column of a branch that begins."""
    below = source.y + (4 if source.width == 8 else HEIGHT / 2)
    top = target.y - (12 if target.width == 24 else HEIGHT / 2)
    turn = below + 7
    if lane is None and source.x == target.x:
        return _line([(source.x, below), (target.x, top)])
    if lane == target.x:  # a branch begins
        return _line([(source.x, below), (source.x, turn), (lane, turn), (lane, top)])
    side = target.x + target.width / 2
    if lane is None:  # a branch ends
        return _line([(source.x, below), (source.x, target.y), (side, target.y)])
    return _line([(source.x, below), (source.x, turn), (lane, turn), (lane, target.y), (side, target.y)])


def _line(points):
    """Return a line with an arrow at its end."""
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    line = f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity=".55" stroke-width="1.3"/>'
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    corners = [(x, y), (x - 6 * dx - 3.2 * dy, y - 6 * dy - 3.2 * dx), (x - 6 * dx + 3.2 * dy, y - 6 * dy + 3.2 * dx)]
    head = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'{line}<polygon points="{head}" fill="currentColor" fill-opacity=".7"/>'


def _shape(node: Node, place: Place) -> str:
    if node.kind == "input":
        return f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="4" fill="currentColor" fill-opacity=".7"/>'
    color = _COLORS.get(node.kind, "#8a8f98")
    position = f'x="{place.x:.1f}" y="{place.y + 4.4:.1f}"'
    text = f'<text {position} text-anchor="middle" fill="currentColor">{escape(node.label)}</text>'
    paint = f'fill="{color}" fill-opacity=".16" stroke="{color}" stroke-opacity=".75"'
    if node.kind in _SMALL:
        return f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="12" {paint}/>{text}'
    corner = f'x="{place.x - place.width / 2:.1f}" y="{place.y - HEIGHT / 2:.1f}"'
    return f'<rect {corner} width="{place.width:.1f}" height="{HEIGHT}" rx="5" {paint}/>{text}'
