"""The reference of the public interface, from cifarzoo/__init__.pyi; factories are on the pages of their families."""

import ast

from outside import ROOT

HEADER = """# API reference

Everything public is in `cifarzoo`, and its import starts neither Keras nor TensorFlow. The factories of models, such as
`cifarzoo.cifar_resnet20`, are described on the [pages of their families](models.md).

"""


def public_names() -> list[str]:
    """Return the public names of the type stub, without the factories, in its order."""
    stub = ast.parse((ROOT / "cifarzoo" / "__init__.pyi").read_text(encoding="utf-8"))
    names = next(ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    return [name for name in names if not name.startswith("cifar_")]


def page() -> str:
    """Return the text of the page."""
    return HEADER + "\n\n".join(f"::: cifarzoo.{name}" for name in public_names()) + "\n"
