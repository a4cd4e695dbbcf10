"""The catalogue says what the models are, and the package's names cost no Keras."""

import ast
from dataclasses import asdict
from pathlib import Path

import pytest
from model_cases import run_python
from parameter_counts import ROWS

import cifarzoo
from cifarzoo.models import registry
from cifarzoo.models.catalogue import catalogue, measure

CHEAP = ["cifar_resnet20", "cifar_wrn_16_4", "cifar_skipnet38"]


def test_has_every_model():
    assert list(catalogue()) == list(registry.entries())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in CHEAP else [pytest.mark.slow]) for name in catalogue()],
)
def test_is_up_to_date(name):
    """If this fails, run `python -m cifarzoo.models.catalogue`."""
    assert asdict(measure(name)) == asdict(catalogue()[name])


def test_descriptions_are_up_to_date():
    for name, entry in registry.entries().items():
        record = catalogue()[name]
        assert (record.family, record.paper, record.year) == (entry.family, entry.paper, entry.year)
        assert record.aliases == entry.aliases and record.arguments == entry.architecture({})
        assert record.summary == entry.factory.__doc__.splitlines()[0]


def default_rows():
    return [row for row in ROWS if row.arguments.items() <= catalogue()[row.model].arguments.items()]


def test_sizes_equal_the_references():
    rows = default_rows()
    assert len({row.model for row in rows}) >= len(catalogue()) - 2
    for row in rows:
        record = catalogue()[row.model]
        assert record.trainable == {"10": row.trainable_10, "100": row.trainable_100}, row.model
        assert record.total == {"10": row.total_10, "100": row.total_100}, row.model
        if row.millions_of_macs:
            assert record.macs["10"] / 1e6 == pytest.approx(row.millions_of_macs, rel=1e-3), row.model


def test_public_names():
    public = {"create_model", "list_models", *catalogue()}
    assert public <= set(dir(cifarzoo)) and set(cifarzoo.__all__) == public
    assert cifarzoo.create_model is registry.create_model
    tree = ast.parse(Path(cifarzoo.__file__).read_text())
    (for_type_checkers,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imported = {(node.module, node.names[0].asname) for node in for_type_checkers.body}
    assert {name for _, name in imported} == public
    for module, name in imported:
        assert getattr(cifarzoo, name).__module__ == module


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'cifar_resnet21'"):
        cifarzoo.cifar_resnet21  # noqa: B018


IMPORT = """
import sys, time
start = time.process_time()
import cifarzoo
seconds = time.process_time() - start
assert cifarzoo.__version__ and "cifar_resnet20" in dir(cifarzoo) and "cifar_resnet20" in cifarzoo.list_models()
heavy = {"keras", "tensorflow", "numpy", "jax", "torch"} & set(sys.modules)
assert not heavy, heavy
print(seconds)
"""


def test_importing_and_listing_costs_no_keras():
    assert float(run_python(IMPORT)) < 0.05
