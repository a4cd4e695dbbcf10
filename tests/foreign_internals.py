"""Find where a Python file uses what a foreign package keeps private."""

import ast
from pathlib import Path

# In two pieces, so that a search for the first name finds uses only.
PRIVATE_TREES = ("keras" + ".src", "tensorflow.python", "jax._src")
# Packages whose own attributes nobody else may replace.
PATCHED = {"keras", "layers", "tf", "tensorflow", "tensorboard"}
# Private by their names only: documented parts of the standard library.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_field_defaults", "_make", "_replace"}
LOOKUPS = {"getattr", "setattr", "hasattr", "delattr"}


def foreign_internals(path: Path) -> list[str]:
    """Return "line: what" for every use of a foreign private part.

    An attribute with a leading underscore may be read from `self`, `cls` or `super()`, and from any object if a class
    in the same file defines it: a class may look into another object of its own kind, and into nothing else.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = set(_own_attributes(tree))
    return [f"{node.lineno}: {what}" for node in ast.walk(tree) if (what := _use(node, own))]


def _use(node, own):
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        return next((name for name in names if _in_private_tree(name)), None)
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return next((name for name in names if _in_private_tree(name)), None)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # Modules can be named in strings. Docstrings may name them too, though: the rule in words is no use of it.
        return node.value if _in_private_tree(node.value) and " " not in node.value else None
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        if _in_private_tree(name):
            return name
        if isinstance(node.ctx, ast.Store | ast.Del) and name.split(".")[0] in PATCHED:
            return f"{name} is replaced"
        if _is_private(node.attr) and node.attr not in own and not _is_own_object(node.value):
            return name
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOKUPS:
        return _named_by_string(node.args[1], own) if len(node.args) > 1 else None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "__dict__":
        return _named_by_string(node.slice, own)
    return None


def _named_by_string(node, own):
    is_foreign = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in own
    return node.value if is_foreign and _is_private(node.value) else None


def _in_private_tree(name):
    return any(name == tree or name.startswith(f"{tree}.") for tree in PRIVATE_TREES)


def _is_private(name):
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def _is_own_object(node):
    if isinstance(node, ast.Name):
        return node.id in ("self", "cls")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _own_attributes(tree):
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.ClassDef):
            continue
        for node in ast.walk(scope):
            if isinstance(node, ast.FunctionDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own_object(node.value):
                yield node.attr
        for node in scope.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id
            elif isinstance(node, ast.Assign):
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))
