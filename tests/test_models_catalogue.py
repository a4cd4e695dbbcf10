"""The catalogue matches the models, and the package's names load without Keras."""

from dataclasses import asdict

import pytest
from model_cases import run_python
from parameter_counts import DEEP, ROWS, is_default

import cifarzoo
from cifarzoo.models import generate, registry
from cifarzoo.models.catalogue import PATH, catalogue

# Their sizes are compared with the references, without building them again.
NOT_BUILT = {row.model for row in DEEP}
CHEAP = ["cifar_resnet20", "cifar_wrn_16_4", "cifar_skipnet38"]


def test_has_every_factory_of_every_module():
    """If this fails, run `python -m cifarzoo.models.generate`."""
    assert list(catalogue()) == [entry.name for entry in generate.registered_entries()]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in CHEAP else [pytest.mark.slow])
        for name in catalogue()
        if name not in NOT_BUILT
    ],
)
def test_is_up_to_date(name):
    """If this fails, run `python -m cifarzoo.models.generate`."""
    assert asdict(generate.measure(registry.get(name))) == asdict(catalogue()[name])


def test_descriptions_are_up_to_date():
    for name, entry in registry.entries().items():
        record = catalogue()[name]
        assert (record.family, record.paper, record.year) == (entry.family, entry.paper, entry.year)
        assert record.aliases == entry.aliases and record.arguments == entry.architecture({})
        assert (record.training_only, record.special_case_of) == (entry.training_only, entry.special_case_of)
        assert record.summary == entry.factory.__doc__.splitlines()[0]


def default_rows():
    return [row for row in [*ROWS, *DEEP] if is_default(row)]


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
    public = {"create_model", "list_models", "load", "load_data", *catalogue()}
    assert public <= set(cifarzoo.__all__) == {*cifarzoo.FUNCTIONS, *catalogue()}
    assert set(dir(cifarzoo)) == {"__version__", *cifarzoo.__all__}
    for name in cifarzoo.__all__:
        assert callable(getattr(cifarzoo, name)), name


def test_generated_files_are_up_to_date():
    """If this fails, run `python -m cifarzoo.models.generate`."""
    records = catalogue().values()
    assert PATH.read_text(encoding="utf-8") == generate.catalogue_text(records)
    assert generate.STUB.read_text(encoding="utf-8") == generate.stub_text(records)
    assert generate.TABLE_PAGE.read_text(encoding="utf-8") == generate.page_text(records)


@pytest.mark.parametrize("pattern", ["resnet20", "ResNet20", "CIFAR_resnet20", "*_resnet2[0]"])
def test_patterns_are_in_any_case_and_with_or_without_cifar(pattern):
    assert cifarzoo.list_models(pattern) == ["cifar_resnet20"]


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
