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
        assert entry.year >= 2014


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


@pytest.mark.slow
def test_variables_of_a_kind_share_a_name_and_keep_their_paths(tmp_path):
    """Sharing makes deep models quick to build; what TensorFlow saves must not mind."""
    import tensorflow as tf
    from model_cases import fill, pixels

    model = registry.create_model("cifar_resnet20", block_type="preactivated")
    names = {weight.value.name for weight in model.weights}
    assert names == {f"{name}:0" for name in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")}
    assert len({weight.path for weight in model.weights}) == len(model.weights)
    assert model.get_layer("stage1_block1_conv1").kernel.path == "stage1_block1_conv1/kernel"
    fill(model)
    images, logits = pixels().astype("float32"), model(pixels()).numpy()
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    assert abs(loaded.serve(images).numpy() - logits).max() < 1e-4 * abs(logits).max()
    saved = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    other = registry.create_model("cifar_resnet20", block_type="preactivated")
    tf.train.Checkpoint(model=other).restore(saved).assert_consumed()
    assert abs(other(pixels()).numpy() - logits).max() == 0
