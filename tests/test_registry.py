"""Finding models by name, and the arguments that every factory has."""

import dataclasses
import inspect
import json
import re
import typing

import numpy as np
import pytest

from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.models import registry
from cifarzoo.models.catalogue import catalogue, find
from cifarzoo.models.load import load
from cifarzoo.pretrained.description import description_of, save_weights
from cifarzoo.training.build import build_model


def test_every_factory_has_a_real_signature_and_documentation():
    for name, entry in registry.entries().items():
        parameters = inspect.signature(entry.factory).parameters.values()
        positional = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
        assert positional[-len(registry.COMMON_ARGUMENTS) :] == list(registry.COMMON_ARGUMENTS), name
        assert entry.factory.__doc__ and f"Reference: {entry.paper} ({entry.year})." in entry.factory.__doc__
        assert entry.factory.__name__ == name
        assert entry.year >= 2014


def test_own_arguments_come_first_with_their_meaning():
    for name, entry in registry.entries().items():
        lines = entry.factory.__doc__.splitlines()
        arguments = lines[lines.index("Args:") + 1 :]
        documented = [line.split(":")[0].strip() for line in arguments if line.startswith("    ") and line[4] != " "]
        parameters = inspect.signature(entry.factory).parameters
        own = [argument for argument in parameters if argument not in registry.COMMON_ARGUMENTS]
        assert documented[: len(parameters)] == [*own, *registry.COMMON_ARGUMENTS], name
        for parameter in parameters.values():
            assert parameter.annotation is not parameter.empty, (name, parameter)
            if isinstance(parameter.default, str):  # a choice: its values are in the text
                pattern = rf"^    {parameter.name}: (.*(?:\n        .*)*)"
                (text,) = re.findall(pattern, entry.factory.__doc__, re.MULTILINE)
                assert all(f'"{value}"' in text for value in typing.get_args(parameter.annotation)), (name, text)


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
        "strided_padding": "symmetric",
        "normalization": "batch",
        "normalization_groups": 8,
    }


def test_experiments_may_say_what_normalizes_the_input():
    model = build_model(
        Experiment(model="cifar_resnet20", model_parameters={"statistics": [[0.5] * 3] * 2}), 10, seed=0
    )
    assert description_of(model).statistics == "half"


def test_positional_arguments_work():
    assert registry.get("cifar_resnet20").factory("preactivated", "B", 7).output_shape == (None, 7)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ResNet20", "cifar_resnet20"),
        ("CIFAR-ResNet20", "cifar_resnet20"),
        ("vgg16_bn", "cifar_vgg16"),
        ("WRN-40-4", "cifar_wrn_40_4"),
        ("wrn404", "cifar_wrn_40_4"),
        ("WRN-26-10", "cifar_wrn_26_10"),
        ("wrn26_10", "cifar_wrn_28_10"),
        ("WideResNet", "cifar_wide_resnet"),
    ],
)
def test_names_in_any_spelling(name, model):
    assert find(name).name == model


def test_no_name_is_ambiguous():
    for record in catalogue().values():
        for name in (record.name, record.name.upper(), *record.aliases):
            assert find(name) is record, name
    for name in (None, "", 20, "wrn2610"):  # the last is cifar_wrn_26_10's and an alias of cifar_wrn_28_10
        with pytest.raises(ModelError, match=f"unknown model {name!r}; .*`cifarzoo list` shows all"):
            registry.create_model(name)


@pytest.mark.parametrize(
    ("model", "argument", "hint"),
    [
        ("cifar_vgg11", "weights", "weights is called load_weights here"),
        ("cifar_vgg11", "num_classes", "num_classes is called classes here"),
        ("cifar_vgg11", "input_shape", "images are 32x32x3"),
        ("cifar_vgg11", "pooling", "with include_top=False the model ends before pooling"),
        ("cifar_vgg11", "l2_reg", "train_parameters.weight_decay in an experiment"),
        ("cifar_resnet20", "N", "the name says the size"),
        ("cifar_wide_resnet", "N", r"N is called depth here: depth = 6 \* N \+ 4"),
        ("cifar_wide_resnet", "K", "K is called width here"),
        ("cifar_resnext29_32x4d", "cardinality", "the name says the size"),
        ("cifar_vgg11", "clases", "did you mean classes?"),
    ],
)
def test_arguments_of_other_libraries(model, argument, hint):
    message = f"{model}: got an unexpected keyword argument '{argument}'; it takes .*{hint}"
    with pytest.raises(ModelError, match=message):
        registry.create_model(model, **{argument: 10})
    with pytest.raises(ValueError, match=f"{argument}[':].*(write|set|choose|exist|called|pooling|size|did you mean)"):
        build_model(Experiment(model=model, model_parameters={argument: 10}, dataset="synthetic"), 10, 0)


def test_numbers_of_numpy():
    model = registry.create_model("cifar_wide_resnet", depth=np.int64(10), width=np.int32(1), classes=np.uint8(3))
    assert model.output_shape == (None, 3)
    assert json.dumps(dataclasses.asdict(description_of(model)))
    for classes in (np.float64(3), np.bool_(True), 0, "10", None):
        with pytest.raises(ModelError, match="cifar_resnet20: classes is a positive whole number"):
            registry.create_model("cifar_resnet20", classes=classes)


def test_no_weights_are_asked_for_by_none():
    assert registry.create_model("cifar_resnet20", load_weights=None).count_params()


def test_activations_are_described_by_name(tmp_path):
    import keras

    def double(logits):
        return 2 * logits

    model = registry.create_model("cifar_resnet20", classifier_activation=keras.activations.softmax)
    assert description_of(model).activation == "softmax"
    model = registry.create_model("cifar_resnet20", classifier_activation=double)
    save_weights(model, tmp_path / "doubled.weights.h5")
    with pytest.raises(WeightsError, match="which this version does not build .*no activation 'test_registry.double'"):
        load(tmp_path / "doubled.weights.h5")
    with pytest.raises(ModelError, match="cifar_resnet20: classifier_activation: Keras has no activation 'softmx'"):
        registry.create_model("cifar_resnet20", classifier_activation="softmx")


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
