"""Which package may import which, as docs/architecture.md says it."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What the package itself offers to all of its modules.
FREE = {"_version", "__init__", "__main__"}


def layers():
    """Return the lines of the list in docs/architecture.md, each a list of packages and modules."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"## Who may import whom.*?```text\n(.*?)```", page, re.DOTALL).group(1)
    return [line.split() for line in block.splitlines()]


def modules():
    """Return every module's name and tree, by name."""
    paths = sorted((ROOT / "cifarzoo").rglob("*.py"))
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for path, name in names.items()}


def imported(tree, known):
    """Return the modules of `known` that a module imports, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in whole}
    return names & set(known)


def part(name):
    """Return the package or module of cifarzoo that a module belongs to."""
    return [*name.split("."), "__init__"][1]


def test_the_list_names_every_package_once():
    listed = [name for line in layers() for name in line]
    assert len(listed) == len(set(listed))
    assert set(listed) == {part(name) for name in modules()} - FREE


def test_no_module_imports_from_a_line_below_its_own():
    rank = {name: number for number, line in enumerate(layers()) for name in line}
    known = modules()
    upward = [
        f"{name} imports {other}"
        for name, tree in known.items()
        for other in imported(tree, known)
        if part(name) not in FREE and part(other) not in FREE and rank[part(other)] > rank[part(name)]
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: imported(tree, known) - {name} for name, tree in known.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules
    assert len(order) == len(known)
