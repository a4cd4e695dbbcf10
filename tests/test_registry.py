"""Finding models by name, and the arguments that every factory has."""

import inspect

import pytest

from cifarzoo.errors import ModelError
from cifarzoo.models import registry


def test_every_factory_has_a_real_signature_and_documentation():
    for name, entry in registry.entries().items():
        parameters = list(inspect.signature(entry.factory).parameters)
        assert parameters[-len(registry.COMMON_ARGUMENTS) :] == list(registry.COMMON_ARGUMENTS), name
        assert entry.factory.__doc__ and f"Reference: {entry.paper} ({entry.year})." in entry.factory.__doc__
        assert entry.factory.__name__ == name
        assert 2014 <= entry.year <= 2020


def test_patterns():
    assert registry.list_models("*resnet1??") == ["cifar_resnet110", "cifar_resnet164"]
    assert registry.list_models("nothing*") == []
    assert registry.list_models() == list(registry.entries())


def test_unknown_model_names_the_nearest():
    with pytest.raises(ModelError, match=r"unknown model 'cifar_resnet21'; did you mean .*cifar_resnet20"):
        registry.get("cifar_resnet21")


def test_no_name_twice():
    register = registry.register("A paper", 2015)

    def cifar_resnet20(**options):
        """Another one."""

    registry.entries()
    with pytest.raises(ModelError, match="'cifar_resnet20' is registered twice"):
        register(cifar_resnet20)


def test_architecture_arguments_have_their_defaults():
    entry = registry.get("cifar_resnet110")
    assert entry.architecture({"classes": 100, "shortcut_type": "A"}) == {
        "block_type": "preactivated",
        "shortcut_type": "A",
    }


def test_positional_arguments_work():
    assert registry.get("cifar_resnet20").factory("preactivated", "B", 7).output_shape == (None, 7)
